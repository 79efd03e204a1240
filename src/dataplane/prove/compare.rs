//! What differs between the injected part of a live pod and the one that injection gives now. Pure.
//!
//! Both went through the same admission, so that defaults and other webhooks do not count. What comes from the workload
//! itself (its ports, its name, its owner) is left out: the mesh does not control it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::dataplane::amounts::Resources;
use crate::dataplane::container::{Container, Variable};
use crate::dataplane::injected::Injected;
use crate::dataplane::names::{
    INIT_CONTAINER, PROXY_CONTAINER, PROXY_IMAGE_ANNOTATION, VALIDATION_CONTAINER,
};
use crate::dataplane::part::Part;
use crate::dataplane::reason::{Reason, shortened};

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
pub fn reasons(
    annotations: &BTreeMap<String, String>,
    live: Option<&Injected>,
    wanted: Option<&Injected>,
) -> Vec<Reason> {
    let Some(live) = live else {
        return wanted.map(|_| Reason::MissingSidecar).into_iter().collect();
    };
    let mut reasons = differences(live, wanted);
    // Who chooses the image of a proxy looks after it himself, resources included.
    if annotations.contains_key(PROXY_IMAGE_ANNOTATION) {
        reasons.retain(|reason| !matches!(reason, Reason::Image { .. } | Reason::Resources { .. }));
    }
    shortened(reasons)
}

/// Everything that differs, in a stable order; empty if `live` is what injection gives now.
///
/// `wanted` is `None` where injection would give no sidecar any more.
fn differences(live: &Injected, wanted: Option<&Injected>) -> Vec<Reason> {
    let Some(wanted) = wanted else { return vec![Reason::NoLongerInjected] };
    let (Some(has), Some(wants)) = (live.proxy(), wanted.proxy()) else {
        return vec![Reason::Field("the proxy container".to_owned())];
    };
    let mut reasons = BTreeSet::new();
    if live.revision != wanted.revision {
        reasons.insert(Reason::Revision { has: live.revision.clone(), wants: wanted.revision.clone() });
    }
    if live.is_native() != wanted.is_native() {
        reasons.insert(Reason::NativeSidecar { wanted: wanted.is_native() });
    }
    if live.prometheus != wanted.prometheus {
        reasons.insert(Reason::PrometheusMerge);
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

fn traffic_redirection(live: &Injected, wanted: &Injected) -> Option<Reason> {
    let by = |injected: &Injected, name| injected.init_containers.contains_key(name);
    if by(live, INIT_CONTAINER) && by(wanted, VALIDATION_CONTAINER) {
        return Some(Reason::Cni { enabled: true });
    }
    (by(live, VALIDATION_CONTAINER) && by(wanted, INIT_CONTAINER)).then_some(Reason::Cni { enabled: false })
}

fn image(has: &Container, wants: &Container) -> Option<Reason> {
    let (has, wants) = (has.image.clone(), wants.image.clone());
    (has != wants).then_some(Reason::Image { has, wants })
}

/// What is left open is filled in by the API server and by limit ranges; `undefaulted` says that it is open still.
fn resources(has: &Resources, wants: &Resources, undefaulted: bool) -> Option<Reason> {
    has.differ(wants, undefaulted)
        .then(|| Reason::Resources { has: has.to_string(), wants: wants.to_string() })
}

fn environment(has: &Container, wants: &Container) -> Vec<Reason> {
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
        reasons.push(Reason::DnsCapture);
    }
    if !other.is_empty() {
        reasons.push(Reason::ProxyMetadata(other));
    }
    let mut keys = differing_keys(&has_config, &wants_config);
    keys.retain(|key| key != "proxyMetadata");
    if keys.iter().any(|key| key == "proxyStatsMatcher") {
        reasons.push(Reason::StatsMatcher);
        keys.retain(|key| key != "proxyStatsMatcher");
    }
    if !keys.is_empty() {
        reasons.push(Reason::ProxyConfig(keys));
    }
    let told: BTreeSet<&str> = has_metadata.keys().chain(wants_metadata.keys()).map(String::as_str).collect();
    reasons.extend(variables(has, wants, &told));
    reasons
}

/// Variables apart from those that merely repeat the proxy's configuration, `told` elsewhere.
fn variables(has: &Container, wants: &Container, told: &BTreeSet<&str>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let (trusts, should) = (has.variable("TRUST_DOMAIN"), wants.variable("TRUST_DOMAIN"));
    if trusts != should {
        let owned = |domain: Option<&str>| domain.unwrap_or("none").to_owned();
        reasons.push(Reason::TrustDomain { has: owned(trusts), wants: owned(should) });
    }
    let mut names = differing_variables(&has.env, &wants.env);
    names.retain(|name| {
        let special = matches!(*name, "PROXY_CONFIG" | "TRUST_DOMAIN");
        // Follows the trust domain unless it was set by itself.
        let mesh_id = *name == "ISTIO_META_MESH_ID" && trusts != should;
        !special && !mesh_id && !WORKLOAD_VARIABLES.contains(name) && !told.contains(name)
    });
    if names.contains(&"ISTIO_PROMETHEUS_ANNOTATIONS") {
        reasons.push(Reason::PrometheusMerge);
        names.retain(|name| *name != "ISTIO_PROMETHEUS_ANNOTATIONS");
    }
    if !names.is_empty() {
        reasons.push(Reason::Environment(names.into_iter().map(str::to_owned).collect()));
    }
    reasons
}

fn differing_variables<'c>(left: &'c [Variable], right: &'c [Variable]) -> Vec<&'c str> {
    let by_name = |variables: &'c [Variable]| -> BTreeMap<&'c str, &'c Variable> {
        variables.iter().map(|variable| (variable.name.as_str(), variable)).collect()
    };
    let (left, right) = (by_name(left), by_name(right));
    let names: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    let same = |name: &&str| match (left.get(*name), right.get(*name)) {
        (Some(left), Some(right)) => same_variable(left, right),
        _ => false,
    };
    names.into_iter().filter(|name| !same(name)).collect()
}

