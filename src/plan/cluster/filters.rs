//! Which `EnvoyFilter`s of users change the ingress gateway.
//!
//! Pure. Only filters of the control plane's namespace count: those of others do not reach it.

use serde_json::Value;

use crate::api::names::{INGRESS_GATEWAY, MODULE_LABEL};

/// Labels by which the pods of the ingress gateway are selected.
const GATEWAY_LABELS: [(&str, &str); 2] = [("istio", "ingressgateway"), ("app", INGRESS_GATEWAY)];
/// Owner that makes filters for the ingress gateway on a user's behalf, in a supported way.
const RATE_LIMIT: &str = "RateLimit";

/// Whether a filter in the control plane's namespace changes the ingress gateway, and no supported owner made it.
///
/// Without a selector a filter in that namespace holds for the whole mesh, gateways included, unless each of its patches
/// is for sidecars only (Istio, `EnvoyFilter` reference).
#[must_use]
pub fn changes_ingress_gateway(filter: &Value) -> bool {
    if is_managed_or_generated(&filter["metadata"]) {
        return false;
    }
    let spec = &filter["spec"];
    let references = spec["targetRefs"].as_array().filter(|references| !references.is_empty());
    let selector = spec["workloadSelector"]["labels"].as_object().filter(|labels| !labels.is_empty());
    match (references, selector) {
        (Some(references), _) => references.iter().any(|reference| reference["name"] == INGRESS_GATEWAY),
        (None, Some(labels)) => {
            GATEWAY_LABELS.iter().any(|(key, value)| labels.get(*key).and_then(Value::as_str) == Some(value))
        }
        (None, None) => patches_gateways(spec),
    }
}

fn is_managed_or_generated(metadata: &Value) -> bool {
    let is_rate_limit = |owner: &Value| owner["kind"] == RATE_LIMIT;
    metadata["labels"].get(MODULE_LABEL).is_some()
        || metadata["ownerReferences"].as_array().is_some_and(|owners| owners.iter().any(is_rate_limit))
}

fn patches_gateways(spec: &Value) -> bool {
    let is_for_gateways = |patch: &Value| {
        !matches!(patch["match"]["context"].as_str(), Some("SIDECAR_INBOUND" | "SIDECAR_OUTBOUND"))
    };
    spec["configPatches"].as_array().is_some_and(|patches| patches.iter().any(is_for_gateways))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(metadata: &Value, spec: &Value) -> Value {
        json!({"metadata": metadata, "spec": spec})
    }

    #[test]
    fn filters_that_select_the_gateway_change_it() {
        let nobody = json!({"name": "mine"});
        let selecting = |labels: Value| json!({"workloadSelector": {"labels": labels}});
        let patching = |contexts: &[&str]| {
            let patches: Vec<Value> =
                contexts.iter().map(|context| json!({"match": {"context": context}})).collect();
            json!({"configPatches": patches})
        };
        for (spec, expected) in [
            (selecting(json!({"istio": "ingressgateway"})), true),
            (selecting(json!({"app": "istio-ingressgateway", "more": "x"})), true),
            (selecting(json!({"istio": "egressgateway"})), false),
            (selecting(json!({"app": "shop"})), false),
            (json!({"targetRefs": [{"kind": "Gateway", "name": "istio-ingressgateway"}]}), true),
            (json!({"targetRefs": [{"kind": "Gateway", "name": "other"}]}), false),
            (json!({}), false),
            (patching(&["SIDECAR_INBOUND", "SIDECAR_OUTBOUND"]), false),
            (patching(&["SIDECAR_INBOUND", "GATEWAY"]), true),
            (patching(&["ANY"]), true),
            (json!({"configPatches": [{"applyTo": "CLUSTER"}]}), true),
            (json!({"workloadSelector": {}, "configPatches": [{"applyTo": "CLUSTER"}]}), true),
        ] {
            assert_eq!(changes_ingress_gateway(&filter(&nobody, &spec)), expected, "{spec}");
        }
    }

    #[test]
    fn filters_of_a_module_are_not_user_resources() {
        let spec = json!({"workloadSelector": {"labels": {"istio": "ingressgateway"}}});
        for (metadata, expected) in [
            (json!({"labels": {"kyma-project.io/module": "istio"}}), false),
            (json!({"labels": {"kyma-project.io/module": "api-gateway"}}), false),
            (json!({"ownerReferences": [{"kind": "RateLimit"}]}), false),
            (json!({"ownerReferences": [{"kind": "Deployment"}], "labels": {"a": "b"}}), true),
        ] {
            assert_eq!(changes_ingress_gateway(&filter(&metadata, &spec)), expected, "{metadata}");
        }
    }
}
