//! Which objects may appear and vanish by values, and what one that appears is compared with.
//!
//! Pure. An object that the charts render only with some switch on has no counterpart in the rendering without the author's
//! values. It is compared with what the charts make of the switches alone, so that all text in it is the charts'.

use serde_json::{Value, json};

use super::subject::class_of_overlays;
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY, ISTIO_NAMESPACE};
use crate::kubernetes::object::ObjectId;

/// The class of gateways in the rendering with everything switched on.
const EXAMPLE_CLASS: &str = "example";

/// Objects that values may switch on and off: group, kind and names.
const SWITCHED: [(&str, &str, &[&str]); 5] = [
    ("autoscaling", "HorizontalPodAutoscaler", &["istiod", INGRESS_GATEWAY, EGRESS_GATEWAY]),
    ("networking.istio.io", "EnvoyFilter", &["proxy-protocol"]),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        &["istiod", "istio-cni", "ztunnel", INGRESS_GATEWAY, EGRESS_GATEWAY],
    ),
    ("policy", "PodDisruptionBudget", &["istiod", INGRESS_GATEWAY, EGRESS_GATEWAY]),
    ("", "ResourceQuota", &["istio-cni-resource-quota", "ztunnel"]),
];

/// Whether values may make an object appear or vanish.
pub(crate) fn is_switched(id: &ObjectId) -> bool {
    let is_listed =
        |(group, kind, names): &(&str, &str, &[&str])| id.is(group, kind) && names.contains(&&*id.name);
    id.namespace.as_deref() == Some(ISTIO_NAMESPACE)
        && (SWITCHED.iter().any(is_listed) || is_gateway_class(id))
}

/// Whether values may make an object vanish: not what limits connections.
pub(crate) fn is_removable(id: &ObjectId) -> bool {
    is_switched(id) && !id.is("networking.k8s.io", "NetworkPolicy")
}

/// Whether an object has overlays for the gateways of a class.
pub(crate) fn is_gateway_class(id: &ObjectId) -> bool {
    id.is("", "ConfigMap") && class_of_overlays(&id.name).is_some()
}

/// Values of Istio's charts that switch on everything that [`is_switched`] allows.
///
/// Policies of the charts and the operator's own (`networkPoliciesEnabled`) share names, so that only one sort can be on.
#[must_use]
pub fn everything_switched_on(chart_policies: bool) -> Value {
    let scaled = json!({"autoscaleEnabled": true, "autoscaleMin": 2, "autoscaleMax": 5});
    let mut ingress = scaled.clone();
    ingress["serviceAnnotations"] =
        json!({"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*"});
    json!({
        "global": {
            "defaultPodDisruptionBudget": {"enabled": true},
            "networkPolicy": {"enabled": chart_policies},
        },
        "pilot": scaled.clone(),
        "gateways": {INGRESS_GATEWAY: ingress, EGRESS_GATEWAY: scaled},
        "cni": {"resourceQuotas": {"enabled": true}},
        "ztunnel": {"resourceQuotas": {"enabled": true}},
        "gatewayClasses": {EXAMPLE_CLASS: {"deployment": {}}},
    })
}

/// The object that `id` is compared with, out of the rendering with everything switched on.
pub(crate) fn counterpart(id: &ObjectId, switched_on: &[(ObjectId, Value)]) -> Option<Value> {
    let find = |wanted: &ObjectId| {
        switched_on.iter().find(|(id, _)| id.is_same_object(wanted)).map(|(_, object)| object)
    };
    let Some(class) = class_of_overlays(&id.name).filter(|_| id.is("", "ConfigMap")) else {
        return find(id).cloned();
    };
    let example = ObjectId {
        name: id.name.replace(&format!("gatewayclass-{class}"), &format!("gatewayclass-{EXAMPLE_CLASS}")),
        ..id.clone()
    };
    let mut object = find(&example)?.clone();
    object["metadata"]["name"] = json!(id.name);
    object["metadata"]["labels"]["gateway.istio.io/defaults-for-class"] = json!(class);
    object["data"] = Value::Null;
    Some(object)
}
