//! The pod that is made in a dry run to see what injection would give a workload. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::api::names::RESTARTED_AT_ANNOTATION;
use crate::dataplane::digest::hash;
use crate::dataplane::injected::Injected;
use crate::dataplane::names::{
    PROXY_CONTAINER, REVISION_HASH_LABEL, ROLLOUT_HASH_LABEL, STATUS_ANNOTATION, TEMPLATE_HASH_LABEL,
};
use crate::dataplane::objects::{Pod, parse};

/// Annotation of `kubectl rollout restart`; like ours, it says nothing about the pod.
const KUBECTL_RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Labels and annotations that injection writes to a pod, apart from the status.
const INJECTED_KEYS: [&str; 4] = [
    "security.istio.io/tlsMode",
    "service.istio.io/canonical-name",
    "service.istio.io/canonical-revision",
    "istio.io/rev",
];

/// A pod as the owner of `live` would make it now from `template`.
///
/// It has no name, but the prefix of the live pod's name, its controller and the hash of its template: injection derives
/// the name and kind of the workload from these, and without them every proxy would look outdated.
#[must_use]
pub fn from_template(mut template: Value, live: &Pod) -> Value {
    let mut metadata = template.get_mut("metadata").map(Value::take).unwrap_or_default();
    if !metadata.is_object() {
        metadata = json!({});
    }
    let mut labels = metadata.get("labels").and_then(Value::as_object).cloned().unwrap_or_default();
    for label in [TEMPLATE_HASH_LABEL, ROLLOUT_HASH_LABEL, REVISION_HASH_LABEL] {
        if let Some(hash) = live.metadata.labels.get(label) {
            labels.insert(label.to_owned(), json!(hash));
        }
    }
    let annotations = metadata.get("annotations").cloned().unwrap_or_else(|| json!({}));
    let mut spec = template.get_mut("spec").map(Value::take).unwrap_or_default();
    add_claimed_volumes(&mut spec);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": identity(live, &labels, &annotations), "spec": spec})
}

/// A pod like `live` before its injection, for owners without a template that we know.
#[must_use]
pub fn from_pod(live: &Pod, injected: &Injected) -> Value {
    let mut labels = Map::new();
    for (key, value) in &live.metadata.labels {
        if !INJECTED_KEYS.contains(&key.as_str()) {
            labels.insert(key.clone(), json!(value));
        }
    }
    let mut annotations = Map::new();
    for (key, value) in &live.metadata.annotations {
        let written = key == STATUS_ANNOTATION || INJECTED_KEYS.contains(&key.as_str());
        if !written && !injected.prometheus.contains_key(key) {
            annotations.insert(key.clone(), json!(value));
        }
    }
    let spec = json!({
        "containers": own(&parse(live.spec.containers.as_deref()), injected.containers.keys()),
        "initContainers": own(&parse(live.spec.init_containers.as_deref()), injected.init_containers.keys()),
        "volumes": own(&parse(live.spec.volumes.as_deref()), injected.volumes.keys()),
    });
    let metadata = identity(live, &labels, &Value::Object(annotations));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn identity(live: &Pod, labels: &Map<String, Value>, annotations: &Value) -> Value {
    let prefix = live.metadata.generate_name.clone().unwrap_or_else(|| format!("{}-", live.metadata.name));
    let mut metadata = json!({
        "generateName": prefix,
        "namespace": live.metadata.namespace,
        "labels": labels,
        "annotations": annotations,
    });
    if let Some(owner) = live.metadata.controller() {
        // `blockOwnerDeletion` would ask for a permission on the owner, and means nothing to injection.
        metadata["ownerReferences"] = json!([{"apiVersion": owner.api_version, "kind": owner.kind,
            "name": owner.name, "uid": owner.uid, "controller": true}]);
    }
    metadata
}

/// The volumes of a `StatefulSet`'s claims are not in its template; a mount without a volume is refused.
fn add_claimed_volumes(spec: &mut Value) {
    let names = |list: Option<&Value>, field: &str| -> BTreeSet<String> {
        let items = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter();
        items.filter_map(|item| Some(item.get(field)?.as_str()?.to_owned())).collect()
    };
    let mut mounted = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).and_then(Value::as_array).into_iter().flatten() {
            // A declared proxy mounts volumes that injection brings.
            if container["name"] != PROXY_CONTAINER {
                mounted.extend(names(container.get("volumeMounts"), "name"));
            }
        }
    }
    let present = names(spec.get("volumes"), "name");
    let missing: Vec<Value> =
        mounted.difference(&present).map(|name| json!({"name": name, "emptyDir": {}})).collect();
    if missing.is_empty() {
        return;
    }
    match spec.get_mut("volumes").and_then(Value::as_array_mut) {
        Some(volumes) => volumes.extend(missing),
        None => spec["volumes"] = Value::Array(missing),
    }
}

/// Items that were not injected, without the mount of the token that admission adds.
fn own<'a>(all: &Value, injected: impl Iterator<Item = &'a String>) -> Value {
    let injected: BTreeSet<&String> = injected.collect();
    let is_token = |item: &Value| {
        item.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with("kube-api-access-"))
    };
    let items = all.as_array().map_or(&[][..], Vec::as_slice).iter().filter(|item| {
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
        !injected.iter().any(|injected| *injected == name) && !is_token(item)
    });
    let without_token = |item: &Value| {
        let mut item = item.clone();
        if let Some(mounts) = item.get_mut("volumeMounts").and_then(Value::as_array_mut) {
            mounts.retain(|mount| !is_token(mount));
        }
        item
    };
    Value::Array(items.map(without_token).collect())
}

/// Identity of a template apart from when it was last restarted.
#[must_use]
pub fn template_hash(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(annotations) = template.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(RESTARTED_AT_ANNOTATION);
        annotations.remove(KUBECTL_RESTARTED_AT);
        if annotations.is_empty()
            && let Some(metadata) = template.pointer_mut("/metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("annotations");
        }
    }
    hash(&[&template.to_string()])
}
