//! `spec.components` and the switches of single components: what they change in the document.
//!
//! Pure. Writes only values that are set; everything else stays as in the base.

use k8s_openapi::api::core::v1::Affinity;
use serde_json::{Map, Value, json};

use super::{Error, Features, merge};
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY};
use crate::api::v1alpha2::{CniK8s, DeploymentK8s, EgressGateway, ResourceAmounts, Resources, TrafficPolicy};
use crate::validate::ValidatedSpec;

/// Merges the settings of the components into the document.
pub(super) fn merge(document: &mut Value, spec: &ValidatedSpec, features: Features) -> Result<(), Error> {
    if let Some(policy) = spec.gateway_external_traffic_policy {
        add_traffic_policy(document, policy);
    }
    let components = &spec.components;
    let proxy = components.proxy.as_ref().and_then(|proxy| proxy.k8s.resources.as_ref());
    let layer = json!({"spec": {
        "components": {
            "pilot": {"k8s": pilot(spec)},
            "ingressGateways": [{
                "name": INGRESS_GATEWAY,
                "k8s": components.ingress_gateway.as_ref().map(|gateway| deployment(&gateway.k8s)).unwrap_or_default(),
            }],
            "egressGateways": [components.egress_gateway.as_ref().map_or(json!({"name": EGRESS_GATEWAY}), egress_gateway)],
            "cni": {
                "enabled": !features.disable_cni,
                "k8s": components.cni.as_ref().map(|cni| daemon_set(&cni.k8s)).transpose()?.unwrap_or_default(),
            },
        },
        "values": {"global": {"proxy": {"resources": proxy.map_or_else(|| json!({}), resources)}}},
    }});
    merge::merge(document, &layer);
    if features.enable_control_plane_vpa {
        remove_memory_metrics(document);
    }
    Ok(())
}

/// Sets environment variables of istiod with which it behaves like the previous minor version, by name and value.
pub(in crate::plan) fn merge_compatibility_switches(document: &mut Value, switches: &[(String, String)]) {
    let env: Vec<Value> = switches.iter().map(|(name, value)| variable(name, value)).collect();
    merge::merge(document, &json!({"spec": {"components": {"pilot": {"k8s": {"env": env}}}}}));
}

/// The settings of istiod, its switches for experiments included.
fn pilot(spec: &ValidatedSpec) -> Map<String, Value> {
    let mut settings = spec.components.pilot.as_ref().map(|pilot| deployment(&pilot.k8s)).unwrap_or_default();
    let env = experimental_env(spec);
    if !env.is_empty() {
        settings.insert("env".into(), Value::Array(env));
    }
    settings
}

fn egress_gateway(gateway: &EgressGateway) -> Value {
    let mut settings = json!({
        "name": EGRESS_GATEWAY,
        "k8s": gateway.k8s.as_ref().map(deployment).unwrap_or_default(),
    });
    if let Some(enabled) = gateway.enabled {
        settings["enabled"] = json!(enabled);
    }
    settings
}

/// The settings of a Deployment in the form of the document's `k8s` block.
fn deployment(k8s: &DeploymentK8s) -> Map<String, Value> {
    let mut settings = Map::new();
    if let Some(given) = &k8s.resources {
        settings.insert("resources".into(), resources(given));
    }
    if let Some(scaling) = &k8s.hpa_spec {
        let bounds = [("minReplicas", scaling.min_replicas), ("maxReplicas", scaling.max_replicas)];
        settings.insert("hpaSpec".into(), given(bounds));
    }
    if let Some(strategy) = &k8s.strategy {
        let rolling_update = &strategy.rolling_update;
        let bounds =
            [("maxSurge", &rolling_update.max_surge), ("maxUnavailable", &rolling_update.max_unavailable)];
        settings.insert(
            "strategy".into(),
            json!({"rollingUpdate": given(bounds.map(|(key, value)| (key, value.as_ref())))}),
        );
    }
    settings
}

