//! Shapes of values that mean the same wherever they stand: structures of Kubernetes, quantities, ports, and addresses.
//!
//! Pure, and rules of Kubernetes and of syntax only. Which place may hold which shape is said by the allow-list of values and
//! by the rendering policy, which both use these.

use std::net::IpAddr;

use k8s_openapi::api::autoscaling::v2::MetricSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::names::{is_dns_label, is_dns_subdomain, is_label_key, is_label_value};
use crate::text::{escaped, is_plain};

/// Most parts of one structure; what people write has some dozens.
const MAX_PARTS: usize = 1000;
/// Deepest nesting of a structure.
const MAX_DEPTH: usize = 24;
/// Longest text in a structure, in bytes.
const MAX_TEXT: usize = 512;
/// Longest path or cause in an error, in characters.
const MAX_SHOWN: usize = 120;

/// Resources of a container. An extended resource, such as a device, would give a container access to the node.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Why a value is not the structure that it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Error {
    /// It is too large.
    #[error("it is too large")]
    TooLarge,
    /// A name or text has characters that are not allowed, or is too long.
    #[error("{0} has characters that are not allowed, or is too long")]
    Text(String),
    /// It does not have the type.
    #[error("{0}")]
    Type(String),
    /// A field that the type does not have, or that is missing.
    #[error("field {0} is unknown, or a field that it needs is missing")]
    Field(String),
    /// A field with a value that the API server refuses.
    #[error("field {0} has a value that Kubernetes refuses")]
    Value(String),
}

/// Checks that `value` is a `T` and nothing else, with values that the API server accepts. Null is no value.
///
/// What the type does not keep when it is read and written again, it does not know: so neither a further field nor a
/// directive such as `$patch` passes.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), Error> {
    check_bounds(value)?;
    let value = without_nulls(value);
    let typed: T =
        T::deserialize(&value).map_err(|error| Error::Type(escaped(&error.to_string(), MAX_SHOWN)))?;
    let kept = serde_json::to_value(typed).map_err(|error| Error::Type(error.to_string()))?;
    if let Some(path) = first_difference(&value, &kept) {
        return Err(Error::Field(escaped(&path, MAX_SHOWN)));
    }
    match first_invalid_field(&value) {
        Some(path) => Err(Error::Value(escaped(&path, MAX_SHOWN))),
        None => Ok(()),
    }
}

/// Whether [`check`] finds nothing wrong.
pub(super) fn is_exactly<T: DeserializeOwned + Serialize>(value: &Value) -> bool {
    check::<T>(value).is_ok()
}

/// Checks size, depth, names, and texts. Stops at the first excess.
fn check_bounds(value: &Value) -> Result<(), Error> {
    let mut open = vec![(value, 0)];
    let mut seen = 0;
    while let Some((value, depth)) = open.pop() {
        seen += 1;
        match value {
            Value::String(text) if text.len() > MAX_TEXT || !is_plain(text) => {
                return Err(Error::Text(format!("\"{}\"", escaped(text, 40))));
            }
            Value::Array(items) => {
                open.extend(items.iter().take(MAX_PARTS + 1).map(|item| (item, depth + 1)));
            }
            Value::Object(fields) => {
                // Fields and labels alike. A directive such as `$patch` is neither.
                if let Some(name) = fields.keys().take(MAX_PARTS).find(|name| !is_label_key(name)) {
                    return Err(Error::Text(format!("the name \"{}\"", escaped(name, 40))));
                }
                open.extend(fields.values().take(MAX_PARTS + 1).map(|value| (value, depth + 1)));
            }
            _ => {}
        }
        if depth > MAX_DEPTH || seen + open.len() > MAX_PARTS {
            return Err(Error::TooLarge);
        }
    }
    Ok(())
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

/// Where two values differ first.
fn first_difference(one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => one
            .keys()
            .chain(other.keys())
            .find_map(|name| difference_below(name, one.get(name), other.get(name))),
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).enumerate().find_map(|(index, (one, other))| {
                difference_below(&format!("[{index}]"), Some(one), Some(other))
            })
        }
        _ => (one != other).then(String::new),
    }
}

