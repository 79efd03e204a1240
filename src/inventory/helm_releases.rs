//! Helm releases from which objects were adopted, and that Helm still lists.
//!
//! Such a release is a trap: the next `helm uninstall` or `helm upgrade` deletes or changes objects that the operator manages.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Inventory;
use crate::kubernetes::object::ObjectId;

/// A Helm release that may still list our objects as its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HelmRelease {
    /// Namespace of the release.
    pub namespace: String,
    /// Name of the release.
    pub name: String,
}

impl HelmRelease {
    /// The release that an object belongs to, by the annotations with which Helm marks its objects.
    #[must_use]
    pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let annotation = |name: &str| annotations?.get(name).cloned();
        let namespace = annotation("meta.helm.sh/release-namespace")?;
        Some(Self { namespace, name: annotation("meta.helm.sh/release-name")? })
    }
}

/// The Secrets of a release could not be listed.
#[derive(Debug, Error)]
#[error("failed to list the Secrets of Helm release {namespace}/{name}")]
pub struct Error {
    namespace: String,
    name: String,
    source: Box<kube::Error>,
}

/// The Secrets of releases from which objects in the inventory were adopted, sorted.
///
/// A release without Secrets is removed from the inventory, so that it is not listed again.
pub async fn find_remaining_secrets(
    client: &Client,
    inventory: &mut Inventory,
) -> Result<Vec<ObjectId>, Error> {
    let mut secrets = Vec::new();
    for release in inventory.helm_releases() {
        let found = secrets_of(client, &release).await?;
        if found.is_empty() {
            inventory.remove_release(&release);
        }
        secrets.extend(found);
    }
    secrets.sort();
    Ok(secrets)
}

/// Helm keeps each revision of a release in a Secret with these labels.
async fn secrets_of(client: &Client, release: &HelmRelease) -> Result<Vec<ObjectId>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &release.namespace);
    let params = ListParams::default().labels(&format!("owner=helm,name={}", release.name));
    let list = api.list_metadata(&params).await.map_err(|source| Error {
        namespace: release.namespace.clone(),
        name: release.name.clone(),
        source: Box::new(source),
    })?;
    let id = |name: String| ObjectId::namespaced("v1", "Secret", &release.namespace, &name);
    Ok(list.items.into_iter().filter_map(|secret| secret.metadata.name).map(id).collect())
}

/// A sentence that names the Secrets, with the commands that delete them.
#[must_use]
pub fn describe(secrets: &[ObjectId]) -> String {
    let commands: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let namespace = secret.namespace.as_deref().unwrap_or_default();
            format!("kubectl delete secret --namespace {namespace} {}", secret.name)
        })
        .collect();
    format!(
        "Helm still lists releases whose objects this operator now manages, and could delete or change them. Do not run \
         helm uninstall; delete the release Secrets instead: {}",
        commands.join("; ")
    )
}
