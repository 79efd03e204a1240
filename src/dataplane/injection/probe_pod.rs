//! The pod that is created in a dry run to find out what injection gives a workload. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::names::RESTARTED_AT_ANNOTATION;
use crate::dataplane::model::{Injected, Owner, Pod, PodTemplate, RawJson, VolumeMount, hash, null_as_empty};
use crate::dataplane::names::{
    PROXY_CONTAINER, REVISION_HASH_LABEL, ROLLOUT_HASH_LABEL, STATUS_ANNOTATION, TEMPLATE_HASH_LABEL,
};

/// Annotation of `kubectl rollout restart`. Like the operator's own, it does not change the pod.
const KUBECTL_RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Labels and annotations that injection sets on a pod, apart from the status.
const INJECTED_KEYS: [&str; 4] = [
    "security.istio.io/tlsMode",
    "service.istio.io/canonical-name",
    "service.istio.io/canonical-revision",
    "istio.io/rev",
];

/// A pod as the owner of a live pod would create it now.
///
/// It has no name, but the name prefix, the controller and the template hash of the live pod: injection derives name and kind
/// of the workload from these. Without them, every sidecar would seem outdated.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbePod {
    api_version: &'static str,
    kind: &'static str,
    metadata: ProbeMeta,
    spec: ProbeSpec,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProbeMeta {
    generate_name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    // Without `blockOwnerDeletion`, which needs a permission on the owner and does not matter to injection.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owner_references: Vec<Owner>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum ProbeSpec {
    /// Unchanged from the template.
    Template(Option<RawJson>),
    /// Assembled from parts.
    Assembled(Value),
}

impl ProbePod {
    /// Namespace of the pod.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    /// Prefix of its name.
    #[must_use]
    pub fn name_prefix(&self) -> &str {
        &self.metadata.generate_name
    }

    fn new(
        live: &Pod,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        spec: ProbeSpec,
    ) -> Self {
        let named = || format!("{}-", live.metadata.name);
        let metadata = ProbeMeta {
            generate_name: live.metadata.generate_name.clone().unwrap_or_else(named),
            namespace: live.metadata.namespace.clone(),
            labels,
            annotations,
            owner_references: live.metadata.controller().cloned().into_iter().collect(),
        };
        Self { api_version: "v1", kind: "Pod", metadata, spec }
    }
}

/// A pod as the owner of `live` would create it now from `template`.
#[must_use]
pub fn from_template(template: &PodTemplate, live: &Pod) -> ProbePod {
    let mut labels = template.metadata.labels.clone();
    for label in [TEMPLATE_HASH_LABEL, ROLLOUT_HASH_LABEL, REVISION_HASH_LABEL] {
        if let Some(hash) = live.metadata.labels.get(label) {
            labels.insert(label.to_owned(), hash.clone());
        }
    }
    ProbePod::new(
        live,
        labels,
        template.metadata.annotations.clone(),
        with_claim_volumes(template.spec.as_ref()),
    )
}

/// A pod like `live` before its injection, for owners without a known template.
#[must_use]
pub fn from_pod(live: &Pod, injected: &Injected) -> ProbePod {
    let mut labels = live.metadata.labels.clone();
    labels.retain(|key, _| !INJECTED_KEYS.contains(&key.as_str()));
    let mut annotations = live.metadata.annotations.clone();
    annotations.retain(|key, _| {
        let is_injected = key == STATUS_ANNOTATION || INJECTED_KEYS.contains(&key.as_str());
        !is_injected && !injected.prometheus.contains_key(key)
    });
    let all = |part: &Option<RawJson>| part.as_ref().map(RawJson::value).unwrap_or_default();
    let spec = json!({
        "containers": without_injected(&all(&live.spec.containers), injected.containers.keys()),
        "initContainers": without_injected(&all(&live.spec.init_containers), injected.init_containers.keys()),
        "volumes": without_injected(&all(&live.spec.volumes), injected.volumes.keys()),
    });
    ProbePod::new(live, labels, annotations, ProbeSpec::Assembled(spec))
}

/// Adds the volumes of a `StatefulSet`'s claim templates, which its pod template lacks: a mount without a volume is invalid.
fn with_claim_volumes(spec: Option<&RawJson>) -> ProbeSpec {
    let missing: Vec<Value> = spec
        .and_then(RawJson::parse::<TemplateVolumes>)
        .map(|template_volumes| {
            template_volumes.missing_volumes().map(|name| json!({"name": name, "emptyDir": {}})).collect()
        })
        .unwrap_or_default();
    if missing.is_empty() {
        return ProbeSpec::Template(spec.cloned());
    }
    let mut spec = spec.map(RawJson::value).unwrap_or_default();
    match spec.get_mut("volumes").and_then(Value::as_array_mut) {
        Some(volumes) => volumes.extend(missing),
        None => spec["volumes"] = Value::Array(missing),
    }
    ProbeSpec::Assembled(spec)
}