fn difference_below(name: &str, one: Option<&Value>, other: Option<&Value>) -> Option<String> {
    let rest = match (one, other) {
        (Some(one), Some(other)) => first_difference(one, other)?,
        (None, None) => return None,
        _ => String::new(),
    };
    Some(join(name, &rest))
}

fn join(name: &str, rest: &str) -> String {
    let separator = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
    format!("{name}{separator}{rest}")
}

/// The first field with a value that the API server would refuse.
fn first_invalid_field(value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => {
            let has_invalid_operator = !is_operator_of_its_values(fields);
            let invalid = fields.iter().find_map(|(name, value)| {
                if !is_valid_field(name, value) {
                    return Some(name.clone());
                }
                // Labels are not fields.
                if name == "matchLabels" {
                    return None;
                }
                first_invalid_field(value).map(|rest| join(name, &rest))
            });
            invalid.or_else(|| has_invalid_operator.then(|| "operator".to_owned()))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| Some(join(&format!("[{index}]"), &first_invalid_field(item)?))),
        _ => None,
    }
}

/// Whether a field of a structure of Kubernetes has a value that the API server accepts, by the name of the field. The names
/// mean the same in all structures that authors may write.
fn is_valid_field(name: &str, value: &Value) -> bool {
    let is_one_of = |texts: &[&str]| value.as_str().is_some_and(|text| texts.contains(&text));
    let is_within = |least: i64, most: i64| value.as_i64().is_some_and(|n| (least..=most).contains(&n));
    let is_list_of = |is_item: fn(&str) -> bool| {
        value.as_array().is_some_and(|items| items.iter().all(|item| item.as_str().is_some_and(is_item)))
    };
    match name {
        "topologyKey" => value.as_str().is_some_and(is_label_key),
        "key" => value.as_str().is_some_and(|key| key.is_empty() || is_label_key(key)),
        "values" => is_list_of(is_label_value),
        "matchLabelKeys" | "mismatchLabelKeys" => is_list_of(is_label_key),
        "namespaces" => is_list_of(is_dns_label),
        "matchLabels" => value.as_object().is_some_and(|labels| {
            labels.iter().all(|(key, value)| is_label_key(key) && value.as_str().is_some_and(is_label_value))
        }),
        "operator" => is_one_of(&["", "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Equal"]),
        "effect" => is_one_of(&["", "NoSchedule", "PreferNoSchedule", "NoExecute"]),
        "whenUnsatisfiable" => is_one_of(&["DoNotSchedule", "ScheduleAnyway"]),
        "nodeAffinityPolicy" | "nodeTaintsPolicy" => is_one_of(&["Honor", "Ignore"]),
        "maxSkew" | "minDomains" | "averageUtilization" => is_within(1, i64::from(i32::MAX)),
        "weight" => is_within(1, 100),
        "stabilizationWindowSeconds" => is_within(0, 3600),
        "periodSeconds" => is_within(1, 1800),
        "selectPolicy" => is_one_of(&["Max", "Min", "Disabled"]),
        "type" => is_one_of(&[
            "Pods",
            "Percent",
            "RollingUpdate",
            "Recreate",
            "OnDelete",
            "Resource",
            "ContainerResource",
            "Utilization",
            "AverageValue",
            "Value",
        ]),
        "maxSurge" | "maxUnavailable" => is_number_or_percentage(value),
        "value" => is_within(1, i64::from(i32::MAX)) || value.as_str().is_some_and(is_label_value),
        "averageValue" => is_quantity(value),
        _ => true,
    }
}

/// Whether a requirement or toleration has as many values as its operator needs.
fn is_operator_of_its_values(fields: &Map<String, Value>) -> bool {
    let count = fields.get("values").and_then(Value::as_array).map_or(0, Vec::len);
    let has_value = fields.get("value").and_then(Value::as_str).is_some_and(|value| !value.is_empty());
    match fields.get("operator").and_then(Value::as_str) {
        Some("In" | "NotIn") => count > 0,
        Some("Gt" | "Lt") => count == 1,
        Some("Exists" | "DoesNotExist") => count == 0 && !has_value,
        _ => true,
    }
}

/// Whether `value` is a label selector.
pub(super) fn is_label_selector(value: &Value) -> bool {
    is_exactly::<LabelSelector>(value)
}

