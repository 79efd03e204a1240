//! Classes of what an author may write at an open place.
//!
//! Pure. Texts have narrow sets of characters: the charts print many of them as they are, and so do the injection templates.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::{apps, autoscaling, core};
use serde_json::{Map, Value};

use super::{arguments, telemetry};
use crate::duration;
use crate::names::{is_label_value, key_parts};
use crate::plan::configuration::istio_namespace_selector;
use crate::plan::keys::KeyUse;
use crate::plan::shapes::{
    check_pod_metrics, is_cidr, is_exactly, is_label_selector, is_log_file, is_node_selector_entry,
    is_number_or_percentage, is_port, is_port_text, is_remote_endpoint, is_resources,
};
use crate::text::is_plain;
use crate::validate::envoy_format;

/// Longest text, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// Longest text that a chart or a template prints as it is, in bytes.
const MAX_WORD: usize = 16 * 1024;
/// Longest copy of all values, in bytes: what a `ConfigMap` holds.
const MAX_COPY: usize = 1024 * 1024;
/// Deepest nesting of a structure.
const MAX_DEPTH: usize = 24;
/// Most parts of a structure.
const MAX_PARTS: usize = 5000;
/// Most replicas of a workload.
const MAX_REPLICAS: i64 = 1000;
/// How often istiod may refresh the keys of JWT issuers: a revoked key stays trusted until then.
const REFRESH_INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 3600);

