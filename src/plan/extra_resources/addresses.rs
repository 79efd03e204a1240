//! The addresses that Istio's pods connect to by the user's settings, as rules of a `NetworkPolicy`.
//! Reads the configuration document; resolves no names.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::network_policies::{labelled, tcp};
use crate::api::names::ISTIO_NAMESPACE;

/// Where the document has addresses that the ingress gateway connects to: certificate authorities, and control planes.
const OF_INGRESS_GATEWAY: [&str; 5] = [
    "/spec/values/global/caAddress",
    "/spec/values/gateways/istio-ingressgateway/env/CA_ADDR",
    "/spec/meshConfig/defaultConfig/proxyMetadata/CA_ADDR",
    "/spec/meshConfig/defaultConfig/discoveryAddress",
    "/spec/values/global/remotePilotAddress",
];
/// Where the document has addresses that istiod connects to: the authority that signs certificates on its behalf.
const OF_ISTIOD: [&str; 1] = ["/spec/meshConfig/ca/address"];

/// Port of an address with a scheme.
const HTTPS_PORT: u16 = 443;
/// Port of certificates and configuration in Istio, which an address without a port means.
const ISTIOD_PORT: u16 = 15012;

/// Rules that let the ingress gateway connect to what the user has named.
pub(super) fn of_ingress_gateway(document: &Value) -> Vec<Value> {
    rules(document, &OF_INGRESS_GATEWAY)
}

/// Rules that let istiod connect to what the user has named.
pub(super) fn of_istiod(document: &Value) -> Vec<Value> {
    rules(document, &OF_ISTIOD)
}

fn rules(document: &Value, places: &[&str]) -> Vec<Value> {
    let mut rules = Vec::new();
    for address in places.iter().filter_map(|place| document.pointer(place)?.as_str()) {
        for rule in rules_for(address) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

/// The rules for one address, a host with or without scheme and port.
///
/// A Service in the cluster is opened as the whole namespace: a policy sees the port and labels of the pods behind it, which
/// an address does not have.
fn rules_for(address: &str) -> Vec<Value> {
    let (default_port, address) = match address.split_once("://") {
        Some((_, address)) => (HTTPS_PORT, address),
        None => (ISTIOD_PORT, address),
    };
    let (host, port) = split_port(address);
    let at_port = |mut rule: Value| {
        rule["ports"] = json!([tcp(port.unwrap_or(default_port))]);
        rule
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        return vec![at_port(json!({"to": [{"ipBlock": {"cidr": format!("{ip}/{bits}")}}]}))];
    }
    let labels: Vec<&str> = host.split('.').filter(|label| !label.is_empty()).collect();
    match labels[..] {
        [] => Vec::new(),
        // istiod's own Services have rules already.
        [service, ISTIO_NAMESPACE, ..] if service.starts_with("istiod") => Vec::new(),
        [_] => vec![in_namespace(ISTIO_NAMESPACE)],
        [_, namespace, "svc", ..] => vec![in_namespace(namespace)],
        // Either a Service and its namespace, or a name outside of the cluster.
        [_, namespace] => vec![in_namespace(namespace), at_port(json!({}))],
        _ => vec![at_port(json!({}))],
    }
}

/// The host of an address, without the brackets of an IPv6 address, and its port.
fn split_port(address: &str) -> (&str, Option<u16>) {
    let address = address.split('/').next().unwrap_or_default();
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (address, None),
    }
}

fn in_namespace(namespace: &str) -> Value {
    json!({"to": [{"namespaceSelector": labelled("kubernetes.io/metadata.name", namespace)}]})
}
