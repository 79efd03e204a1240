//! Helm releases whose objects were taken over, and that Helm has not been told of.
//!
//! Such a release is a trap: the next `helm uninstall` or `helm upgrade` deletes or changes what is ours by now.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use thiserror::Error;

use super::{HelmRelease, Inventory};
use crate::kubernetes::object::ObjectId;

/// The Secrets of a release could not be listed.
#[derive(Debug, Error)]
#[error("cannot list the Secrets of Helm release {namespace}/{name}")]
pub struct Error {
    namespace: String,
    name: String,
    source: Box<kube::Error>,
}

/// The Secrets of releases that objects in the inventory were taken over from, sorted.
///
/// A release that is gone is forgotten, so that it is not looked for again.
pub async fn find_remaining_secrets(
    client: &Client,
    inventory: &mut Inventory,
) -> Result<Vec<ObjectId>, Error> {
    let mut secrets = Vec::new();
    for release in inventory.helm_releases() {
        let found = secrets_of(client, &release).await?;
        if found.is_empty() {
            inventory.forget_release(&release);
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
    let id = |name: String| ObjectId {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        namespace: Some(release.namespace.clone()),
        name,
    };
    Ok(list.items.into_iter().filter_map(|secret| secret.metadata.name).map(id).collect())
}

/// A sentence that names the Secrets and says what to do.
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
        "Helm still has releases whose objects are managed here now, and would delete or change them: make it forget them, \
         without helm uninstall, by: {}",
        commands.join("; ")
    )
}
