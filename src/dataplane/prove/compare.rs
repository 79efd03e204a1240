//! What differs between the injected part of a live pod and the one that injection gives now. Pure.
//!
//! Both went through the same admission, so that defaults and other webhooks do not count. What comes from the workload
//! itself (its ports, its name, its owner) is left out: the mesh does not control it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::dataplane::amounts::{describe_resources, same_quantity};
use crate::dataplane::injected::{Injected, variable};
use crate::dataplane::names::{
    INIT_CONTAINER, PROXY_CONTAINER, PROXY_IMAGE_ANNOTATION, VALIDATION_CONTAINER,
};
use crate::dataplane::objects::Pod;
use crate::dataplane::reason::Reason;

/// Variables that tell the proxy about its workload, not about the mesh.
const WORKLOAD_VARIABLES: [&str; 5] = [
    "ISTIO_META_POD_PORTS",
    "ISTIO_META_APP_CONTAINERS",
    "ISTIO_META_WORKLOAD_NAME",
    "ISTIO_META_OWNER",
    "ISTIO_KUBE_APP_PROBERS",
];
/// Fields of a container that injection sets, apart from those with a reason of their own.
const FIELDS: [&str; 6] =
    ["args", "securityContext", "startupProbe", "readinessProbe", "lifecycle", "imagePullPolicy"];
const DNS_VARIABLES: [&str; 2] = ["ISTIO_META_DNS_CAPTURE", "ISTIO_META_DNS_AUTO_ALLOCATE"];
const RESOURCES: [&str; 4] = ["/requests/cpu", "/requests/memory", "/limits/cpu", "/limits/memory"];