/// Checks that `value` has metrics that the cluster measures itself: others need an adapter and lead the autoscaler elsewhere.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check_pod_metrics(value: &Value) -> Result<(), Error> {
    check::<Vec<MetricSpec>>(value)?;
    let is_of_pods =
        |metric: &Value| matches!(metric["type"].as_str(), Some("Resource" | "ContainerResource"));
    let metrics = value.as_array().into_iter().flatten();
    match metrics.enumerate().find(|(_, metric)| !is_of_pods(metric)) {
        Some((index, _)) => Err(Error::Value(format!("[{index}].type"))),
        None => Ok(()),
    }
}

/// Whether `value` is the resources of a container. Null removes what the base configuration has.
pub(super) fn is_resources(value: &Value) -> bool {
    let is_amounts = |value: &Value| {
        value.is_null()
            || value.as_object().is_some_and(|amounts| {
                amounts.iter().all(|(name, amount)| {
                    RESOURCES.contains(&name.as_str()) && (amount.is_null() || is_quantity(amount))
                })
            })
    };
    value.as_object().is_some_and(|fields| {
        fields
            .iter()
            .all(|(name, value)| ["limits", "requests"].contains(&name.as_str()) && is_amounts(value))
    })
}

/// Whether a pod may have this label of nodes in its selector: Istio's images are for Linux.
pub(super) fn is_node_selector_entry(key: &str, value: &str) -> bool {
    is_label_key(key) && is_label_value(value) && (!is_system_label(key) || value == "linux")
}

/// Whether a label of nodes says which operating system they run.
pub(super) fn is_system_label(key: &str) -> bool {
    matches!(key, "kubernetes.io/os" | "beta.kubernetes.io/os")
}

/// Whether `value` is a quantity that is not negative.
pub(super) fn is_quantity(value: &Value) -> bool {
    const SUFFIXES: [&str; 16] =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
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

/// Whether `value` is a number of pods or a percentage of them.
pub(super) fn is_number_or_percentage(value: &Value) -> bool {
    let is_short_number =
        |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match value {
        Value::Number(number) => number.as_u64().is_some_and(|number| number <= 10_000),
        Value::String(text) => text.strip_suffix('%').is_some_and(is_short_number),
        _ => false,
    }
}

/// Whether `value` is a port.
pub(super) fn is_port(value: &Value) -> bool {
    let whole = value.as_u64().or_else(|| {
        // YAML reads `1e3` and `3.0` as floating point numbers; both are whole.
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    });
    whole.is_some_and(|port| (1..=65_535).contains(&port))
}

/// Whether `text` is a range of IP addresses.
pub(super) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    (1..=3).contains(&length.len())
        && length.bytes().all(|byte| byte.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= most)
}

/// Whether a log can be written there: the standard streams. Any other path is a file in the container of the proxy.
pub(super) fn is_log_file(text: &str) -> bool {
    matches!(text, "" | "/dev/stdout" | "/dev/stderr")
}

/// Whether proxies can be sent to this host: a DNS name or an address, but not one of the pod or the node itself, such as the
/// metadata service of a cloud provider.
pub(super) fn is_remote_host(host: &str) -> bool {
    let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = unbracketed.parse::<IpAddr>() {
        return is_remote_address(address.to_canonical());
    }
    // Resolvers read `127.1` and `2130706433` as addresses.
    let is_numeric =
        host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_local = host == "localhost" || host.ends_with(".localhost");
    is_dns_subdomain(host) && !is_numeric && !is_local
}

fn is_remote_address(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => (address.segments()[0] & 0xffc0) == 0xfe80,
    };
    !is_link_local && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

/// Whether `text` is a host with a port, such as `zipkin.example.com:9411` or `[fd00::1]:9411`.
pub(super) fn is_remote_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_v6 = host.contains(':');
        (!is_v6 || host.starts_with('[')) && is_remote_host(host) && is_port_text(port)
    })
}

