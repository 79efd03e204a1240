//! The scale subresource of owners of unknown kinds. Reads only.

use kube::Client;
use kube::core::GroupVersionKind;
use kube::discovery;
use serde_json::Value;

use crate::dataplane::model::collection_path;
use crate::dataplane::requests;
use crate::kubernetes::object::ObjectId;

/// The scale of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// UID of the owner.
    pub uid: String,
    /// Number of pods that it wants.
    pub replicas: i64,
}

/// Reads the scale of an owner; `None` if the owner or its scale does not exist or may not be read.
///
/// `id` has to be well-formed, because its parts become parts of a request path.
pub async fn read_scale(client: &Client, id: &ObjectId) -> Option<Scale> {
    let gvk = GroupVersionKind::gvk(&id.group, &id.version, &id.kind);
    // Only discovery knows the plural of an unknown kind.
    let (resource, _) = discovery::pinned_kind(client, &gvk).await.ok()?;
    let url = collection_path(&resource, id.namespace.as_deref());
    let scale = requests::subresource(client, &url, &id.name, "scale").await.ok()??;
    let uid = scale.pointer("/metadata/uid").and_then(Value::as_str)?.to_owned();
    Some(Scale { uid, replicas: scale.pointer("/spec/replicas").and_then(Value::as_i64)? })
}
