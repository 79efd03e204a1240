//! What of the injection settings is closed: whatever reaches the pods of users through the templates.
//!
//! The ConfigMap holds texts; what counts is what istiod reads in them.

use serde_json::{Map, Value};

use super::files::parsed;
use super::{Findings, annotations};

/// Values that the injection templates turn into privileges of every sidecar, init container or managed gateway, or into
/// the image that they run. Only the switch of the CNI decides whether pods need an init container with `NET_ADMIN`.
const CLOSED_VALUES: [&str; 10] = [
    "/gateways",
    "/global/agentgateway/image",
    "/global/proxy/capNetBindService",
    "/global/proxy/image",
    "/global/proxy/privileged",
    "/global/proxy/seccompProfile",
    "/global/proxy_init/image",
    "/pilot/cni/enabled",
    "/pilot/cni/provider",
    "/sidecarInjectorWebhook/templates",
];

/// Compares the data of two injection ConfigMaps.
pub(super) fn compare(found: &mut Findings, before: &Value, after: &Value) {
    let (old, new) = (parsed(before.get("values")), parsed(after.get("values")));
    for pointer in CLOSED_VALUES {
        if old.pointer(pointer) != new.pointer(pointer) {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            found.add(&format!("data.values: {path}"), "the privilege of injected containers");
        }
    }
    let (old, new) = (parsed(before.get("config")), parsed(after.get("config")));
    for field in ["template", "templates", "defaultTemplates", "aliases"] {
        found.equal(&old, &new, "data.config", field, "an injection template");
    }
    let map = |config: &Value| -> Map<String, Value> {
        config.get("injectedAnnotations").and_then(Value::as_object).cloned().unwrap_or_default()
    };
    annotations(found, "data.config: injectedAnnotations", &map(&old), &map(&new));
    let known = ["values", "config"];
    let other = |data: &Value| -> Map<String, Value> {
        let fields = data.as_object().into_iter().flatten();
        fields
            .filter(|(key, _)| !known.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    if other(before) != other(after) {
        found.add("data", "an injection template");
    }
}
