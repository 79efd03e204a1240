//! Resources of users that would be lost with Istio, and therefore block its deletion.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use thiserror::Error;

use crate::inventory::Inventory;
use crate::inventory::ownership::may_be_deleted;
use crate::kubernetes::is_not_found;
use crate::kubernetes::object::{ObjectId, ObjectKind};

/// Objects of one kind that are listed at most: only a few are named in the message.
const MAX_OBJECTS_PER_KIND: u32 = 50;
const MAX_CONCURRENT_LISTS: usize = 4;
/// How long the list of blockers may be outdated.
const RECHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Blockers that are watched, which are those that a message names.
const MAX_WATCHED_BLOCKERS: usize = 5;

/// Blockers could not be listed. The deletion must not continue without the list.
#[derive(Debug, Error)]
pub enum Error {
    /// The served APIs could not be listed.
    #[error("failed to discover the Istio APIs of the cluster")]
    Discover {
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// The objects of one kind could not be listed.
    #[error("failed to list objects of kind {kind}")]
    List {
        /// The kind.
        kind: String,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
}

/// Finds the objects of all Istio APIs that this operator did not create, those included that it only adopted: they would be
/// deleted with their CRD.
///
/// The kinds come from the cluster and not from a list, so that those of a newer Istio are included.
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

/// The kinds whose CRDs are in the inventory: only these would be deleted.
///
/// All served versions are listed: some kinds, such as `EnvoyFilter`, are not served in the preferred version.
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
    let kind = ObjectKind::of(&kind);
    Ok(page.items.iter().map(|object| kind.object(&object.metadata)).collect())
}

/// Waits until one of the named blockers is gone, or until the list of blockers is outdated.
pub async fn wait_until_one_gone(client: &Client, blockers: &[ObjectId]) {
    let watches = blockers.iter().take(MAX_WATCHED_BLOCKERS).map(|id| super::watch_gone(client, id.clone()));
    let mut gone = stream::select_all(watches);
    let _ = tokio::time::timeout(RECHECK_INTERVAL, gone.next()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocker(name: &str) -> ObjectId {
        ObjectId::namespaced("networking.istio.io/v1", "VirtualService", "shop", name)
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
        let name = "virtualservices.networking.istio.io";
        let crd = ObjectId::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
        inventory.extend([(crate::plan::Stage::CustomResourceDefinitions, crd)]);
        assert!(is_in_inventory(&kind, &inventory));
    }
}
