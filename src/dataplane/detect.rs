//! The cheap check on one pod: might its proxy be outdated? Pure, without a request.
//!
//! It only finds candidates; whether one is restarted is decided by what injection gives it. So it may be wrong in both
//! directions: a candidate that is none costs a dry run, and what it overlooks is found when the mesh changes, since then
//! every workload is asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compare::{describe_resources, same_quantity};
use super::injected::{Injected, variable};
use super::mesh::{Mesh, regexps, strings};
use super::names::{INIT_CONTAINER, PROXY_IMAGE_ANNOTATION, VALIDATION_CONTAINER};
use super::reason::Reason;

const AMOUNTS: [(&str, &str, &str); 4] = [
    ("sidecar.istio.io/proxyCPU", "requests", "cpu"),
    ("sidecar.istio.io/proxyMemory", "requests", "memory"),
    ("sidecar.istio.io/proxyCPULimit", "limits", "cpu"),
    ("sidecar.istio.io/proxyMemoryLimit", "limits", "memory"),
];
/// Annotation with which a pod overrides the proxy configuration of the mesh.
const PROXY_CONFIG_ANNOTATION: &str = "proxy.istio.io/config";
/// Annotation with which a pod chooses templates of injection; its proxy then is not the usual sidecar.
const TEMPLATES_ANNOTATION: &str = "inject.istio.io/templates";

/// Why the pod might be outdated; empty if nothing says so.
#[must_use]
pub fn suspicions(annotations: &BTreeMap<String, String>, live: &Injected, mesh: &Mesh) -> Vec<Reason> {
    let Some(proxy) = live.proxy() else { return Vec::new() };
    let mut reasons = Vec::new();
    if !annotations.contains_key(PROXY_IMAGE_ANNOTATION) {
        reasons.extend(image(proxy, mesh));
        if !annotations.contains_key(TEMPLATES_ANNOTATION) {
            reasons.extend(resources(annotations, proxy, mesh));
        }
    }
    reasons.extend(traffic_redirection(live, mesh));
    reasons.extend(trust_domain(proxy, mesh));
    if !annotations.contains_key(PROXY_CONFIG_ANNOTATION) {
        reasons.extend(proxy_config(proxy, mesh));
    }
    reasons.extend(prometheus(annotations, live, mesh));
    reasons
}

fn image(proxy: &Value, mesh: &Mesh) -> Option<Reason> {
    let has = proxy.get("image").and_then(Value::as_str).unwrap_or_default();
    let wants = mesh.image.as_deref()?;
    (has != wants).then(|| Reason::Image { has: has.to_owned(), wants: wants.to_owned() })
}

/// The injection template takes either all amounts from annotations or all from the mesh; the API server then sets
/// requests that are missing to the limits.
fn resources(annotations: &BTreeMap<String, String>, proxy: &Value, mesh: &Mesh) -> Option<Reason> {
    let mut wants = json!({});
    let mut annotated = false;
    for (annotation, kind, name) in AMOUNTS {
        let Some(amount) = annotations.get(annotation) else { continue };
        annotated = true;
        // What is no amount is refused by injection; such a pod cannot be told to be outdated.
        crate::plan::configuration::thousandths(amount)?;
        wants[kind][name] = json!(amount);
    }
    if !annotated {
        wants = mesh.resources.clone();
    }
    for name in ["cpu", "memory"] {
        let limit = wants.pointer(&format!("/limits/{name}")).cloned();
        if let Some(limit) = limit.filter(|_| wants.pointer(&format!("/requests/{name}")).is_none()) {
            wants["requests"][name] = limit;
        }
    }
    let has = proxy.get("resources").cloned().unwrap_or_default();
    let differs = AMOUNTS.iter().any(|(_, kind, name)| {
        let pointer = format!("/{kind}/{name}");
        !same_quantity(has.pointer(&pointer), wants.pointer(&pointer))
    });
    differs.then(|| Reason::Resources { has: describe_resources(&has), wants: describe_resources(&wants) })
}

fn traffic_redirection(live: &Injected, mesh: &Mesh) -> Option<Reason> {
    let unwanted = if mesh.cni { INIT_CONTAINER } else { VALIDATION_CONTAINER };
    live.init_containers.contains_key(unwanted).then_some(Reason::Cni { enabled: mesh.cni })
}

fn trust_domain(proxy: &Value, mesh: &Mesh) -> Option<Reason> {
    let (has, wants) = (variable(proxy, "TRUST_DOMAIN")?, mesh.trust_domain.as_deref()?);
    (has != wants).then(|| Reason::TrustDomain { has: has.to_owned(), wants: wants.to_owned() })
}

fn proxy_config(proxy: &Value, mesh: &Mesh) -> Vec<Reason> {
    let Some(text) = variable(proxy, "PROXY_CONFIG") else { return Vec::new() };
    let Ok(config) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let mut reasons = Vec::new();
    let metadata = strings(config.get("proxyMetadata"));
    if metadata != mesh.proxy_metadata {
        let dns = |metadata: &BTreeMap<String, String>| metadata.get("ISTIO_META_DNS_CAPTURE").cloned();
        if dns(&metadata) == dns(&mesh.proxy_metadata) {
            let keys = metadata.keys().chain(mesh.proxy_metadata.keys());
            let mut names: Vec<String> =
                keys.filter(|key| metadata.get(*key) != mesh.proxy_metadata.get(*key)).cloned().collect();
            names.sort();
            names.dedup();
            reasons.push(Reason::ProxyMetadata(names));
        } else {
            reasons.push(Reason::DnsCapture);
        }
    }
    if regexps(&config) != mesh.inclusion_regexps {
        reasons.push(Reason::StatsMatcher);
    }
    reasons
}

/// The annotations of a pod cannot tell whether injection or its owner wrote them; injection is asked where they do not
/// fit.
fn prometheus(annotations: &BTreeMap<String, String>, live: &Injected, mesh: &Mesh) -> Option<Reason> {
    let opted_out = |key: &str| annotations.get(key).is_some_and(|value| value == "false");
    if opted_out("prometheus.io/scrape") || opted_out("prometheus.istio.io/merge-metrics") {
        return None;
    }
    let port = mesh.status_port.to_string();
    let is = |key: &str, value: &str| live.prometheus.get(key).is_some_and(|found| found == value);
    let merged = (is("prometheus.io/path", "/stats/prometheus"), is("prometheus.io/port", &port));
    let fits = if mesh.prometheus_merge { merged == (true, true) } else { merged != (true, true) };
    (!fits).then_some(Reason::PrometheusMerge)
}
