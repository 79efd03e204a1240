//! What users built on Istio and would lose with it.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use thiserror::Error;

use crate::inventory::Inventory;
use crate::inventory::ownership::may_be_deleted;
use crate::kubernetes::is_not_found;
use crate::kubernetes::object::ObjectId;

/// Objects of one kind that are read at most; more would not make the message clearer.
const MAX_OBJECTS_PER_KIND: u32 = 50;
const MAX_CONCURRENT_LISTS: usize = 4;
/// How long the list of blockers may be out of date.
const RECHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Blockers that are watched, which are those that a message names.
const MAX_WATCHED_BLOCKERS: usize = 5;

/// Looking for blockers failed; removal must not go on without an answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The served APIs could not be listed.
    #[error("cannot discover the Istio APIs of this cluster")]
    Discover {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The objects of one kind could not be listed.
    #[error("cannot list objects of kind {kind}")]
    List {
        /// The kind.
        kind: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// Finds the objects of all Istio APIs that this operator did not make, those included that it only adopted: they would go
/// with their definition.
///
/// The kinds come from the cluster and not from a list, so that one that a newer Istio brought is not forgotten.
pub async fn find(client: &Client, inventory: &Inventory) -> Result<Vec<ObjectId>, Error> {
    let kinds = istio_kinds(client, inventory).await?;
    let mut blockers: Vec<ObjectId> = stream::iter(kinds)
        .map(|kind| list(client.clone(), kind))
        .buffer_unordered(MAX_CONCURRENT_LISTS)
        .try_fold(Vec::new(), |mut all, found| async move {
            all.extend(found);
            Ok(all)
        })
        .await?;
    blockers.retain(|found| !is_ours(found, inventory));
    blockers.sort();
    Ok(blockers)
}

fn is_ours(found: &ObjectId, inventory: &Inventory) -> bool {
    inventory.iter().any(|(ours, record)| ours.is_same_object(found) && may_be_deleted(ours, record))
}

/// The kinds whose definitions are in the inventory, for only those would go.
///
/// Every served version is looked at: some kinds, such as `EnvoyFilter`, are not served in the preferred one.
async fn istio_kinds(client: &Client, inventory: &Inventory) -> Result<Vec<ApiResource>, Error> {
    let failed = |source| Error::Discover { source: Box::new(source) };
    let groups = client.list_api_groups().await.map_err(failed)?;
    let mut kinds: Vec<ApiResource> = Vec::new();
    for group in groups.groups.into_iter().filter(|group| group.name.ends_with(".istio.io")) {
        for version in &group.versions {
            let resources = match client.list_api_group_resources(&version.group_version).await {
                Ok(resources) => resources.resources,
                Err(error) if is_not_found(&error) => continue,
                Err(source) => return Err(failed(source)),
            };
            for resource in resources.into_iter().filter(|resource| !resource.name.contains('/')) {
                let kind = ApiResource {
                    group: group.name.clone(),
                    version: version.version.clone(),
                    api_version: version.group_version.clone(),
                    kind: resource.kind,
                    plural: resource.name,
                };
                let is_known = kinds.iter().any(|k| k.group == kind.group && k.plural == kind.plural);
                if !is_known && is_in_inventory(&kind, inventory) {
                    kinds.push(kind);
                }
            }
        }
    }
    Ok(kinds)
}

fn is_in_inventory(kind: &ApiResource, inventory: &Inventory) -> bool {
    let crd = format!("{}.{}", kind.plural, kind.group);
    inventory.iter().any(|(id, _)| id.kind == "CustomResourceDefinition" && id.name == crd)
}

async fn list(client: Client, kind: ApiResource) -> Result<Vec<ObjectId>, Error> {
    let api: Api<DynamicObject> = Api::all_with(client, &kind);
    let page = match api.list_metadata(&ListParams::default().limit(MAX_OBJECTS_PER_KIND)).await {
        Ok(page) => page,
        Err(error) if is_not_found(&error) => return Ok(Vec::new()),
        Err(source) => return Err(Error::List { kind: kind.kind, source: Box::new(source) }),
    };
    let id = |metadata: kube::api::ObjectMeta| ObjectId {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
        namespace: metadata.namespace,
        name: metadata.name.unwrap_or_default(),
    };
    Ok(page.items.into_iter().map(|object| id(object.metadata)).collect())
}

/// Waits until one of the named blockers is gone, or long enough that there may be others.
pub async fn wait_until_one_gone(client: &Client, blockers: &[ObjectId]) {
    let watches = blockers.iter().take(MAX_WATCHED_BLOCKERS).map(|id| super::watch_gone(client, id.clone()));
    let mut gone = stream::select_all(watches);
    let _ = tokio::time::timeout(RECHECK_INTERVAL, gone.next()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocker(name: &str) -> ObjectId {
        ObjectId {
            group: "networking.istio.io".into(),
            version: "v1".into(),
            kind: "VirtualService".into(),
            namespace: Some("shop".into()),
            name: name.into(),
        }
    }

    #[test]
    fn an_adopted_resource_of_a_user_blocks_although_the_inventory_lists_it() {
        use crate::inventory::Record;
        use crate::inventory::ownership::Origin;
        for (origin, ours) in [(Origin::Created, true), (Origin::Istio, true), (Origin::Foreign, false)] {
            let mut inventory = Inventory::default();
            let record = Record { origin: Some(origin), ..Record::planned(crate::plan::Stage::Extras) };
            inventory.record(blocker("a"), record);
            assert_eq!(is_ours(&blocker("a"), &inventory), ours, "{origin:?}");
            assert!(!is_ours(&blocker("b"), &inventory));
        }
    }

    #[test]
    fn only_kinds_with_a_crd_in_the_inventory_can_block() {
        let kind = ApiResource {
            group: "networking.istio.io".into(),
            version: "v1".into(),
            api_version: "networking.istio.io/v1".into(),
            kind: "VirtualService".into(),
            plural: "virtualservices".into(),
        };
        let mut inventory = Inventory::default();
        assert!(!is_in_inventory(&kind, &inventory));
        let crd = ObjectId {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            kind: "CustomResourceDefinition".into(),
            namespace: None,
            name: "virtualservices.networking.istio.io".into(),
        };
        inventory.extend([(crate::plan::Stage::CustomResourceDefinitions, crd)]);
        assert!(is_in_inventory(&kind, &inventory));
    }
}
