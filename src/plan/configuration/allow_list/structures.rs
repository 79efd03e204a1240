//! Structures on the allow-list: maps and lists of Kubernetes that are judged as a whole, to their leaves.
//!
//! Those of Kubernetes' own types are read into the type and written again: whatever that loses is not part of the type. So
//! neither a further field nor a directive such as `$patch` passes.

use k8s_openapi::api::apps::v1::{DaemonSetUpdateStrategy, DeploymentStrategy};
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec};
use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::texts::{TextKind, is_label_key, is_label_value, is_printable, is_yaml_text, key_parts};

/// Most values in one structure; what people write has some dozens.
const MAX_NODES: usize = 1000;
/// Greatest length of a text in a structure of Kubernetes.
const MAX_TEXT: usize = 512;
/// Greatest length of the value of an annotation.
const MAX_ANNOTATION: usize = 8192;

/// Resources of a container. An extended resource, such as a device, would give a container access to the node.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Labels without a domain that the charts set or select by. A second one of a name would win over the chart's.
const LABELS_OF_CHARTS: [&str; 8] =
    ["app", "chart", "component", "heritage", "istio", "k8s-app", "name", "release"];

/// Domains of annotations and labels of pods that nothing acts on but tools that observe pods or remove idle nodes.
/// Keys without a domain belong to users, and the last ones to nobody (RFC 2606).
///
/// Annotations and labels of other domains reach admission webhooks that add containers or credentials, container runtimes,
/// network plugins, and Istio itself.
const POD_DOMAINS: [&str; 12] = [
    "ad.datadoghq.com",
    "checksum",
    "cluster-autoscaler.kubernetes.io",
    "co.elastic.logs",
    "fluentbit.io",
    "karpenter.sh",
    "logging.banzaicloud.io",
    "prometheus.io",
    "tags.datadoghq.com",
    "example.com",
    "example.net",
    "example.org",
];

/// Domains of annotations of Services: load balancers, DNS, and monitoring. A domain stands for those below it, too.
///
/// Other controllers act on Services as well, and some make Secrets of a name that the annotation chooses, which istiod
/// would take for its certificate authority.
const SERVICE_DOMAINS: &[&str] = &[
    "cloud.google.com",
    "cloud.tencent.com",
    "dns.gardener.cloud",
    "external-dns.alpha.kubernetes.io",
    "external-dns.kubernetes.io",
    "io.cilium",
    "kube-vip.io",
    "kubernetes.civo.com",
    "kubernetes.digitalocean.com",
    "lb.stackit.cloud",
    "lbipam.cilium.io",
    "load-balancer.hetzner.cloud",
    "loadbalancer.openstack.org",
    "loadbalancer.ovhcloud.com",
    "metallb.io",
    "metallb.universe.tf",
    "networking.gke.io",
    "oci-network-load-balancer.oraclecloud.com",
    "oci.oraclecloud.com",
    "prometheus.io",
    "purelb.io",
    "service.beta.kubernetes.io",
    "service.kubernetes.io",
    "yawol.stackit.cloud",
    "example.com",
    "example.net",
    "example.org",
];

/// A kind of structure.
#[derive(Debug)]
pub(super) struct StructureKind {
    /// How `allowed_values.txt` calls it.
    pub name: &'static str,
    /// What a value must be, after "must be".
    pub description: &'static str,
    accepts: fn(&Value) -> bool,
    /// Whether each entry of the map stands for itself, so that a refusal can name it.
    pub is_by_entry: bool,
}

impl StructureKind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Whether `value` is of this kind.
    pub fn accepts(&self, value: &Value) -> bool {
        (self.accepts)(value)
    }
}

const fn kind(name: &'static str, description: &'static str, accepts: fn(&Value) -> bool) -> StructureKind {
    StructureKind { name, description, accepts, is_by_entry: false }
}

/// A map whose entries stand for themselves.
const fn map(name: &'static str, description: &'static str, accepts: fn(&Value) -> bool) -> StructureKind {
    StructureKind { name, description, accepts, is_by_entry: true }
}

