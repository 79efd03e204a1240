//! Lets the ingress gateway read the client's address from the PROXY protocol.

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
