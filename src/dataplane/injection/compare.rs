//! What differs between the injected part of a live pod and the one that injection gives now. Pure.
//!
//! Both went through the same admission, so that defaults and other webhooks do not count. What comes from the workload
//! itself (its ports, its name, its owner) is left out: the mesh does not control it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::dataplane::container::{EnvVar, InjectedContainer};
use crate::dataplane::injected::Injected;
use crate::dataplane::names::{
    INIT_CONTAINER, PROXY_CONTAINER, PROXY_IMAGE_ANNOTATION, VALIDATION_CONTAINER,
};
use crate::dataplane::raw_json::RawJson;
use crate::dataplane::reasons::{StaleReason, shortened_reasons};
use crate::dataplane::resources::ResourceRequirements;

/// Variables that tell the proxy about its workload, not about the mesh.
const WORKLOAD_VARIABLES: [&str; 5] = [
    "ISTIO_META_POD_PORTS",
    "ISTIO_META_APP_CONTAINERS",
    "ISTIO_META_WORKLOAD_NAME",
    "ISTIO_META_OWNER",
    "ISTIO_KUBE_APP_PROBERS",
];
const DNS_VARIABLES: [&str; 2] = ["ISTIO_META_DNS_CAPTURE", "ISTIO_META_DNS_AUTO_ALLOCATE"];
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why a pod with these annotations is outdated: everything that differs, apart from what its owner looks after himself.
///
/// `live` is `None` where the pod has no sidecar, `wanted` where injection would give none.
#[must_use]
pub fn stale_reasons(
    annotations: &BTreeMap<String, String>,
    live: Option<&Injected>,
    wanted: Option<&Injected>,
) -> Vec<StaleReason> {
    let Some(live) = live else {
        return wanted.map(|_| StaleReason::MissingSidecar).into_iter().collect();
    };
    let mut reasons = differences(live, wanted);
    // Who chooses the image of a proxy looks after it himself, resources included.
    if annotations.contains_key(PROXY_IMAGE_ANNOTATION) {
        reasons.retain(|reason| !matches!(reason, StaleReason::Image { .. } | StaleReason::Resources { .. }));
    }
    shortened_reasons(reasons)
}

/// Everything that differs, in a stable order; empty if `live` is what injection gives now.
///
/// `wanted` is `None` where injection would give no sidecar any more.
fn differences(live: &Injected, wanted: Option<&Injected>) -> Vec<StaleReason> {
    let Some(wanted) = wanted else { return vec![StaleReason::NoLongerInjected] };
    let (Some(has), Some(wants)) = (live.proxy(), wanted.proxy()) else {
        return vec![StaleReason::Field("the proxy container".to_owned())];
    };
    let mut reasons = BTreeSet::new();
    if live.revision != wanted.revision {
        reasons.insert(StaleReason::Revision { has: live.revision.clone(), wants: wanted.revision.clone() });
    }
    if live.is_native() != wanted.is_native() {
        reasons.insert(StaleReason::NativeSidecar { wanted: wanted.is_native() });
    }
    if live.prometheus != wanted.prometheus {
        reasons.insert(StaleReason::PrometheusMerge);
    }
    reasons.extend(traffic_redirection(live, wanted));
    reasons.extend(image(has, wants));
    reasons.extend(resources(&has.resources, &wants.resources, wanted.undefaulted));
    reasons.extend(environment(has, wants));
    reasons.extend(fields(has, wants, live.is_native() != wanted.is_native()));
    reasons.extend(other_containers(live, wanted));
    reasons.extend(volumes(&live.volumes, &wanted.volumes));
    reasons.into_iter().collect()
}

fn traffic_redirection(live: &Injected, wanted: &Injected) -> Option<StaleReason> {
    let by = |injected: &Injected, name| injected.init_containers.contains_key(name);
    if by(live, INIT_CONTAINER) && by(wanted, VALIDATION_CONTAINER) {
        return Some(StaleReason::Cni { enabled: true });
    }
    (by(live, VALIDATION_CONTAINER) && by(wanted, INIT_CONTAINER))
        .then_some(StaleReason::Cni { enabled: false })
}

fn image(has: &InjectedContainer, wants: &InjectedContainer) -> Option<StaleReason> {
    let (has, wants) = (has.image.clone(), wants.image.clone());
    (has != wants).then_some(StaleReason::Image { has, wants })
}

/// What is left open is filled in by the API server and by limit ranges; `undefaulted` says that it is open still.
fn resources(
    has: &ResourceRequirements,
    wants: &ResourceRequirements,
    undefaulted: bool,
) -> Option<StaleReason> {
    has.differs_from(wants, undefaulted)
        .then(|| StaleReason::Resources { has: has.to_string(), wants: wants.to_string() })
}