/// The mounts and volumes of a template.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TemplateVolumes {
    #[serde(deserialize_with = "null_as_empty")]
    containers: Vec<ContainerMounts>,
    #[serde(deserialize_with = "null_as_empty")]
    init_containers: Vec<ContainerMounts>,
    #[serde(deserialize_with = "null_as_empty")]
    volumes: Vec<Volume>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerMounts {
    name: String,
    #[serde(deserialize_with = "null_as_empty")]
    volume_mounts: Vec<VolumeMount>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Volume {
    name: String,
}

impl TemplateVolumes {
    /// The names of volumes that are mounted and missing.
    fn missing_volumes(&self) -> impl Iterator<Item = &str> {
        let present: BTreeSet<&str> = self.volumes.iter().map(|volume| volume.name.as_str()).collect();
        // A proxy that the template declares mounts volumes that injection adds.
        let containers = self.containers.iter().chain(&self.init_containers);
        let own = containers.filter(|container| container.name != PROXY_CONTAINER);
        let mounted: BTreeSet<&str> =
            own.flat_map(|container| &container.volume_mounts).map(|mount| mount.name.as_str()).collect();
        mounted.into_iter().filter(move |name| !present.contains(name))
    }
}

/// The items that were not injected, without the token mounts that admission adds.
fn without_injected<'a>(all: &Value, injected: impl Iterator<Item = &'a String>) -> Value {
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

/// Hash of a template without the annotations that restarts set.
#[must_use]
pub fn template_hash(template: Option<&PodTemplate>) -> String {
    let Some(template) = template else { return hash(&[]) };
    let is_relevant =
        |key: &&String| ![RESTARTED_AT_ANNOTATION, KUBECTL_RESTARTED_AT].contains(&key.as_str());
    let annotations: BTreeMap<_, _> =
        template.metadata.annotations.iter().filter(|(key, _)| is_relevant(key)).collect();
    hash(&[
        &format!("{:?}", template.metadata.labels),
        &format!("{annotations:?}"),
        template.spec.as_ref().map_or("", RawJson::text),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(template: &Value) -> PodTemplate {
        serde_json::from_str(&template.to_string()).unwrap()
    }

    /// A pod of the set `db`, with a sidecar.
    fn live() -> Pod {
        let pod = json!({
            "metadata": {"name": "db-0", "generateName": "db-", "namespace": "shop",
                "labels": {"app": "db", "controller-revision-hash": "db-1", "security.istio.io/tlsMode": "istio"},
                "annotations": {"own": "1", "sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u",
                    "controller": true, "blockOwnerDeletion": true}]},
            "spec": {
                "containers": [{"name": "istio-proxy"}, {"name": "db", "volumeMounts": [
                    {"name": "data", "mountPath": "/data"}, {"name": "kube-api-access-x", "mountPath": "/t"}]}],
                "volumes": [{"name": "data"}, {"name": "kube-api-access-x"}],
            },
        });
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    fn to_json(probe: &ProbePod) -> Value {
        serde_json::to_value(probe).unwrap()
    }

    #[test]
    fn a_probe_belongs_to_the_owner_and_has_the_hash_of_the_live_pod() {
        let spec = json!({"containers": [{"name": "db", "image": "db:1"}]});
        let template = template(
            &json!({"metadata": {"labels": {"app": "db"}, "annotations": {"a": "b"}}, "spec": spec}),
        );
        let expected = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": "db-",
                "namespace": "shop",
                "labels": {"app": "db", "controller-revision-hash": "db-1"},
                "annotations": {"a": "b"},
                "ownerReferences":
                    [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}],
            },
            "spec": spec,
        });
        assert_eq!(to_json(&from_template(&template, &live())), expected);
    }

    #[test]
    fn mounted_claims_become_volumes_except_those_of_a_declared_proxy() {
        let mount = |name: &str, volume: &str| json!({"name": name, "volumeMounts": [{"name": volume, "mountPath": "/m"}]});
        for (volumes, expected) in [
            (json!(null), json!([{"name": "data", "emptyDir": {}}])),
            (json!([{"name": "own"}]), json!([{"name": "own"}, {"name": "data", "emptyDir": {}}])),
            (json!([{"name": "data"}]), json!([{"name": "data"}])),
        ] {
            let spec = json!({"containers": [mount("db", "data"), mount(PROXY_CONTAINER, "istio-envoy")], "volumes": volumes});
            let probe = from_template(&template(&json!({"spec": spec})), &live());
            assert_eq!(to_json(&probe)["spec"]["volumes"], expected, "{volumes}");
        }
    }

    #[test]
    fn without_a_template_a_probe_is_the_live_pod_before_injection() {
        let live = live();
        let probe = to_json(&from_pod(&live, &Injected::from_pod(&live).unwrap()));
        let container = json!({"name": "db", "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
        assert_eq!(
            probe["spec"],
            json!({"containers": [container], "initContainers": [], "volumes": [{"name": "data"}]})
        );
        assert_eq!(probe["metadata"]["labels"], json!({"app": "db", "controller-revision-hash": "db-1"}));
        assert_eq!(probe["metadata"]["annotations"], json!({"own": "1"}));
    }

    #[test]
    fn the_template_hash_ignores_restart_annotations() {
        let hash = |annotations: Value, image: &str| {
            let spec = json!({"containers": [{"name": "db", "image": image}]});
            template_hash(Some(&template(&json!({"metadata": {"annotations": annotations}, "spec": spec}))))
        };
        let plain = hash(json!(null), "db:1");
        let restarted = json!({RESTARTED_AT_ANNOTATION: "now", KUBECTL_RESTARTED_AT: "then"});
        assert_eq!(hash(restarted, "db:1"), plain);
        for other in [hash(json!({"a": "b"}), "db:1"), hash(json!(null), "db:2"), template_hash(None)] {
            assert_ne!(other, plain);
        }
    }
}
