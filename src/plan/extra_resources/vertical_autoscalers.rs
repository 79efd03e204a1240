//! Vertical autoscalers of the operator and of Istio's own workloads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::{metadata, operator_labels};
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY, ISTIO_NAMESPACE, OPERATOR_NAMESPACE};
use crate::plan::cluster::ClusterFacts;

/// A workload of Istio whose memory is scaled.
struct Target {
    kind: &'static str,
    name: &'static str,
    container: &'static str,
    component: &'static str,
    min_memory: &'static str,
}

const ISTIOD: Target = Target {
    kind: "Deployment",
    name: "istiod",
    container: "discovery",
    component: "pilot",
    min_memory: "512Mi",
};
const INGRESS: Target = Target {
    kind: "Deployment",
    name: INGRESS_GATEWAY,
    container: "istio-proxy",
    component: "ingressgateway",
    min_memory: "128Mi",
};
const EGRESS: Target = Target { name: EGRESS_GATEWAY, component: "egressgateway", ..INGRESS };
const CNI: Target = Target {
    kind: "DaemonSet",
    name: "istio-cni-node",
    container: "install-cni",
    component: "cni",
    min_memory: "512Mi",
};

/// The autoscalers of Istio's workloads, for those that exist.
pub(crate) fn istio_autoscalers(facts: &ClusterFacts, document: &Value) -> Vec<Value> {
    let egress = has_egress_gateway(document);
    [(ISTIOD, true), (INGRESS, true), (EGRESS, egress), (CNI, !facts.features.disable_cni)]
        .into_iter()
        .filter_map(|(target, exists)| exists.then(|| vertical_autoscaler_for(&target)))
        .collect()
}

/// Whether the document has an egress gateway, by a field of the resource or by a value.
fn has_egress_gateway(document: &Value) -> bool {
    let items = document.pointer("/spec/components/egressGateways").and_then(Value::as_array);
    let by_value = document.pointer("/spec/values/gateways/istio-egressgateway");
    let is_enabled = |settings: &Value| settings["enabled"] == true;
    items.into_iter().flatten().chain(by_value).any(is_enabled)
}

fn vertical_autoscaler_for(target: &Target) -> Value {
    let labels = json!({
        "app.kubernetes.io/component": target.component,
        "app.kubernetes.io/instance": format!("{}-default", target.name),
        "app.kubernetes.io/name": target.name,
        "app.kubernetes.io/part-of": "istio",
    });
    let policy = json!({
        "containerName": target.container,
        "controlledResources": ["memory"],
        "controlledValues": "RequestsAndLimits",
        "minAllowed": {"memory": target.min_memory},
        "maxAllowed": {"memory": "16Gi"},
    });
    let metadata = metadata(&format!("{}-vpa", target.name), ISTIO_NAMESPACE, labels);
    autoscaler(&metadata, target.kind, target.name, &policy)
}

/// The operator's own autoscaler, which is deleted with the resource at the latest.
pub(crate) fn operator_autoscaler(owner: Option<&OwnerReference>) -> Value {
    let policy = json!({
        "containerName": "manager",
        "minAllowed": {"cpu": "10m", "memory": "64Mi"},
        "maxAllowed": {"cpu": "10000m", "memory": "16Gi"},
    });
    let mut metadata = metadata("istio-operator-vpa", OPERATOR_NAMESPACE, operator_labels());
    if let Some(owner) = owner {
        metadata["ownerReferences"] = json!([owner]);
    }
    autoscaler(&metadata, "Deployment", "istio-controller-manager", &policy)
}

fn autoscaler(metadata: &Value, kind: &str, name: &str, policy: &Value) -> Value {
    json!({
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
            "updatePolicy": {"updateMode": "InPlaceOrRecreate", "minReplicas": 1},
            "resourcePolicy": {"containerPolicies": [policy]},
        },
    })
}