fn same_variable(left: &Variable, right: &Variable) -> bool {
    let literal = |variable: &Variable| variable.value.clone().unwrap_or_default();
    let reference = |variable: &Variable| variable.value_from.as_ref().map(without_defaults);
    literal(left) == literal(right)
        && (left.value_from == right.value_from || same(reference(left).as_ref(), reference(right).as_ref()))
}

/// A reference to a field has an `apiVersion` by default only.
fn without_defaults(reference: &Part) -> Value {
    let mut reference = reference.value();
    for (kind, default) in [("fieldRef", "apiVersion"), ("resourceFieldRef", "divisor")] {
        if let Some(fields) = reference.get_mut(kind).and_then(Value::as_object_mut) {
            fields.remove(default);
        }
    }
    reference
}

fn proxy_config(container: &Container) -> Map<String, Value> {
    let text = container.variable("PROXY_CONFIG").unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_default()
}

fn differing_keys(left: &Map<String, Value>, right: &Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    keys.into_iter().filter(|key| !same(left.get(*key), right.get(*key))).cloned().collect()
}

/// Equality in which the order of regular expressions and absent against empty make no difference.
fn same(left: Option<&Value>, right: Option<&Value>) -> bool {
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
fn fields(has: &Container, wants: &Container, kind_differs: bool) -> Vec<Reason> {
    let parts = [
        ("securityContext", &has.security_context, &wants.security_context),
        ("startupProbe", &has.startup_probe, &wants.startup_probe),
        ("readinessProbe", &has.readiness_probe, &wants.readiness_probe),
        ("lifecycle", &has.lifecycle, &wants.lifecycle),
    ];
    let parts = parts.into_iter().filter(|(name, has, wants)| {
        let follows = kind_differs && *name == "lifecycle";
        !follows && !same_part(has.as_ref(), wants.as_ref())
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
    names.map(|field| Reason::Field(format!("{field} of {}", has.name))).collect()
}

fn same_part(live: Option<&Part>, wanted: Option<&Part>) -> bool {
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
fn contains_mounts(has: &Container, wants: &Container) -> bool {
    wants
        .volume_mounts
        .iter()
        .all(|wanted| wanted.mount_path == TOKEN_PATH || has.volume_mounts.contains(wanted))
}

/// Injected containers other than the proxy. Which of them redirects traffic has a reason of its own.
fn other_containers(live: &Injected, wanted: &Injected) -> Vec<Reason> {
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
                _ => reasons.push(Reason::Field(format!("the injected container {name}"))),
            }
        }
    }
    reasons
}

/// Whether a container runs as long as its pod, as all do but init containers that are no native sidecars.
fn is_running(pod: &Injected, name: &str) -> bool {
    pod.init_containers.get(name).is_none_or(|container| container.restart_policy == "Always")
}

fn volumes(live: &BTreeMap<String, Part>, wanted: &BTreeMap<String, Part>) -> Vec<Reason> {
    let differs = |(name, wanted): (&String, &Part)| {
        (!same_part(live.get(name), Some(wanted))).then(|| Reason::Field(format!("volume {name}")))
    };
    wanted.iter().filter_map(differs).collect()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