static KINDS: &[StructureKind] = &[
    kind("empty", "an empty map", |value| value.as_object().is_some_and(Map::is_empty)),
    map("resources", "limits and requests of cpu, memory, and ephemeral-storage", is_resources),
    map(
        "node-selector",
        "a label of nodes and its value, where kubernetes.io/os can only be linux",
        |value| {
            let is_other_system = |map: &Map<String, Value>| {
                map.get("kubernetes.io/os").is_some_and(|system| system != "linux")
            };
            is_map(value, is_label_key, is_label_value) && !value.as_object().is_some_and(is_other_system)
        },
    ),
    kind("affinity", "an affinity of Kubernetes", is_typed::<Affinity>),
    kind("tolerations", "a list of tolerations of Kubernetes", is_typed::<Vec<Toleration>>),
    kind(
        "topology-spread",
        "a list of topology spread constraints of Kubernetes",
        is_typed::<Vec<TopologySpreadConstraint>>,
    ),
    kind(
        "hpa-behavior",
        "the behavior of a HorizontalPodAutoscaler",
        is_typed::<HorizontalPodAutoscalerBehavior>,
    ),
    kind("hpa-metrics", "a list of metrics of the type Resource or ContainerResource", is_metrics),
    kind("daemon-set-strategy", "the update strategy of a DaemonSet", is_typed::<DaemonSetUpdateStrategy>),
    kind("deployment-strategy", "the strategy of a Deployment", is_typed::<DeploymentStrategy>),
    kind("label-selector", "a label selector of Kubernetes", is_selector),
    map(
        "pod-annotations",
        "an annotation of pods: a key without a domain or of a domain on the list (prometheus.io, ad.datadoghq.com, \
         cluster-autoscaler.kubernetes.io, …), and a text",
        |value| is_map(value, |key| is_key_of(key, is_pod_domain), is_annotation),
    ),
    map(
        "pod-labels",
        "a label: a key that Istio's charts do not use, without a domain or of a domain on the list \
         (prometheus.io, tags.datadoghq.com, …), and a text",
        |value| {
            let is_free = |key: &str| is_key_of(key, is_pod_domain) && !LABELS_OF_CHARTS.contains(&key);
            is_map(value, is_free, is_label_value)
        },
    ),
    map(
        "service-annotations",
        "an annotation of Services: a key without a domain or of a domain on the list (those of load balancers, \
         DNS, and monitoring), and a text",
        |value| is_map(value, |key| is_key_of(key, is_service_domain), is_annotation),
    ),
    map("formats", "a name with a format of Envoy, such as %START_TIME%", is_formats),
];

/// Whether a value is of the Kubernetes type `T` to its leaves, without control characters, and not too large.
fn is_typed<T: DeserializeOwned + Serialize>(value: &Value) -> bool {
    if !is_bounded(value) {
        return false;
    }
    // Large structures are refused before they are copied.
    let read = T::deserialize(value).ok();
    read.and_then(|read| serde_json::to_value(read).ok()).is_some_and(|written| written == *value)
}

/// Whether all texts are printable and short, and there are not too many values. Stops at the first excess.
fn is_bounded(value: &Value) -> bool {
    let mut open = vec![value];
    let mut seen = 0;
    while let Some(value) = open.pop() {
        seen += 1;
        let is_fine = match value {
            Value::String(text) => is_short(text),
            Value::Array(items) => {
                open.extend(items.iter().take(MAX_NODES + 1));
                true
            }
            Value::Object(map) => {
                open.extend(map.values().take(MAX_NODES + 1));
                // Fields and labels alike. A directive such as `$patch` is neither.
                map.keys().take(MAX_NODES).all(|key| is_label_key(key))
            }
            Value::Null => false,
            Value::Bool(_) | Value::Number(_) => true,
        };
        if !is_fine || seen + open.len() > MAX_NODES {
            return false;
        }
    }
    true
}

fn is_short(text: &str) -> bool {
    text.len() <= MAX_TEXT && is_printable(text)
}