fn environment(has: &InjectedContainer, wants: &InjectedContainer) -> Vec<StaleReason> {
    let mut reasons = Vec::new();
    let (has_config, wants_config) = (proxy_config(has), proxy_config(wants));
    let metadata = |config: &Map<String, Value>| {
        config.get("proxyMetadata").and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let (has_metadata, wants_metadata) = (metadata(&has_config), metadata(&wants_config));
    let metadata_keys = differing_keys(&has_metadata, &wants_metadata);
    let (dns, other): (Vec<String>, Vec<String>) =
        metadata_keys.into_iter().partition(|key| DNS_VARIABLES.contains(&key.as_str()));
    if !dns.is_empty() {
        reasons.push(StaleReason::DnsCapture);
    }
    if !other.is_empty() {
        reasons.push(StaleReason::ProxyMetadata(other));
    }
    let mut keys = differing_keys(&has_config, &wants_config);
    keys.retain(|key| key != "proxyMetadata");
    if keys.iter().any(|key| key == "proxyStatsMatcher") {
        reasons.push(StaleReason::StatsMatcher);
        keys.retain(|key| key != "proxyStatsMatcher");
    }
    if !keys.is_empty() {
        reasons.push(StaleReason::ProxyConfig(keys));
    }
    let reported: BTreeSet<&str> =
        has_metadata.keys().chain(wants_metadata.keys()).map(String::as_str).collect();
    reasons.extend(variables(has, wants, &reported));
    reasons
}

/// Variables apart from those that merely repeat the proxy's configuration, `told` elsewhere.
fn variables(
    has: &InjectedContainer,
    wants: &InjectedContainer,
    reported: &BTreeSet<&str>,
) -> Vec<StaleReason> {
    let mut reasons = Vec::new();
    let (has_domain, wants_domain) = (has.variable("TRUST_DOMAIN"), wants.variable("TRUST_DOMAIN"));
    if has_domain != wants_domain {
        let owned = |domain: Option<&str>| domain.unwrap_or("none").to_owned();
        reasons.push(StaleReason::TrustDomain { has: owned(has_domain), wants: owned(wants_domain) });
    }
    let mut names = differing_variables(&has.env, &wants.env);
    names.retain(|name| {
        let special = matches!(*name, "PROXY_CONFIG" | "TRUST_DOMAIN");
        // Follows the trust domain unless it was set by itself.
        let mesh_id = *name == "ISTIO_META_MESH_ID" && has_domain != wants_domain;
        !special && !mesh_id && !WORKLOAD_VARIABLES.contains(name) && !reported.contains(name)
    });
    if names.contains(&"ISTIO_PROMETHEUS_ANNOTATIONS") {
        reasons.push(StaleReason::PrometheusMerge);
        names.retain(|name| *name != "ISTIO_PROMETHEUS_ANNOTATIONS");
    }
    if !names.is_empty() {
        reasons.push(StaleReason::Environment(names.into_iter().map(str::to_owned).collect()));
    }
    reasons
}

fn differing_variables<'c>(left: &'c [EnvVar], right: &'c [EnvVar]) -> Vec<&'c str> {
    let by_name = |variables: &'c [EnvVar]| -> BTreeMap<&'c str, &'c EnvVar> {
        variables.iter().map(|variable| (variable.name.as_str(), variable)).collect()
    };
    let (left, right) = (by_name(left), by_name(right));
    let names: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    let same = |name: &&str| match (left.get(*name), right.get(*name)) {
        (Some(left), Some(right)) => is_equivalent_variable(left, right),
        _ => false,
    };
    names.into_iter().filter(|name| !same(name)).collect()
}

fn is_equivalent_variable(left: &EnvVar, right: &EnvVar) -> bool {
    let literal_value = |variable: &EnvVar| variable.value.clone().unwrap_or_default();
    let reference = |variable: &EnvVar| variable.value_from.as_ref().map(without_defaults);
    literal_value(left) == literal_value(right)
        && (left.value_from == right.value_from
            || is_equivalent(reference(left).as_ref(), reference(right).as_ref()))
}

/// A reference to a field has an `apiVersion` by default only.
fn without_defaults(reference: &RawJson) -> Value {
    let mut reference = reference.value();
    for (kind, default) in [("fieldRef", "apiVersion"), ("resourceFieldRef", "divisor")] {
        if let Some(fields) = reference.get_mut(kind).and_then(Value::as_object_mut) {
            fields.remove(default);
        }
    }
    reference
}

fn proxy_config(container: &InjectedContainer) -> Map<String, Value> {
    let text = container.variable("PROXY_CONFIG").unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_default()
}

fn differing_keys(left: &Map<String, Value>, right: &Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    keys.into_iter().filter(|key| !is_equivalent(left.get(*key), right.get(*key))).cloned().collect()
}

