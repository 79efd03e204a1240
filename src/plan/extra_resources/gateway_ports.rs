//! The ports on which the pods of the ingress gateway accept connections, from the user's settings.
//! Reads the configuration document; a policy sees the ports of pods, not those of their Service.

use serde_json::{Value, json};

use crate::api::names::INGRESS_GATEWAY;

/// The ports of the charts' default Service.
const DEFAULT_PORTS: [u16; 2] = [8080, 8443];

/// The ports as a `NetworkPolicy` writes them, each once.
pub(super) fn of_ingress_gateway(document: &Value) -> Vec<Value> {
    let values = document.pointer("/spec/values/gateways/istio-ingressgateway");
    let list = |name: &str| values.and_then(|values| values.get(name)).and_then(Value::as_array);
    let mut ports: Vec<Value> = match service_ports(document).or_else(|| list("ports")) {
        Some(ports) => ports.iter().filter_map(pod_port).collect(),
        None => DEFAULT_PORTS.map(|port| json!({"protocol": "TCP", "port": port})).into(),
    };
    ports.extend(list("ingressPorts").into_iter().flatten().filter_map(pod_port));
    let mut unique: Vec<Value> = Vec::new();
    for port in ports {
        if !unique.contains(&port) {
            unique.push(port);
        }
    }
    unique
}

/// The ports in the settings of the component, which win over the values.
fn service_ports(document: &Value) -> Option<&Vec<Value>> {
    let gateways = document.pointer("/spec/components/ingressGateways")?.as_array()?;
    let gateway = gateways.iter().find(|gateway| gateway["name"] == INGRESS_GATEWAY)?;
    gateway.pointer("/k8s/service/ports")?.as_array().filter(|ports| !ports.is_empty())
}

/// The port of the pods behind a port of the Service.
fn pod_port(port: &Value) -> Option<Value> {
    let number = [&port["targetPort"], &port["port"]].into_iter().find(|number| !number.is_null())?;
    let number = match number.as_str() {
        Some(text) => text.parse::<u16>().map_or_else(|_| json!(text), |number| json!(number)),
        None => number.clone(),
    };
    Some(json!({"protocol": port["protocol"].as_str().unwrap_or("TCP"), "port": number}))
}
