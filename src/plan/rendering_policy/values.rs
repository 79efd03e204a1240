//! Classes of what an author may write at an open place.
//!
//! Texts have narrow sets of characters: the charts print many of them as they are, and so do the injection templates.

use std::net::IpAddr;

use k8s_openapi::api::{apps, autoscaling, core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::names::is_label_text;
use super::{arguments, formats, telemetry};

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

/// What may be written at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueClass {
    Affinity,
    Address,
    AddressRanges,
    Arguments,
    AutoscalerBehavior,
    AutoscalerMetrics,
    Bool,
    BoolText,
    /// `true`, and not `false`.
    BoolTrue,
    /// `false`, and not `true`.
    BoolFalse,
    ContainerPorts,
    Copy,
    /// A whole number, or its text.
    Count,
    DaemonSetStrategy,
    Decimal,
    DeploymentStrategy,
    Host,
    IpFamilies,
    Label,
    LabelSelectors,
    LogFile,
    LogFormat,
    LogLevels,
    /// Names of namespaces, separated by commas.
    Namespaces,
    Number,
    NumberOrPercentage,
    /// One of these texts.
    OneOf(Vec<&'static str>),
    PolicyPorts,
    Replicas,
    Resources,
    ServicePorts,
    /// Any structure of plain texts, numbers and switches.
    Settings,
    Spread,
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
    VariableValue,
    /// Nothing: the name of the class is not known.
    Nothing,
}

impl ValueClass {
    pub fn parse(text: &'static str) -> Self {
        match text {
            "affinity" => Self::Affinity,
            "address" => Self::Address,
            "address-ranges" => Self::AddressRanges,
            "arguments" => Self::Arguments,
            "autoscaler-behavior" => Self::AutoscalerBehavior,
            "autoscaler-metrics" => Self::AutoscalerMetrics,
            "bool" => Self::Bool,
            "bool-text" => Self::BoolText,
            "bool-true" => Self::BoolTrue,
            "bool-false" => Self::BoolFalse,
            "container-ports" => Self::ContainerPorts,
            "copy" => Self::Copy,
            "count" => Self::Count,
            "daemon-set-strategy" => Self::DaemonSetStrategy,
            "decimal" => Self::Decimal,
            "deployment-strategy" => Self::DeploymentStrategy,
            "host" => Self::Host,
            "ip-families" => Self::IpFamilies,
            "label" => Self::Label,
            "label-selectors" => Self::LabelSelectors,
            "log-file" => Self::LogFile,
            "log-format" => Self::LogFormat,
            "log-levels" => Self::LogLevels,
            "namespaces" => Self::Namespaces,
            "number" => Self::Number,
            "number-or-percentage" => Self::NumberOrPercentage,
            "policy-ports" => Self::PolicyPorts,
            "replicas" => Self::Replicas,
            "resources" => Self::Resources,
            "service-ports" => Self::ServicePorts,
            "settings" => Self::Settings,
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
            "variable-value" => Self::VariableValue,
            _ if text.contains('|') => Self::OneOf(text.split('|').collect()),
            _ => Self::Nothing,
        }
    }

    /// Whether what stands at an open place may become `after`; `None` is no value at all.
    pub fn takes(&self, before: Option<&Value>, after: Option<&Value>) -> bool {
        match (self, before, after) {
            // Taking away is judged by what is taken away.
            (Self::Arguments, Some(before), Some(after)) => arguments::differ_in_logging_only(before, after),
            (Self::TelemetryProvider | Self::PolicyPorts, Some(before), None) => self.is_open(before),
            (Self::TelemetryProvider | Self::PolicyPorts, Some(before), Some(after)) => {
                self.is_open(before) && self.is_open(after)
            }
            (Self::Arguments | Self::Nothing, _, _) => false,
            (_, _, None) => true,
            (_, _, Some(after)) => self.is_open(after),
        }
    }

    fn is_open(&self, value: &Value) -> bool {
        match self {
            Self::Affinity => is_exactly::<core::v1::Affinity>(value),
            Self::AutoscalerBehavior => is_exactly::<autoscaling::v2::HorizontalPodAutoscalerBehavior>(value),
            Self::AutoscalerMetrics => is_metrics(value),
            Self::DaemonSetStrategy => is_exactly::<apps::v1::DaemonSetUpdateStrategy>(value),
            Self::DeploymentStrategy => is_exactly::<apps::v1::DeploymentStrategy>(value),
            Self::LabelSelectors => is_exactly::<Vec<LabelSelector>>(value),
            Self::Spread => is_exactly::<Vec<core::v1::TopologySpreadConstraint>>(value),
            Self::Tolerations => is_exactly::<Vec<core::v1::Toleration>>(value),
            Self::Resources => is_resources(value),
            Self::ContainerPorts => is_list_of(value, |port| {
                has_only(port, &[("name", is_word), ("containerPort", is_port), ("protocol", is_protocol)])
            }),
            Self::ServicePorts => is_list_of(value, |port| has_only(port, &SERVICE_PORT)),
            Self::PolicyPorts => is_list_of(value, is_policy_ports),
            Self::AddressRanges => is_list_of(value, |range| text(range).is_some_and(is_address_range)),
            Self::IpFamilies => is_list_of(value, |family| matches!(text(family), Some("IPv4" | "IPv6"))),
            Self::TelemetryProvider => telemetry::is_provider(value),
            Self::Variable => is_variable(value, |value| text(value).is_some_and(is_variable_text)),
            Self::VariableTrue => is_variable(value, |value| text(value) == Some("true")),
            Self::VariableFalse => is_variable(value, |value| text(value) == Some("false")),
            Self::Settings => is_settings(value),
            Self::Count => is_scalar_of(value, |text| text.len() <= 9 && is_of(text, "0123456789")),
            Self::Copy => value.as_str().is_some_and(|text| text.len() <= MAX_COPY),
            Self::Bool => value.is_boolean() || matches!(text(value), Some("true" | "false")),
            Self::BoolTrue => *value == Value::Bool(true) || text(value) == Some("true"),
            Self::BoolFalse => *value == Value::Bool(false) || text(value) == Some("false"),
            Self::BoolText => matches!(text(value), Some("true" | "false")),
            Self::Number => integer(value).is_some_and(|number| (0..=i64::from(i32::MAX)).contains(&number)),
            Self::Replicas => integer(value).is_some_and(|number| (0..=MAX_REPLICAS).contains(&number)),
            Self::Decimal => value.is_number() || text(value).is_some_and(|text| text.parse::<f64>().is_ok()),
            Self::NumberOrPercentage => is_number_or_percentage(value),
            Self::VariableValue => is_scalar_of(value, is_variable_text),
            Self::Text => text(value).is_some_and(|text| text.len() <= MAX_TEXT && is_plain(text)),
            Self::Label => text(value).is_some_and(is_label_text),
            Self::Address => text(value).is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            Self::Host => is_word_of(value, "-.:_/[]$()"),
            Self::Token => is_word_of(value, "-._~+/="),
            Self::LogLevels => is_word_of(value, "-._:,=*"),
            Self::TrafficPorts => is_scalar_of(value, |text| is_of(text, "0123456789,*")),
            Self::TrafficRanges => is_scalar_of(value, |text| is_of(text, "0123456789abcdefABCDEF.:/,*")),
            Self::Namespaces => text(value).is_some_and(|text| {
                text.is_empty() || text.split(',').all(crate::kubernetes::object::is_dns_label)
            }),
            Self::LogFile => is_log_file(value),
            Self::LogFormat => text(value).is_some_and(formats::is_harmless),
            Self::OneOf(texts) => text(value).is_some_and(|text| texts.contains(&text)),
            Self::Arguments | Self::Nothing => false,
        }
    }
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

/// Whether `value` is a `T` and nothing else: what Kubernetes' own types do not keep, they do not know.
fn is_exactly<T: DeserializeOwned + Serialize>(value: &Value) -> bool {
    let value = without_nulls(value);
    is_settings(&value)
        && serde_json::from_value::<T>(value.clone())
            .ok()
            .and_then(|typed| serde_json::to_value(typed).ok())
            .is_some_and(|kept| kept == value)
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        value => value.clone(),
    }
}

/// Whether a structure is bounded, and its texts are plain.
pub(crate) fn is_settings(value: &Value) -> bool {
    let mut parts = 0;
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        parts += 1;
        if depth > MAX_DEPTH || parts > MAX_PARTS {
            return false;
        }
        match value {
            Value::Object(fields) => {
                if !fields
                    .keys()
                    .all(|name| name.len() <= MAX_TEXT && is_plain(name) && !name.starts_with('$'))
                {
                    return false;
                }
                open.extend(fields.values().map(|value| (value, depth + 1)));
            }
            Value::Array(items) => open.extend(items.iter().map(|value| (value, depth + 1))),
            Value::String(text) if text.len() > MAX_TEXT || !is_plain(text) => return false,
            _ => {}
        }
    }
    true
}