/// Whether `text` is a port.
pub(super) fn is_port_text(text: &str) -> bool {
    text.len() <= 5
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DeploymentStrategy;
    use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
    use serde_json::json;

    use super::*;

    #[test]
    fn structures_are_checked_to_their_leaves_with_a_reason() {
        let affinity = |term: Value| json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let spread = |change: Value| {
            let mut spread =
                json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"});
            spread.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!([spread])
        };
        for (result, reason) in [
            (check::<Affinity>(&affinity(json!({"topologyKey": "topology.kubernetes.io/zone"}))), ""),
            (check::<Affinity>(&json!({"podAntiAffinity": null})), ""),
            (check::<Affinity>(&affinity(json!({"topologyKey": "a b"}))), "topologyKey"),
            (check::<Affinity>(&affinity(json!({"topologyKey": "a", "hostNetwork": true}))), "hostNetwork"),
            (check::<Affinity>(&affinity(json!({"topologyKey": "a", "$patch": "delete"}))), "$patch"),
            (check::<Vec<TopologySpreadConstraint>>(&spread(json!({}))), ""),
            (check::<Vec<TopologySpreadConstraint>>(&spread(json!({"maxSkew": -1}))), "[0].maxSkew"),
            (check::<Vec<TopologySpreadConstraint>>(&spread(json!({"topologyKey": "!!bad"}))), "topologyKey"),
            (
                check::<Vec<TopologySpreadConstraint>>(&spread(json!({"whenUnsatisfiable": "x"}))),
                "whenUnsatisfiable",
            ),
            (check::<Vec<Toleration>>(&json!([{"operator": "Exists", "tolerationSeconds": 300}])), ""),
            (
                check::<Vec<Toleration>>(&json!([{"operator": "Exists", "tolerationSeconds": "300"}])),
                "invalid type",
            ),
            (
                check::<Vec<Toleration>>(&json!([{"key": "a", "operator": "Exists", "value": "b"}])),
                "operator",
            ),
            (
                check::<LabelSelector>(&json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
                "operator",
            ),
            (check::<LabelSelector>(&json!({"matchLabels": {"a": "b c"}})), "matchLabels"),
            (check::<LabelSelector>(&json!({"matchLabels": {"type": "anything"}})), ""),
            (check::<DeploymentStrategy>(&json!({"rollingUpdate": {"maxSurge": "25%"}})), ""),
            (check::<DeploymentStrategy>(&json!({"rollingUpdate": {"maxSurge": "many"}})), "maxSurge"),
            (check_pod_metrics(&json!([{"type": "External"}])), "type"),
        ] {
            let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(result.is_ok() == reason.is_empty() && message.contains(reason), "{reason}: {message}");
        }
        assert_eq!(check::<Vec<Toleration>>(&json!(vec![json!({}); 2000])), Err(Error::TooLarge));
    }

    #[test]
    fn resources_are_those_that_every_node_has() {
        for (resources, is_accepted) in [
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": null}}), true),
            (json!({"limits": null}), true),
            (json!({"limits": {"devices.kubevirt.io/kvm": "1"}}), false),
            (json!({"limits": {"squat.ai/fuse": "1"}}), false),
            (json!({"claims": [{"name": "gpu"}]}), false),
            (json!({"limits": {"cpu": "1zz"}}), false),
            (json!({"limits": {"cpu": "-1"}}), false),
        ] {
            assert_eq!(is_resources(&resources), is_accepted, "{resources}");
        }
        assert!(is_node_selector_entry("kubernetes.io/os", "linux"));
        assert!(!is_node_selector_entry("kubernetes.io/os", "windows"));
    }

    #[test]
    fn endpoints_of_the_pod_and_the_node_are_refused() {
        for (endpoint, is_accepted) in [
            ("zipkin.example.com:9411", true),
            ("10.0.0.1:9411", true),
            ("[fd00::1]:9411", true),
            ("fd00::1:9411", false),
            ("169.254.169.254:80", false),
            ("127.0.0.1:15000", false),
            ("127.1:15000", false),
            ("2130706433:15000", false),
            ("localhost:15000", false),
            ("0.0.0.0:80", false),
            ("[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("[fe80::1]:80", false),
            ("$(HOST_IP):10250", false),
            ("zipkin.example.com", false),
            ("zipkin.example.com:0", false),
        ] {
            assert_eq!(is_remote_endpoint(endpoint), is_accepted, "{endpoint}");
        }
    }
}
