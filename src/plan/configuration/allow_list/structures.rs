//! Structures on the allow-list: maps and lists of Kubernetes that are checked as a whole, to their leaves.
//!
//! Pure. What a structure of Kubernetes is, `plan::shapes` says; which keys are open, `plan::keys`. Here are only the names
//! under which `allowed_values.txt` refers to them, and what a refusal says.

use k8s_openapi::api::apps::v1::{DaemonSetUpdateStrategy, DeploymentStrategy};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Map, Value};

use super::texts::{TextKind, is_yaml_text};
use crate::names::is_label_value;
use crate::plan::keys::KeyUse;
use crate::plan::shapes::{self, Error as ShapeError};
use crate::text::is_plain;

/// Most entries of a map; what people write has some dozens.
const MAX_ENTRIES: usize = 1000;
/// Longest name in the JSON form of an access log, in bytes.
const MAX_LOG_NAME: usize = 512;
/// Deepest nesting of the JSON form of an access log.
const MAX_LOG_DEPTH: usize = 4;

/// A kind of structure.
#[derive(Debug)]
pub(super) struct StructureKind {
    /// The name in `allowed_values.txt`.
    pub name: &'static str,
    /// What a value must be, after "must be".
    pub description: &'static str,
    check: fn(&Value) -> Result<(), Reason>,
    /// Whether each entry of the map stands for itself, so that a refusal can name it.
    pub is_by_entry: bool,
}

/// Why a value is not of a kind.
enum Reason {
    /// Nothing more than what it must be.
    Kind,
    Shape(ShapeError),
    Advice(&'static str),
}

impl From<ShapeError> for Reason {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

impl StructureKind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Checks that `value` is of this kind.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        (self.check)(value).map_err(|reason| match reason {
            Reason::Kind => format!("must be {}", self.description),
            Reason::Shape(error) => format!("must be {}: {error}", self.description),
            Reason::Advice(advice) => format!("must be {}; {advice}", self.description),
        })
    }
}

const fn kind(
    name: &'static str,
    description: &'static str,
    check: fn(&Value) -> Result<(), Reason>,
) -> StructureKind {
    StructureKind { name, description, check, is_by_entry: false }
}

/// A map whose entries stand for themselves.
const fn map(
    name: &'static str,
    description: &'static str,
    check: fn(&Value) -> Result<(), Reason>,
) -> StructureKind {
    StructureKind { name, description, check, is_by_entry: true }
}

static KINDS: &[StructureKind] = &[
    kind("empty", "an empty map", |value| accept(value.as_object().is_some_and(Map::is_empty))),
    map("resources", "limits and requests of cpu, memory, and ephemeral-storage", |value| {
        accept(shapes::is_resources(value))
    }),
    map(
        "node-selector",
        "a label of nodes and its value, where kubernetes.io/os can only be linux",
        |value| accept(is_map(value, shapes::is_node_selector_entry)),
    ),
    kind("affinity", "an affinity of Kubernetes", |value| Ok(shapes::check::<Affinity>(value)?)),
    kind("tolerations", "a list of tolerations of Kubernetes", |value| {
        Ok(shapes::check::<Vec<Toleration>>(value)?)
    }),
    kind("topology-spread", "a list of topology spread constraints of Kubernetes", |value| {
        Ok(shapes::check::<Vec<TopologySpreadConstraint>>(value)?)
    }),
    kind("hpa-behavior", "the behavior of a HorizontalPodAutoscaler", |value| {
        Ok(shapes::check::<HorizontalPodAutoscalerBehavior>(value)?)
    }),
    kind("hpa-metrics", "a list of metrics of the type Resource or ContainerResource", |value| {
        Ok(shapes::check_pod_metrics(value)?)
    }),
    kind("daemon-set-strategy", "the update strategy of a DaemonSet", |value| {
        Ok(shapes::check::<DaemonSetUpdateStrategy>(value)?)
    }),
    kind("deployment-strategy", "the strategy of a Deployment", |value| {
        Ok(shapes::check::<DeploymentStrategy>(value)?)
    }),
    kind("label-selector", "a label selector of Kubernetes", |value| {
        Ok(shapes::check::<LabelSelector>(value)?)
    }),
    map(
        "pod-annotations",
        "an annotation of pods that is open to authors (docs/user: without a domain, prometheus.io, \
         cluster-autoscaler.kubernetes.io, …), and a text without variables of agents",
        |value| annotations(value, KeyUse::PodAnnotation),
    ),
    map(
        "workload-annotations",
        "an annotation of workloads that is open to authors (docs/user: without a domain, prometheus.io, …), and a text",
        |value| annotations(value, KeyUse::WorkloadAnnotation),
    ),
    map(
        "labels",
        "a label that is open to authors (docs/user: without a domain, prometheus.io, …) and that Istio's charts do not \
         use, and a text",
        |value| accept(is_map(value, |key, value| is_key(key, KeyUse::Label) && is_label_value(value))),
    ),
    map(
        "service-annotations",
        "an annotation of Services that is open to authors (docs/user: without a domain, or of load balancers, DNS, and \
         monitoring), and a text",
        |value| annotations(value, KeyUse::ServiceAnnotation),
    ),
    map(
        "istiod-service-annotations",
        "an annotation of the Service of istiod that is open to authors (without a domain, or prometheus.io), and a text",
        |value| annotations(value, KeyUse::IstiodServiceAnnotation),
    ),
    kind("formats", "a name with a format of Envoy, such as %START_TIME%", check_formats),
];