/// Whether a text has no control characters, and nothing that changes how the text around it is read.
pub(crate) fn is_plain(text: &str) -> bool {
    let is_format = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !text.chars().any(|c| c.is_control() || is_format(c))
}

/// Metrics of the pods themselves: those of other objects lead the autoscaler elsewhere.
fn is_metrics(value: &Value) -> bool {
    let is_of_pods = |metric: &Value| matches!(text(&metric["type"]), Some("Resource" | "ContainerResource"));
    is_list_of(value, is_of_pods) && is_exactly::<Vec<autoscaling::v2::MetricSpec>>(value)
}

fn is_resources(value: &Value) -> bool {
    let is_quantities = |value: &Value| {
        value.as_object().is_some_and(|map| {
            map.iter()
                .all(|(name, value)| super::names::NameClass::NodeLabel.takes(name) && is_quantity(value))
        })
    };
    value.as_object().is_some_and(|fields| {
        fields.iter().all(|(name, value)| {
            value.is_null() || (matches!(&**name, "limits" | "requests") && is_quantities(value))
        })
    })
}

fn is_quantity(value: &Value) -> bool {
    is_scalar_of(value, |text| {
        text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_digit()) && is_of_letters_and(text, ".+-")
    })
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

/// The value of a variable: `$(NAME)` would be replaced by another one's.
fn is_variable_text(text: &str) -> bool {
    text.len() <= MAX_WORD && is_plain(text) && !text.contains("$(") && !text.contains(['"', '\\'])
}

