//! Lets the ingress gateway read the client's address from the PROXY protocol.

use gotemplate::yaml;
use serde_json::{Value, json};

use super::{metadata, operator_labels};
use crate::api::names;

/// The filter. Connections without a PROXY header are refused by it, so it must not exist where the load balancer sends
/// none.
pub(crate) fn filter() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": metadata("proxy-protocol", names::ISTIO_NAMESPACE, operator_labels()),
        "spec": {
            "workloadSelector": {"labels": {"istio": "ingressgateway"}},
            "configPatches": [{
                "applyTo": "LISTENER_FILTER",
                "patch": {
                    "operation": "INSERT_FIRST",
                    "value": {
                        "name": "proxy_protocol",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
                        },
                    },
                },
            }],
        },
    })
}

/// Whether the gateway's own topology makes istiod add a filter for the PROXY protocol. With a second one every connection
/// waits for a second header.
///
/// The topology is part of the proxy configuration: of the mesh, or of the gateway's pods by an annotation or variable
/// (Istio, `ProxyConfig` reference).
pub(crate) fn is_read_by_topology(document: &Value) -> bool {
    let texts = ["podAnnotations/proxy.istio.io~1config", "env/PROXY_CONFIG"];
    let of_pods = |path: &str| {
        let text = document.pointer(&format!("/spec/values/gateways/istio-ingressgateway/{path}"));
        text.and_then(Value::as_str).and_then(|text| yaml::parse_json(text).ok())
    };
    document.pointer("/spec/meshConfig/defaultConfig").is_some_and(reads_proxy_protocol)
        || texts.into_iter().filter_map(of_pods).any(|config| reads_proxy_protocol(&config))
}

/// An empty message switches it on.
fn reads_proxy_protocol(proxy_config: &Value) -> bool {
    proxy_config.pointer("/gatewayTopology/proxyProtocol").is_some_and(|value| !value.is_null())
}