/// A map of texts. `null` removes what the base configuration says.
fn is_map(value: &Value, is_key: impl Fn(&str) -> bool, is_value: impl Fn(&str) -> bool) -> bool {
    let Some(map) = value.as_object().filter(|map| map.len() <= MAX_NODES) else { return false };
    map.iter().all(|(key, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            // Rendered as a text, as by Helm.
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => return value.is_null() && is_key(key),
        };
        is_key(key) && is_value(&text)
    })
}

fn is_annotation(text: &str) -> bool {
    text.len() <= MAX_ANNOTATION && is_printable(text)
}

/// A valid key without a domain, or of a domain that `is_open`. Charts write keys without quotes.
///
/// Dots in a key without a `/` are a domain after all: container runtimes name their annotations that way.
fn is_key_of(key: &str, is_open: fn(&str) -> bool) -> bool {
    is_yaml_text(key)
        && key_parts(key).is_some_and(|(domain, name)| domain.map_or(!name.contains('.'), is_open))
}

fn is_pod_domain(domain: &str) -> bool {
    POD_DOMAINS.contains(&domain)
}

fn is_service_domain(domain: &str) -> bool {
    SERVICE_DOMAINS
        .iter()
        .any(|open| domain.strip_suffix(open).is_some_and(|below| below.is_empty() || below.ends_with('.')))
}

fn is_resources(value: &Value) -> bool {
    let amounts = |value: &Value| {
        value.is_null()
            || value.as_object().is_some_and(|map| {
                map.iter().all(|(name, amount)| {
                    RESOURCES.contains(&name.as_str()) && (amount.is_null() || is_quantity(amount))
                })
            })
    };
    value.as_object().is_some_and(|map| {
        map.iter().all(|(name, value)| ["limits", "requests"].contains(&name.as_str()) && amounts(value))
    })
}

/// A quantity of Kubernetes that is not negative.
fn is_quantity(value: &Value) -> bool {
    const SUFFIXES: [&str; 17] =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "K"];
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number >= 0.0),
        Value::String(text) if text.len() <= 32 => {
            let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
            let (number, suffix) = text.split_at(end);
            let exponent = suffix.strip_prefix(['e', 'E']).filter(|digits| !digits.is_empty());
            let is_exponent = exponent.is_some_and(|digits| digits.parse::<i8>().is_ok());
            number.starts_with(|c: char| c.is_ascii_digit())
                && number.parse::<f64>().is_ok()
                && (is_exponent || SUFFIXES.contains(&suffix))
        }
        _ => false,
    }
}

/// Metrics that the cluster measures itself; others would need an adapter and permissions.
fn is_metrics(value: &Value) -> bool {
    let is_resource =
        |metric: &Value| matches!(metric["type"].as_str(), Some("Resource" | "ContainerResource"));
    is_typed::<Vec<MetricSpec>>(value)
        && value.as_array().is_some_and(|metrics| metrics.iter().all(is_resource))
}

fn is_selector(value: &Value) -> bool {
    if !is_typed::<LabelSelector>(value) {
        return false;
    }
    let labels = value.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let expressions = value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    labels.into_iter().all(|(key, value)| is_label_key(key) && value.as_str().is_some_and(is_label_value))
        && expressions.into_iter().all(|expression| {
            let mut values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            expression["key"].as_str().is_some_and(is_label_key)
                && ["In", "NotIn", "Exists", "DoesNotExist"]
                    .contains(&expression["operator"].as_str().unwrap_or(""))
                && values.all(|value| value.as_str().is_some_and(is_label_value))
        })
}

/// The JSON form of an access log: names, also nested, with a format each.
fn is_formats(value: &Value) -> bool {
    const DEPTH: usize = 4;
    fn is_level(value: &Value, format: &TextKind, depth: usize) -> bool {
        value.as_object().filter(|map| depth > 0 && map.len() <= MAX_NODES).is_some_and(|map| {
            map.iter().all(|(key, value)| {
                is_short(key)
                    && match value {
                        Value::Null | Value::Bool(_) | Value::Number(_) => true,
                        Value::String(text) => format.accepts(text),
                        Value::Object(_) => is_level(value, format, depth - 1),
                        Value::Array(_) => false,
                    }
            })
        })
    }
    TextKind::named("format").is_some_and(|format| is_level(value, format, DEPTH))
}
