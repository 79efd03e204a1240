//! The operator's own network policy of the ingress gateway, which follows the ports of the gateway's Service.
//!
//! Pure. Rules that only open ports may differ: an author opens the same ports by the Service. Everything else is closed.

use serde_json::Value;

use crate::kubernetes::object::ObjectId;

const NAME: &str = "kyma-project.io--istio-ingressgateway";

/// Whether the object is that policy.
pub(crate) fn is_own(id: &ObjectId) -> bool {
    id.is("networking.k8s.io", "NetworkPolicy") && id.name == NAME
}

/// The policy without the rules for incoming traffic that only open ports.
pub(crate) fn without_port_rules(policy: &Value) -> Value {
    let mut policy = policy.clone();
    if let Some(rules) = policy.pointer_mut("/spec/ingress").and_then(Value::as_array_mut) {
        rules.retain(|rule| !opens_ports_only(rule));
    }
    policy
}

fn opens_ports_only(rule: &Value) -> bool {
    let is_number = |port: &Value| port.as_u64().is_some_and(|port| (1..=65_535).contains(&port));
    let is_port = |port: &Value| {
        port.as_object().is_some_and(|port| port.len() == 2)
            && is_number(&port["port"])
            && matches!(port["protocol"].as_str(), Some("TCP" | "UDP" | "SCTP"))
    };
    let ports =
        rule.as_object().filter(|rule| rule.len() == 1).and_then(|rule| rule.get("ports")?.as_array());
    ports.is_some_and(|ports| !ports.is_empty() && ports.iter().all(is_port))
}
