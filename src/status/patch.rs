//! Writes a status of any kind of resource as a whole, and recognizes the answers that a status writer has to handle.

use std::fmt;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// The status of a resource could not be written.
#[derive(Debug, Error)]
#[error("failed to write the status of {kind} {namespace}/{name}")]
pub struct Error {
    kind: String,
    namespace: String,
    name: String,
    source: Box<kube::Error>,
}

impl Error {
    /// Whether the API server, or the storage behind it, rejects a request of this size.
    pub(super) fn is_too_large(&self) -> bool {
        let kube::Error::Api(status) = &*self.source else { return false };
        status.code == 413
            || status.reason == "RequestEntityTooLarge"
            || (matches!(status.code, 422 | 500) && status.message.contains("too large"))
    }

    /// Whether the resource no longer exists, or another one has its name: only the UID can conflict.
    pub(super) fn is_gone(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
    }
}

/// Replaces the status of the resource of kind `K` that `reference` names, unless its UID differs.
///
/// A merge patch keeps fields that it does not name, so that `optional` lists the fields that are removed when `status` does
/// not have them.
pub(super) async fn replace_status<K>(
    client: &Client,
    reference: &ObjectReference,
    status: &impl Serialize,
    optional: &[&str],
) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug,
{
    let namespace = reference.namespace.clone().unwrap_or_default();
    let name = reference.name.clone().unwrap_or_default();
    let mut content: Map<String, Value> =
        optional.iter().map(|field| ((*field).to_owned(), Value::Null)).collect();
    if let Ok(Value::Object(fields)) = serde_json::to_value(status) {
        content.extend(fields);
    }
    // The UID protects a resource that was deleted and recreated under the same name.
    let patch = json!({"metadata": {"uid": reference.uid}, "status": content});
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(source) => {
            Err(Error { kind: K::kind(&()).into_owned(), namespace, name, source: Box::new(source) })
        }
    }
}