/// Equality in which the order of regular expressions and absent against empty make no difference.
fn is_equivalent(left: Option<&Value>, right: Option<&Value>) -> bool {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut sorted_map = Map::new();
                let keys: BTreeSet<&String> = map.keys().collect();
                for key in keys {
                    sorted_map.insert(key.clone(), sorted(&map[key.as_str()]));
                }
                Value::Object(sorted_map)
            }
            Value::Array(items) => {
                let mut items: Vec<Value> = items.iter().map(sorted).collect();
                items.sort_by_key(Value::to_string);
                Value::Array(items)
            }
            other => other.clone(),
        }
    }
    let plain = |value: Option<&Value>| match value {
        None | Some(Value::Null) => None,
        Some(Value::Object(map)) if map.is_empty() => None,
        Some(Value::Array(items)) if items.is_empty() => None,
        Some(value) => Some(sorted(value)),
    };
    plain(left) == plain(right)
}

/// The fields of one container, each by its own name. How a container is drained follows from its being native.
fn fields(has: &InjectedContainer, wants: &InjectedContainer, kind_differs: bool) -> Vec<StaleReason> {
    let parts = [
        ("securityContext", &has.security_context, &wants.security_context),
        ("startupProbe", &has.startup_probe, &wants.startup_probe),
        ("readinessProbe", &has.readiness_probe, &wants.readiness_probe),
        ("lifecycle", &has.lifecycle, &wants.lifecycle),
    ];
    let parts = parts.into_iter().filter(|(name, has, wants)| {
        let depends_on_kind = kind_differs && *name == "lifecycle";
        !depends_on_kind && !is_equivalent_part(has.as_ref(), wants.as_ref())
    });
    // An answer of istiod itself lacks the defaults of the API server; only what it says can differ.
    let policy = !wants.image_pull_policy.is_empty() && has.image_pull_policy != wants.image_pull_policy;
    let others = [
        ("args", has.args != wants.args),
        ("imagePullPolicy", policy),
        ("volumeMounts", !contains_mounts(has, wants)),
    ];
    let others = others.into_iter().filter_map(|(name, differs)| differs.then_some(name));
    let names = parts.map(|(name, ..)| name).chain(others);
    names.map(|field| StaleReason::Field(format!("{field} of {}", has.name))).collect()
}

fn is_equivalent_part(live: Option<&RawJson>, wanted: Option<&RawJson>) -> bool {
    match (live, wanted) {
        (None, None) => true,
        (Some(part), None) | (None, Some(part)) => is_empty(&part.value()),
        (Some(live), Some(wanted)) => live == wanted || contains(&live.value(), &wanted.value()),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

/// Whether everything that `wanted` says is so in `live`.
fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).map_or_else(|| is_empty(value), |live| contains(live, value))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        _ => live == wanted,
    }
}

/// Mounts are told apart by their path; the mount of the ServiceAccount's token has a random volume name.
fn contains_mounts(has: &InjectedContainer, wants: &InjectedContainer) -> bool {
    wants
        .volume_mounts
        .iter()
        .all(|wanted| wanted.mount_path == TOKEN_PATH || has.volume_mounts.contains(wanted))
}

/// Injected containers other than the proxy. Which of them redirects traffic has a reason of its own.
fn other_containers(live: &Injected, wanted: &Injected) -> Vec<StaleReason> {
    let mut reasons = Vec::new();
    let redirection_differs = traffic_redirection(live, wanted).is_some();
    for (has, wants) in
        [(&live.init_containers, &wanted.init_containers), (&live.containers, &wanted.containers)]
    {
        let names: BTreeSet<&String> = has.keys().chain(wants.keys()).collect();
        for name in names.into_iter().filter(|name| *name != PROXY_CONTAINER) {
            let redirects = matches!(name.as_str(), INIT_CONTAINER | VALIDATION_CONTAINER);
            match (has.get(name), wants.get(name)) {
                (Some(has), Some(wants)) => {
                    // What has run to its end has no image any more.
                    reasons.extend(image(has, wants).filter(|_| is_running(live, name)));
                    reasons.extend(fields(has, wants, false));
                }
                _ if redirects && redirection_differs => {}
                _ => reasons.push(StaleReason::Field(format!("the injected container {name}"))),
            }
        }
    }
    reasons
}

/// Whether a container runs as long as its pod, as all do but init containers that are no native sidecars.
fn is_running(pod: &Injected, name: &str) -> bool {
    pod.init_containers.get(name).is_none_or(|container| container.restart_policy == "Always")
}

fn volumes(live: &BTreeMap<String, RawJson>, wanted: &BTreeMap<String, RawJson>) -> Vec<StaleReason> {
    let differs = |(name, wanted): (&String, &RawJson)| {
        (!is_equivalent_part(live.get(name), Some(wanted)))
            .then(|| StaleReason::Field(format!("volume {name}")))
    };
    wanted.iter().filter_map(differs).collect()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