fn accept(is_accepted: bool) -> Result<(), Reason> {
    if is_accepted { Ok(()) } else { Err(Reason::Kind) }
}

/// Whether `value` is a map of texts. Null removes what the base configuration has.
fn is_map(value: &Value, is_entry: impl Fn(&str, &str) -> bool) -> bool {
    let is_open = |(key, value): (&String, &Value)| match value {
        Value::Null => is_entry(key, ""),
        Value::String(text) => is_entry(key, text),
        // Rendered as a text, as Helm does.
        Value::Bool(_) | Value::Number(_) => is_entry(key, &value.to_string()),
        Value::Array(_) | Value::Object(_) => false,
    };
    value.as_object().is_some_and(|map| map.len() <= MAX_ENTRIES && map.iter().all(is_open))
}

fn annotations(value: &Value, key_use: KeyUse) -> Result<(), Reason> {
    let has_proxy_config = value.as_object().is_some_and(|map| map.contains_key("proxy.istio.io/config"));
    if has_proxy_config {
        return Err(Reason::Advice(
            "use spec.config.numTrustedProxies, or spec.values.meshConfig.defaultConfig instead",
        ));
    }
    accept(is_map(value, |key, value| is_key(key, key_use) && KeyUse::accepts_value(key, value)))
}

/// Charts write keys without quotes.
fn is_key(key: &str, key_use: KeyUse) -> bool {
    is_yaml_text(key) && key_use.accepts(key)
}

/// The JSON form of an access log: names, also nested, with a format each.
fn check_formats(value: &Value) -> Result<(), Reason> {
    fn is_level(value: &Value, format: &TextKind, depth: usize) -> bool {
        value.as_object().filter(|map| depth > 0 && map.len() <= MAX_ENTRIES).is_some_and(|map| {
            map.iter().all(|(key, value)| {
                key.len() <= MAX_LOG_NAME
                    && is_plain(key)
                    && format.accepts(key)
                    && match value {
                        Value::Null | Value::Bool(_) | Value::Number(_) => true,
                        Value::String(text) => format.accepts(text),
                        Value::Object(_) => is_level(value, format, depth - 1),
                        Value::Array(_) => false,
                    }
            })
        })
    }
    let is_accepted = TextKind::named("format").is_some_and(|format| is_level(value, format, MAX_LOG_DEPTH));
    if is_accepted {
        return Ok(());
    }
    match first_format_error(value) {
        Some(error) => Err(Reason::Shape(ShapeError::Type(error))),
        None => Err(Reason::Kind),
    }
}

fn first_format_error(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => TextKind::named("format").and_then(|format| format.explain(text)),
        Value::Object(map) => map.values().find_map(first_format_error),
        _ => None,
    }
}