/// The settings of the CNI DaemonSet in the form of the document's `k8s` block.
fn daemon_set(k8s: &CniK8s) -> Result<Map<String, Value>, Error> {
    let mut settings = Map::new();
    if let Some(given) = &k8s.resources {
        settings.insert("resources".into(), resources(given));
    }
    if let Some(given) = &k8s.affinity {
        settings.insert("affinity".into(), affinity(given).map_err(Error::Affinity)?);
    }
    Ok(settings)
}

/// An affinity of which each given kind replaces the base's, both its required and its preferred part.
fn affinity(affinity: &Affinity) -> serde_json::Result<Value> {
    let mut kinds = serde_json::to_value(affinity)?;
    for kind in kinds.as_object_mut().into_iter().flat_map(Map::values_mut) {
        for part in [
            "requiredDuringSchedulingIgnoredDuringExecution",
            "preferredDuringSchedulingIgnoredDuringExecution",
        ] {
            if let Some(kind) = kind.as_object_mut() {
                kind.entry(part).or_insert(Value::Null);
            }
        }
    }
    Ok(kinds)
}

fn resources(resources: &Resources) -> Value {
    let amounts = |amounts: &ResourceAmounts| {
        given([("cpu", amounts.cpu.as_ref()), ("memory", amounts.memory.as_ref())])
    };
    given([
        ("limits", resources.limits.as_ref().map(amounts)),
        ("requests", resources.requests.as_ref().map(amounts)),
    ])
}

/// An object of the entries that have a value.
fn given<T: serde::Serialize>(entries: impl IntoIterator<Item = (&'static str, Option<T>)>) -> Value {
    entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))))
        .collect::<Map<_, _>>()
        .into()
}

/// Sets a field of the gateway's Service that has no setting of its own, after the patches of the base.
fn add_traffic_policy(document: &mut Value, policy: TrafficPolicy) {
    let gateways = document.pointer_mut("/spec/components/ingressGateways");
    for gateway in gateways.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(overlays) = gateway.pointer_mut("/k8s/overlays").and_then(Value::as_array_mut) {
            overlays.push(json!({
                "apiVersion": "v1",
                "kind": "Service",
                "name": INGRESS_GATEWAY,
                "patches": [{"path": "spec.externalTrafficPolicy", "value": policy}],
            }));
        }
    }
}

fn experimental_env(spec: &ValidatedSpec) -> Vec<Value> {
    let pilot = spec.experimental.pilot.clone().unwrap_or_default();
    [
        ("PILOT_ENABLE_ALPHA_GATEWAY_API", pilot.enable_alpha_gateway_api),
        ("PILOT_MULTI_NETWORK_DISCOVER_GATEWAY_API", pilot.enable_multi_network_discover_gateway_api),
    ]
    .into_iter()
    .filter(|(_, enabled)| *enabled == Some(true))
    .map(|(name, _)| variable(name, "true"))
    .collect()
}

fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// Takes memory out of the horizontal autoscalers: a vertical autoscaler is about to manage it.
fn remove_memory_metrics(document: &mut Value) {
    let is_memory = |metric: &Value| {
        metric.get("type") == Some(&json!("Resource"))
            && metric.pointer("/resource/name") == Some(&json!("memory"))
    };
    let Some(components) = document.pointer_mut("/spec/components").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, component) in components {
        let items = match (name.as_str(), component) {
            ("ingressGateways" | "egressGateways", Value::Array(items)) => items.iter_mut().collect(),
            (_, component) => vec![component],
        };
        for item in items {
            if let Some(metrics) = item.pointer_mut("/k8s/hpaSpec/metrics").and_then(Value::as_array_mut) {
                metrics.retain(|metric| !is_memory(metric));
            }
        }
    }
    // The chart of istiod adds such a metric for this value.
    if let Some(memory) = document.pointer_mut("/spec/values/pilot/memory").and_then(Value::as_object_mut) {
        memory.clear();
    }
}