fn is_number_or_percentage(value: &Value) -> bool {
    integer(value).is_some_and(|number| (0..=i64::from(i32::MAX)).contains(&number))
        || text(value)
            .and_then(|text| text.strip_suffix('%'))
            .is_some_and(|number| number.len() <= 3 && is_of(number, "0123456789") && !number.is_empty())
}

/// The standard streams, which is where a container logs; any other path would be a file that somebody else reads.
pub(crate) fn is_log_file(value: &Value) -> bool {
    matches!(text(value), Some("" | "/dev/stdout" | "/dev/stderr"))
}

fn is_port(value: &Value) -> bool {
    integer(value).is_some_and(|port| (1..=65535).contains(&port))
}

fn is_protocol(value: &Value) -> bool {
    matches!(text(value), Some("TCP" | "UDP" | "SCTP"))
}

fn is_word(value: &Value) -> bool {
    is_word_of(value, "-._/")
}

fn is_address_range(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        let longest = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        is_of(bits, "0123456789") && bits.parse::<u8>().is_ok_and(|bits| bits <= longest)
    })
}

fn is_list_of(value: &Value, is_item: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.len() <= MAX_PARTS && items.iter().all(is_item))
}

fn has_only(value: &Value, fields: &[AllowedField]) -> bool {
    let is_listed = |(name, value): (&String, &Value)| {
        fields.iter().any(|(listed, takes)| listed == name && takes(value))
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

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|number| number.fract() == 0.0).and_then(whole))
}

/// YAML reads `1e3` and `3.0` as floating point numbers; both are whole.
fn whole(number: f64) -> Option<i64> {
    format!("{number:.0}").parse().ok()
}