/// Why a pod is outdated: everything that differs, apart from what its owner looks after himself.
///
/// `wanted` is `None` where injection would give no sidecar any more.
#[must_use]
pub fn reasons(pod: &Pod, wanted: Option<&Injected>) -> Vec<Reason> {
    let Some(live) = Injected::of(pod) else {
        return wanted.map(|_| Reason::MissingSidecar).into_iter().collect();
    };
    let mut reasons = differences(&live, wanted);
    // Who chooses the image of a proxy looks after it himself, resources included.
    if pod.metadata.annotations.contains_key(PROXY_IMAGE_ANNOTATION) {
        reasons.retain(|reason| !matches!(reason, Reason::Image { .. } | Reason::Resources { .. }));
    }
    reasons
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
    reasons.extend(resources(has, wants, wanted.undefaulted));
    reasons.extend(environment(has, wants));
    reasons.extend(fields(PROXY_CONTAINER, has, wants, live.is_native() != wanted.is_native()));
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

fn image(has: &Value, wants: &Value) -> Option<Reason> {
    let (has, wants) = (text(has, "image"), text(wants, "image"));
    (has != wants).then_some(Reason::Image { has, wants })
}

/// What is left open is filled in by the API server and by limit ranges; `undefaulted` says that it is open still.
fn resources(has: &Value, wants: &Value, undefaulted: bool) -> Option<Reason> {
    let part = |container: &Value| container.get("resources").cloned().unwrap_or_default();
    let (has, wants) = (part(has), part(wants));
    let differs = RESOURCES.iter().any(|pointer| {
        let wanted = wants.pointer(pointer);
        let is_open = undefaulted && wanted.is_none();
        !is_open && !same_quantity(has.pointer(pointer), wanted)
    });
    differs.then(|| Reason::Resources { has: describe_resources(&has), wants: describe_resources(&wants) })
}

fn environment(has: &Value, wants: &Value) -> Vec<Reason> {
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
    let told: BTreeSet<&String> = has_metadata.keys().chain(wants_metadata.keys()).collect();
    reasons.extend(variables(has, wants, &told));
    reasons
}

/// Variables apart from those that merely repeat the proxy's configuration, `told` elsewhere.
fn variables(has: &Value, wants: &Value, told: &BTreeSet<&String>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let (trusts, should) = (variable(has, "TRUST_DOMAIN"), variable(wants, "TRUST_DOMAIN"));
    if trusts != should {
        let owned = |domain: Option<&str>| domain.unwrap_or("none").to_owned();
        reasons.push(Reason::TrustDomain { has: owned(trusts), wants: owned(should) });
    }
    let mut names = differing_keys(&by_name(has, "env"), &by_name(wants, "env"));
    names.retain(|name| {
        let special = matches!(name.as_str(), "PROXY_CONFIG" | "TRUST_DOMAIN");
        // Follows the trust domain unless it was set by itself.
        let mesh_id = name == "ISTIO_META_MESH_ID" && trusts != should;
        !special && !mesh_id && !WORKLOAD_VARIABLES.contains(&name.as_str()) && !told.contains(name)
    });
    if names.iter().any(|name| name == "ISTIO_PROMETHEUS_ANNOTATIONS") {
        reasons.push(Reason::PrometheusMerge);
        names.retain(|name| name != "ISTIO_PROMETHEUS_ANNOTATIONS");
    }
    if !names.is_empty() {
        reasons.push(Reason::Environment(names));
    }
    reasons
}

fn proxy_config(container: &Value) -> Map<String, Value> {
    let text = variable(container, "PROXY_CONFIG").unwrap_or("{}");
    match serde_json::from_str(text) {
        Ok(Value::Object(config)) => config,
        _ => Map::new(),
    }
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
fn fields(name: &str, has: &Value, wants: &Value, kind_differs: bool) -> Vec<Reason> {
    let differs = |field: &&&str| match **field {
        "lifecycle" if kind_differs => false,
        "args" => has.get(**field) != wants.get(**field),
        // An answer of istiod itself lacks the defaults of the API server; only what it says can differ.
        field => match (has.get(field), wants.get(field)) {
            (live, None) => field != "imagePullPolicy" && live.is_some_and(|value| !is_empty(value)),
            (None, Some(wanted)) => !is_empty(wanted),
            (Some(live), Some(wanted)) => !contains(live, wanted),
        },
    };
    let mut reasons: Vec<Reason> = FIELDS
        .iter()
        .filter(|field| differs(field))
        .map(|field| Reason::Field(format!("{field} of {name}")))
        .collect();
    if !contains_mounts(has, wants) {
        reasons.push(Reason::Field(format!("volumeMounts of {name}")));
    }
    reasons
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
fn contains_mounts(has: &Value, wants: &Value) -> bool {
    let mounts = |container: &Value| container.get("volumeMounts").and_then(Value::as_array).cloned();
    let live = mounts(has).unwrap_or_default();
    mounts(wants).unwrap_or_default().iter().all(|wanted| {
        let path = &wanted["mountPath"];
        path == "/var/run/secrets/kubernetes.io/serviceaccount"
            || live.iter().any(|mount| mount["mountPath"] == *path && mount["name"] == wanted["name"])
    })
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
                    reasons.extend(fields(name, has, wants, false));
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
    let init = pod.init_containers.get(name);
    init.is_none_or(|container| container.get("restartPolicy").is_some_and(|policy| policy == "Always"))
}

fn volumes(live: &BTreeMap<String, Value>, wanted: &BTreeMap<String, Value>) -> Vec<Reason> {
    let differs = |(name, volume): (&String, &Value)| {
        let same = live.get(name).is_some_and(|live| contains(live, volume));
        (!same).then(|| Reason::Field(format!("volume {name}")))
    };
    wanted.iter().filter_map(differs).collect()
}

fn by_name(container: &Value, list: &str) -> Map<String, Value> {
    let items = container.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter();
    items.filter_map(|item| Some((item.get("name")?.as_str()?.to_owned(), without_defaults(item)))).collect()
}

/// A reference to a field has an `apiVersion` by default only.
fn without_defaults(variable: &Value) -> Value {
    let mut variable = variable.clone();
    if let Some(Value::Object(reference)) = variable.pointer_mut("/valueFrom/fieldRef") {
        reference.remove("apiVersion");
    }
    if let Some(Value::Object(reference)) = variable.pointer_mut("/valueFrom/resourceFieldRef") {
        reference.remove("divisor");
    }
    variable
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
