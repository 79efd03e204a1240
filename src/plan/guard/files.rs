//! What of istiod's other files is closed: the mesh configuration, and what is laid over the objects of gateways that istiod
//! makes itself.
//!
//! Both are texts in ConfigMaps; what counts is what istiod reads in them.

use gotemplate::yaml;
use serde_json::Value;

use super::{Findings, join, spec};

/// The label of a `ConfigMap` with overlays for the gateways of a class.
pub(super) const DEFAULTS_FOR_CLASS: &str = "/metadata/labels/gateway.istio.io~1defaults-for-class";

/// Settings of the mesh that the injection templates turn into privileges of every sidecar, or that say who is who.
const CLOSED_SETTINGS: [(&str, &str); 4] = [
    ("/defaultConfig/interceptionMode", "the privilege of injected containers"),
    ("/defaultConfig/proxyMetadata/IPTABLES_TRACE_LOGGING", "the privilege of injected containers"),
    ("/rootNamespace", "an identity"),
    ("/trustDomain", "an identity"),
];

/// Compares the mesh configuration in the data of two ConfigMaps.
pub(super) fn mesh(found: &mut Findings, before: &Value, after: &Value) {
    if before.get("mesh") == after.get("mesh") {
        return;
    }
    let (old, new) = (parsed(before.get("mesh")), parsed(after.get("mesh")));
    for (pointer, what) in CLOSED_SETTINGS {
        if old.pointer(pointer) != new.pointer(pointer) {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            found.add(&format!("data.mesh: {path}"), what);
        }
    }
}

/// Compares the overlays for gateways that istiod makes: none may give a pod what no patch may give it.
pub(super) fn defaults_for_class(found: &mut Findings, before: &Value, after: &Value) {
    for (kind, overlay) in after.as_object().into_iter().flatten() {
        if before.get(kind) == Some(overlay) {
            continue;
        }
        let path = format!("data.{kind}");
        let (old, new) = (parsed(before.get(kind)), parsed(Some(overlay)));
        if has_directive(&new) {
            // It takes away, and what is taken away is not known here.
            found.add(&path, "what istiod gives its gateways");
        }
        if kind == "serviceAccount" {
            found.add(&path, "a service account");
        }
        spec(found, &join(&path, "spec"), &old["spec"], &new["spec"]);
    }
}

fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.starts_with('$') || has_directive(value))
        }
        Value::Array(items) => items.iter().any(has_directive),
        _ => false,
    }
}

/// A text as the value it stands for; what is not readable equals only itself.
pub(super) fn parsed(text: Option<&Value>) -> Value {
    let text = text.and_then(Value::as_str).unwrap_or_default();
    yaml::parse_json(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