/// What may be written at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueClass {
    Affinity,
    Address,
    AddressRanges,
    /// The address of an agent on the node of the pod, or any [`ValueClass::Endpoint`].
    AgentEndpoint,
    /// The value of an annotation of the place's name.
    Annotation,
    /// A text of any content.
    AnyText,
    Arguments,
    AutoscalerBehavior,
    AutoscalerMetrics,
    Bool,
    /// `true`, and not `false` or nothing.
    BoolTrue,
    /// `false`, and not `true` or nothing.
    BoolFalse,
    ContainerPorts,
    /// Tags of traces that do not read credentials.
    CustomTags,
    DaemonSetStrategy,
    Decimal,
    DeploymentStrategy,
    /// Selectors of namespaces with that of Istio's own.
    DiscoverySelectors,
    Duration,
    /// A host with a port outside of the pod and its node.
    Endpoint,
    /// A whole number, or its text.
    IntegerOrText,
    IpFamilies,
    Label,
    LabelSelectors,
    LogFile,
    LogFormat,
    LogLevels,
    /// A label of nodes of the place's name.
    NodeLabel,
    Number,
    NumberOrPercentage,
    /// One of these texts.
    OneOf(Vec<&'static str>),
    /// A structure of plain texts, numbers, and switches.
    PlainStructure,
    PolicyPorts,
    /// A name with a domain.
    QualifiedName,
    /// How often keys are refreshed.
    RefreshInterval,
    Replicas,
    Resources,
    ServicePorts,
    Spread,
    /// One of these texts, and one that is at least as strict as before. No text is as strict as the first ones.
    Stricter(Vec<Vec<&'static str>>),
    TelemetryProvider,
    Text,
    Token,
    Tolerations,
    TrafficPorts,
    TrafficRanges,
    /// An element of `env`.
    Variable,
    /// An element of `env` that says `true`.
    VariableTrue,
    /// An element of `env` that says `false`.
    VariableFalse,
    /// An element of `env` with a [`ValueClass::RefreshInterval`].
    VariableRefreshInterval,
    VariableValue,
}

impl ValueClass {
    /// Reads the last word of a line of `fields.txt`; `None` if there is no such class.
    pub fn parse(text: &'static str) -> Option<Self> {
        Some(match text {
            "affinity" => Self::Affinity,
            "address" => Self::Address,
            "address-ranges" => Self::AddressRanges,
            "agent-endpoint" => Self::AgentEndpoint,
            "annotation" => Self::Annotation,
            "any-text" => Self::AnyText,
            "arguments" => Self::Arguments,
            "autoscaler-behavior" => Self::AutoscalerBehavior,
            "autoscaler-metrics" => Self::AutoscalerMetrics,
            "bool" => Self::Bool,
            "bool-true" => Self::BoolTrue,
            "bool-false" => Self::BoolFalse,
            "container-ports" => Self::ContainerPorts,
            "custom-tags" => Self::CustomTags,
            "daemon-set-strategy" => Self::DaemonSetStrategy,
            "decimal" => Self::Decimal,
            "deployment-strategy" => Self::DeploymentStrategy,
            "discovery-selectors" => Self::DiscoverySelectors,
            "duration" => Self::Duration,
            "endpoint" => Self::Endpoint,
            "integer-or-text" => Self::IntegerOrText,
            "ip-families" => Self::IpFamilies,
            "label" => Self::Label,
            "label-selectors" => Self::LabelSelectors,
            "log-file" => Self::LogFile,
            "log-format" => Self::LogFormat,
            "log-levels" => Self::LogLevels,
            "node-label" => Self::NodeLabel,
            "number" => Self::Number,
            "number-or-percentage" => Self::NumberOrPercentage,
            "plain-structure" => Self::PlainStructure,
            "policy-ports" => Self::PolicyPorts,
            "qualified-name" => Self::QualifiedName,
            "refresh-interval" => Self::RefreshInterval,
            "replicas" => Self::Replicas,
            "resources" => Self::Resources,
            "service-ports" => Self::ServicePorts,
            "spread" => Self::Spread,
            "telemetry-provider" => Self::TelemetryProvider,
            "text" => Self::Text,
            "token" => Self::Token,
            "tolerations" => Self::Tolerations,
            "traffic-ports" => Self::TrafficPorts,
            "traffic-ranges" => Self::TrafficRanges,
            "variable" => Self::Variable,
            "variable-true" => Self::VariableTrue,
            "variable-false" => Self::VariableFalse,
            "variable-refresh-interval" => Self::VariableRefreshInterval,
            "variable-value" => Self::VariableValue,
            _ if text.contains('<') => {
                Self::Stricter(text.split('<').map(|level| level.split(',').collect()).collect())
            }
            _ if text.contains('|') => Self::OneOf(text.split('|').collect()),
            _ => return None,
        })
    }

    /// Whether what stands at an open place of this name may become `after`; `None` is no value at all.
    pub fn accepts_change(&self, name: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
        match (self, before, after) {
            (Self::Arguments, Some(before), Some(after)) => arguments::differ_in_logging_only(before, after),
            // Removing is judged by what is removed.
            (Self::TelemetryProvider | Self::PolicyPorts, Some(before), None) => self.accepts(name, before),
            (Self::TelemetryProvider | Self::PolicyPorts, Some(before), Some(after)) => {
                self.accepts(name, before) && self.accepts(name, after)
            }
            (Self::Arguments, _, _)
            | (
                Self::BoolTrue
                | Self::BoolFalse
                | Self::VariableTrue
                | Self::VariableFalse
                | Self::RefreshInterval
                | Self::VariableRefreshInterval,
                Some(_),
                None,
            ) => false,
            (Self::Stricter(levels), before, after) => {
                let (before, after) = (level(levels, before).unwrap_or(0), level(levels, after));
                after.is_some_and(|after| after >= before)
            }
            (_, _, None) => true,
            (_, _, Some(after)) => self.accepts(name, after),
        }
    }

    fn accepts(&self, name: &str, value: &Value) -> bool {
        match self {
            Self::Affinity => is_exactly::<core::v1::Affinity>(value),
            Self::AutoscalerBehavior => is_exactly::<autoscaling::v2::HorizontalPodAutoscalerBehavior>(value),
            Self::AutoscalerMetrics => check_pod_metrics(value).is_ok(),
            Self::DaemonSetStrategy => is_exactly::<apps::v1::DaemonSetUpdateStrategy>(value),
            Self::DeploymentStrategy => is_exactly::<apps::v1::DeploymentStrategy>(value),
            Self::LabelSelectors => is_list_of(value, is_label_selector),
            Self::DiscoverySelectors => is_discovery_selectors(value),
            Self::Spread => is_exactly::<Vec<core::v1::TopologySpreadConstraint>>(value),
            Self::Tolerations => is_exactly::<Vec<core::v1::Toleration>>(value),
            Self::Resources => is_resources(value),
            Self::ContainerPorts => is_list_of(value, |port| {
                has_only(port, &[("name", is_word), ("containerPort", is_port), ("protocol", is_protocol)])
            }),
            Self::ServicePorts => is_list_of(value, |port| has_only(port, &SERVICE_PORT)),
            Self::PolicyPorts => is_list_of(value, is_policy_ports),
            Self::AddressRanges => is_list_of(value, |range| text(range).is_some_and(is_cidr)),
            Self::IpFamilies => is_list_of(value, |family| matches!(text(family), Some("IPv4" | "IPv6"))),
            Self::TelemetryProvider => telemetry::is_provider(value),
            Self::CustomTags => telemetry::is_custom_tags(value),
            Self::Variable => is_variable(value, |value| text(value).is_some_and(is_variable_text)),
            Self::VariableTrue => is_variable(value, |value| text(value) == Some("true")),
            Self::VariableFalse => is_variable(value, |value| text(value) == Some("false")),
            Self::VariableRefreshInterval => is_variable(value, is_refresh_interval),
            Self::PlainStructure => is_plain_structure(value),
            Self::IntegerOrText => is_scalar_of(value, |text| text.len() <= 9 && is_of(text, "0123456789")),
            Self::AnyText => value.as_str().is_some_and(|text| text.len() <= MAX_COPY),
            Self::Bool => value.is_boolean() || matches!(text(value), Some("true" | "false")),
            Self::BoolTrue => *value == Value::Bool(true) || text(value) == Some("true"),
            Self::BoolFalse => *value == Value::Bool(false) || text(value) == Some("false"),
            Self::Number => integer(value).is_some_and(|number| (0..=i64::from(u32::MAX)).contains(&number)),
            Self::Replicas => integer(value).is_some_and(|number| (0..=MAX_REPLICAS).contains(&number)),
            Self::Decimal => value.is_number() || text(value).is_some_and(|text| text.parse::<f64>().is_ok()),
            Self::NumberOrPercentage => is_number_or_percentage(value),
            Self::VariableValue => is_scalar_of(value, is_variable_text),
            Self::Text => text(value).is_some_and(|text| text.len() <= MAX_TEXT && is_plain(text)),
            Self::Annotation => text(value).is_some_and(|text| KeyUse::accepts_value(name, text)),
            Self::Label => text(value).is_some_and(is_label_value),
            Self::NodeLabel => text(value).is_some_and(|text| is_node_selector_entry(name, text)),
            Self::Address => text(value).is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            Self::Endpoint => text(value).is_some_and(is_remote_endpoint),
            Self::AgentEndpoint => text(value).is_some_and(is_agent_endpoint),
            Self::Duration => {
                text(value).is_some_and(|text| text.is_ascii() && duration::parse(text).is_ok())
            }
            Self::RefreshInterval => is_refresh_interval(value),
            Self::QualifiedName => {
                text(value).and_then(key_parts).is_some_and(|(domain, _)| domain.is_some())
            }
            Self::Token => is_word_of(value, "-._~+/="),
            Self::LogLevels => is_word_of(value, "-._:,=*"),
            Self::TrafficPorts => is_scalar_of(value, |text| is_of(text, "0123456789,*")),
            Self::TrafficRanges => is_scalar_of(value, |text| is_of(text, "0123456789abcdefABCDEF.:/,*")),
            Self::LogFile => text(value).is_some_and(is_log_file),
            Self::LogFormat => text(value).is_some_and(|text| envoy_format::check(text).is_ok()),
            Self::OneOf(texts) => text(value).is_some_and(|text| texts.contains(&text)),
            Self::Stricter(levels) => level(levels, Some(value)).is_some(),
            Self::Arguments => false,
        }
    }
}

/// How strict a choice is; `None` if it is not one of the choices.
fn level(levels: &[Vec<&str>], value: Option<&Value>) -> Option<usize> {
    let Some(value) = value else { return Some(0) };
    let choice = text(value)?;
    levels.iter().position(|texts| texts.contains(&choice))
}

/// The name of a field, and what it may hold.
type AllowedField = (&'static str, fn(&Value) -> bool);

/// Fields of a port of a Service, and what they may hold.
const SERVICE_PORT: [AllowedField; 6] = [
    ("appProtocol", is_word),
    ("name", is_word),
    ("nodePort", is_port),
    ("port", is_port),
    ("protocol", is_protocol),
    ("targetPort", |value| is_port(value) || is_word(value)),
];

/// Selectors of namespaces; without that of Istio's namespace istiod would drop the policies for the whole mesh.
fn is_discovery_selectors(value: &Value) -> bool {
    let has_own = |items: &Vec<Value>| items.is_empty() || items.contains(&istio_namespace_selector());
    is_list_of(value, is_label_selector) && value.as_array().is_some_and(has_own)
}

/// Whether a structure is bounded, and its texts are plain.
pub(super) fn is_plain_structure(value: &Value) -> bool {
    let is_name = |name: &String| name.len() <= MAX_TEXT && is_plain(name) && !name.starts_with('$');
    let mut parts = 0;
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        parts += 1;
        if depth > MAX_DEPTH || parts > MAX_PARTS {
            return false;
        }
        match value {
            Value::Object(fields) if fields.keys().all(is_name) => {
                open.extend(fields.values().map(|value| (value, depth + 1)));
            }
            Value::Array(items) => open.extend(items.iter().map(|value| (value, depth + 1))),
            Value::String(text) if text.len() <= MAX_TEXT && is_plain(text) => {}
            Value::Object(_) | Value::String(_) => return false,
            _ => {}
        }
    }
    true
}

pub(super) fn is_agent_endpoint(text: &str) -> bool {
    text.strip_prefix("$(HOST_IP):").map_or_else(|| is_remote_endpoint(text), is_port_text)
}

fn is_refresh_interval(value: &Value) -> bool {
    let duration = text(value).filter(|text| text.is_ascii()).and_then(|text| duration::parse(text).ok());
    duration.is_some_and(|duration| REFRESH_INTERVAL.contains(&duration))
}

fn is_policy_ports(value: &Value) -> bool {
    let ports: [AllowedField; 2] = [("port", is_port), ("protocol", is_protocol)];
    value.as_object().is_some_and(|rule| {
        rule.len() == 1
            && rule.get("ports").is_some_and(|list| {
                list.as_array().is_some_and(|list| !list.is_empty())
                    && is_list_of(list, |port| has_only(port, &ports))
            })
    })
}

fn is_variable(value: &Value, is_value: impl Fn(&Value) -> bool) -> bool {
    value.as_object().is_some_and(|fields| {
        fields.iter().all(|(name, value)| match &**name {
            "name" => true,
            "value" => is_value(value),
            _ => false,
        })
    })
}

/// The value of a variable: `$(NAME)` would be replaced with another one's.
fn is_variable_text(text: &str) -> bool {
    text.len() <= MAX_WORD && is_plain(text) && !text.contains("$(") && !text.contains(['"', '\\'])
}

fn is_protocol(value: &Value) -> bool {
    matches!(text(value), Some("TCP" | "UDP" | "SCTP"))
}

fn is_word(value: &Value) -> bool {
    is_word_of(value, "-._/")
}

fn is_list_of(value: &Value, is_item: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.len() <= MAX_PARTS && items.iter().all(is_item))
}

fn has_only(value: &Value, fields: &[AllowedField]) -> bool {
    let is_listed = |(name, value): (&String, &Value)| {
        fields.iter().any(|(listed, accepts)| listed == name && accepts(value))
    };
    value.as_object().is_some_and(|map: &Map<String, Value>| map.iter().all(is_listed))
}

fn is_word_of(value: &Value, punctuation: &str) -> bool {
    text(value).is_some_and(|text| text.len() <= MAX_WORD && is_of_letters_and(text, punctuation))
}

/// A text, or what stands for one without quotes in YAML.
fn is_scalar_of(value: &Value, is_text: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => text.len() <= MAX_WORD && is_text(text),
        Value::Number(number) => is_text(&number.to_string()),
        Value::Bool(_) => is_text("true"),
        _ => false,
    }
}

fn is_of(text: &str, characters: &str) -> bool {
    text.chars().all(|c| characters.contains(c))
}

fn is_of_letters_and(text: &str, punctuation: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c))
}

pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|number| number.fract() == 0.0).and_then(whole))
}

/// YAML reads `1e3` and `3.0` as floating point numbers; both are whole.
fn whole(number: f64) -> Option<i64> {
    format!("{number:.0}").parse().ok()
}
