//! How many pods an owner of an unknown kind wants, from its scale subresource. Reads only.

use kube::Client;
use kube::core::GroupVersionKind;
use kube::discovery;
use serde_json::Value;

use crate::dataplane::requests;
use crate::dataplane::types::collection_path;
use crate::kubernetes::object::ObjectId;

/// What an owner says about its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Identity of the owner over time.
    pub uid: String,
    /// Pods that it wants.
    pub replicas: i64,
}

/// The scale of an owner; `None` where it does not exist, has none or may not be asked.
///
/// `id` has to be well-formed, since its parts become those of an address.
pub async fn read_scale(client: &Client, id: &ObjectId) -> Option<Scale> {
    let gvk = GroupVersionKind::gvk(&id.group, &id.version, &id.kind);
    // The plural of a kind that we do not know is only known to its API.
    let (resource, _) = discovery::pinned_kind(client, &gvk).await.ok()?;
    let url = collection_path(&resource, id.namespace.as_deref());
    let scale = requests::subresource(client, &url, &id.name, "scale").await.ok()??;
    let uid = scale.pointer("/metadata/uid").and_then(Value::as_str)?.to_owned();
    Some(Scale { uid, replicas: scale.pointer("/spec/replicas").and_then(Value::as_i64)? })
}
