//! Network policies of Istio's own pods and of the operator, for clusters that deny all other traffic.
//! Follows the document: the ports of the ingress gateway, and the addresses that its pods and istiod connect to.

use serde_json::{Value, json};

use super::{addresses, gateway_ports, metadata};
use crate::api::names::{ISTIO_NAMESPACE, MODULE_LABEL, MODULE_LABEL_VALUE, OPERATOR_NAMESPACE};
use crate::plan::cluster::ApiPort;

/// Ports of metrics and health of a proxy.
const PROXY_METRICS: [u16; 3] = [15020, 15021, 15090];
/// Labels of pods that may read metrics.
const SCRAPERS: [(&str, Option<&str>); 3] = [
    (MODULE_LABEL, None),
    ("networking.kyma-project.io/istio-metrics", Some("allowed")),
    ("networking.kyma-project.io/metrics-scraping", Some("allowed")),
];

/// All policies for the configuration `document`. `api` is where the API server listens: a policy sees the port behind the
/// Service.
pub(crate) fn network_policies(api: ApiPort, document: &Value) -> [Value; 7] {
    [
        cni_node(api),
        ingress_gateway_to_workloads(),
        egress_gateway(),
        ingress_gateway(document),
        operator(api),
        istiod(api, document),
        istiod_to_key_servers(),
    ]
}

fn cni_node(api: ApiPort) -> Value {
    let spec = json!({
        "podSelector": labelled("k8s-app", "istio-cni-node"),
        "policyTypes": ["Egress"],
        "egress": [dns(), api_server(api)],
    });
    policy("istio-cni-node", ISTIO_NAMESPACE, &spec)
}

fn ingress_gateway_to_workloads() -> Value {
    let spec = json!({
        "podSelector": labelled("istio", "ingressgateway"),
        "policyTypes": ["Egress"],
        "egress": [{"to": [anywhere(labelled("networking.kyma-project.io/from-ingressgateway", "allowed"))]}],
    });
    policy("istio-ingressgateway-egress", ISTIO_NAMESPACE, &spec)
}

fn egress_gateway() -> Value {
    let spec = json!({
        "podSelector": labelled("istio", "egressgateway"),
        "policyTypes": ["Egress", "Ingress"],
        "egress": [{}],
        "ingress": [
            {"from": [anywhere(labelled("networking.kyma-project.io/to-egressgateway", "allowed"))]},
            scraped_at(&PROXY_METRICS),
        ],
    });
    policy("istio-egressgateway", ISTIO_NAMESPACE, &spec)
}

fn ingress_gateway(document: &Value) -> Value {
    let mut egress =
        vec![json!({"to": [{"podSelector": labelled("istio", "pilot")}], "ports": [tcp(15012)]}), dns()];
    egress.extend(addresses::of_ingress_gateway(document));
    // Without any port there is no rule: one with an empty list would open all ports.
    let ports: Vec<Value> = gateway_ports::of_ingress_gateway(document)
        .into_iter()
        .filter(|port| !PROXY_METRICS.iter().any(|metrics| port["port"] == *metrics))
        .collect();
    let open = (!ports.is_empty()).then(|| json!({"ports": ports}));
    let ingress: Vec<Value> = open.into_iter().chain([scraped_at(&PROXY_METRICS)]).collect();
    let spec = json!({
        "podSelector": labelled("istio", "ingressgateway"),
        "policyTypes": ["Egress", "Ingress"],
        "egress": egress,
        "ingress": ingress,
    });
    policy("istio-ingressgateway", ISTIO_NAMESPACE, &spec)
}

fn operator(api: ApiPort) -> Value {
    let istiod = json!({
        "namespaceSelector": labelled("kubernetes.io/metadata.name", ISTIO_NAMESPACE),
        "podSelector": labelled("istio", "pilot"),
    });
    let spec = json!({
        "podSelector": {"matchLabels": {
            MODULE_LABEL: MODULE_LABEL_VALUE,
            "app.kubernetes.io/name": "istio-operator",
        }},
        "policyTypes": ["Egress"],
        // The operator calls the injector of istiod directly where a dry run on the API server is refused.
        "egress": [dns(), api_server(api), {"to": [istiod], "ports": [tcp(15017)]}],
    });
    policy("allow-istio-controller-manager", OPERATOR_NAMESPACE, &spec)
}

fn istiod(api: ApiPort, document: &Value) -> Value {
    let mut egress = vec![dns(), api_server(api)];
    egress.extend(addresses::of_istiod(document));
    let proxies = json!([
        anywhere(labelled("security.istio.io/tlsMode", "istio")),
        // Gateways that istiod makes from resources of the Gateway API.
        anywhere(json!({
            "matchExpressions": [{"key": "gateway.networking.k8s.io/gateway-name", "operator": "Exists"}],
        })),
        {"podSelector": labelled("istio", "ingressgateway")},
        {"podSelector": labelled("istio", "egressgateway")},
        {"podSelector": labelled("app", "ztunnel")},
    ]);
    let spec = json!({
        "podSelector": labelled("istio", "pilot"),
        "policyTypes": ["Egress", "Ingress"],
        "egress": egress,
        "ingress": [
            {"from": proxies, "ports": [tcp(15012)]},
            scraped_at(&[15014]),
            // The API server calls the webhooks from addresses that no selector names.
            {"ports": [tcp(15017)]},
        ],
    });
    policy("istio-pilot", ISTIO_NAMESPACE, &spec)
}

/// istiod fetches the keys that a `RequestAuthentication` names.
fn istiod_to_key_servers() -> Value {
    let spec = json!({
        "podSelector": labelled("istio", "pilot"),
        "policyTypes": ["Egress"],
        "egress": [{"ports": [tcp(80), tcp(443)]}],
    });
    policy("istio-pilot-jwks", ISTIO_NAMESPACE, &spec)
}

fn policy(name: &str, namespace: &str, spec: &Value) -> Value {
    let labels = json!({"kyma-project.io/managed-by": "kyma"});
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(&format!("kyma-project.io--{name}"), namespace, labels),
        "spec": spec,
    })
}

pub(super) fn labelled(key: &str, value: &str) -> Value {
    json!({"matchLabels": {key: value}})
}

/// Pods of a selector in every namespace.
#[expect(clippy::needless_pass_by_value, reason = "selectors read better as literals")]
fn anywhere(pods: Value) -> Value {
    json!({"namespaceSelector": {}, "podSelector": pods})
}

pub(super) fn tcp(port: u16) -> Value {
    json!({"protocol": "TCP", "port": port})
}

fn scraped_at(ports: &[u16]) -> Value {
    let scrapers = SCRAPERS.map(|(key, value)| {
        anywhere(match value {
            Some(value) => labelled(key, value),
            None => json!({"matchExpressions": [{"key": key, "operator": "Exists"}]}),
        })
    });
    json!({"from": scrapers, "ports": ports.iter().map(|port| tcp(*port)).collect::<Vec<_>>()})
}

/// Queries to DNS, also where its pods listen on another port than their Service: some network plugins check a
/// connection only after the Service's address has been replaced by a pod's.
fn dns() -> Value {
    let ports: Vec<Value> = [53, 8053]
        .iter()
        .flat_map(|port| ["UDP", "TCP"].map(|protocol| json!({"protocol": protocol, "port": port})))
        .collect();
    json!({"ports": ports})
}

fn api_server(port: ApiPort) -> Value {
    json!({"ports": [tcp(port.0)]})
}
