//! What the chart and the kustomization of the operator say about its ports and its log, rendered without a cluster.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gotemplate::yaml;
use helm_chart::{Chart, Options, RenderError, render};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "cases read better with values")]
fn rendered(values: Value) -> Result<Vec<Value>, RenderError> {
    let chart = Chart::load(&root().join("charts/istio-manager")).unwrap();
    render(&chart, &values, &Options::install("istio-manager", "kyma-system"))?.objects()
}

fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Option<&'o Value> {
    objects.iter().find(|object| object["kind"] == kind)
}

fn policy(values: Value) -> Value {
    of_kind(&rendered(values).unwrap(), "NetworkPolicy").unwrap()["spec"].clone()
}

fn arguments(deployment: &Value) -> &Vec<Value> {
    deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap()
}

fn manifests(path: &str) -> Vec<Value> {
    yaml::parse_json_documents(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// Whether a policy lets connections to a port in, and from whom: `None` from anywhere.
fn ingress_peers<'p>(policy: &'p Value, port: &str) -> Vec<Option<&'p Value>> {
    let rules = policy["ingress"].as_array().unwrap().iter();
    rules.filter(|rule| rule["ports"][0]["port"] == port).map(|rule| rule.get("from")).collect()
}

#[test]
fn probes_are_open_and_metrics_limited_to_configured_peers() {
    let default = policy(json!({}));
    assert_eq!(default["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(ingress_peers(&default, "probes"), [None]);
    let scrapers = ingress_peers(&default, "metrics");
    assert!(scrapers.len() == 1 && scrapers[0].is_some_and(|from| !from.as_array().unwrap().is_empty()));
    let named = json!([{"podSelector": {"matchLabels": {"app": "prometheus"}}}]);
    let own = policy(json!({"networkPolicy": {"metrics": {"from": named}}}));
    assert_eq!(ingress_peers(&own, "metrics"), [Some(&named)]);
    let nobody = policy(json!({"networkPolicy": {"metrics": {"from": []}}}));
    assert!(ingress_peers(&nobody, "metrics").is_empty());
    assert_eq!(ingress_peers(&nobody, "probes"), [None]);
}

#[test]
fn the_operator_connects_to_what_it_needs() {
    let ports = |policy: &Value| {
        let rules = policy["egress"].as_array().unwrap().iter();
        let ports = rules.flat_map(|rule| rule["ports"].as_array().unwrap().clone());
        ports.map(|port| port["port"].as_u64().unwrap_or_default()).collect::<Vec<_>>()
    };
    // The port of the API server is not known: 0 stands for any.
    assert_eq!(ports(&policy(json!({}))), [53, 53, 8053, 8053, 0, 15017]);
    let other =
        json!({"networkPolicy": {"apiServerPorts": [16443], "extraEgress": [{"ports": [{"port": 99}]}]}});
    assert_eq!(ports(&policy(other)), [53, 53, 8053, 8053, 16443, 15017, 99]);
    let without = rendered(json!({"networkPolicy": {"enabled": false}})).unwrap();
    assert!(of_kind(&without, "NetworkPolicy").is_none());
}

#[test]
fn the_policy_selects_the_pods_of_the_operator() {
    let objects = rendered(json!({})).unwrap();
    let labels = &of_kind(&objects, "Deployment").unwrap()["spec"]["template"]["metadata"]["labels"];
    let selector = policy(json!({}))["podSelector"]["matchLabels"].clone();
    for (label, value) in selector.as_object().unwrap() {
        assert_eq!(&labels[label], value, "{label}");
    }
}

#[test]
fn the_kustomization_has_the_policy_of_the_chart() {
    let ours = manifests("config/manager/network-policy.yaml");
    assert_eq!(ours[0]["spec"], policy(json!({})));
    let listed = &manifests("config/manager/kustomization.yaml")[0]["resources"];
    assert!(listed.as_array().unwrap().contains(&json!("network-policy.yaml")), "{listed}");
}

#[test]
fn the_manifests_log_json() {
    let json = json!("--zap-encoder=json");
    let chart = |values| of_kind(&rendered(values).unwrap(), "Deployment").unwrap().clone();
    assert!(arguments(&chart(json!({}))).contains(&json));
    let text = chart(json!({"log": {"format": "console"}}));
    assert!(arguments(&text).contains(&json!("--zap-encoder=console")));
    let manager = manifests("config/manager/manager.yaml");
    assert!(arguments(of_kind(&manager, "Deployment").unwrap()).contains(&json));
}

#[test]
fn values_that_the_chart_does_not_have_are_refused() {
    for values in [
        json!({"log": {"format": "xml"}}),
        json!({"networkPolicy": {"enable": false}}),
        json!({"networkPolicy": {"apiServerPorts": [0]}}),
        json!({"networkPolicy": {"apiServerPorts": ["443"]}}),
    ] {
        assert!(matches!(rendered(values.clone()), Err(RenderError::Schema { .. })), "{values}");
    }
}
