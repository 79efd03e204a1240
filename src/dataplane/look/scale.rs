//! How many pods an owner of an unknown kind wants, from its scale subresource. Reads only.

use kube::Client;
use kube::core::GroupVersionKind;
use kube::discovery;
use serde_json::Value;

use crate::dataplane::objects::path;
use crate::dataplane::requests;
use crate::object::ObjectId;

/// The wanted count; `None` where the owner does not tell or may not be asked.
pub async fn wanted(client: &Client, id: &ObjectId) -> Option<i64> {
    let gvk = GroupVersionKind::gvk(&id.group, &id.version, &id.kind);
    // The plural of a kind that we do not know is only known to its API.
    let (resource, _) = discovery::pinned_kind(client, &gvk).await.ok()?;
    let url = path(&resource, id.namespace.as_deref());
    let scale = requests::subresource(client, &url, &id.name, "scale").await.ok()??;
    scale.pointer("/spec/replicas").and_then(Value::as_i64)
}
