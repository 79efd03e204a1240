//! Requests and limits of a proxy, compared and described. Pure.

use serde_json::Value;

use crate::plan::configuration::thousandths;

/// A missing amount is an amount of zero, as for the scheduler.
#[must_use]
pub fn same_quantity(left: Option<&Value>, right: Option<&Value>) -> bool {
    let amount = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => thousandths(text),
        Some(number) => thousandths(&number.to_string()),
    };
    match (amount(left), amount(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// `cpu 10m-1, memory 192Mi-1Gi`: request and limit.
#[must_use]
pub fn describe_resources(resources: &Value) -> String {
    let amount = |kind: &str, name: &str| {
        let value = resources.get(kind).and_then(|amounts| amounts.get(name));
        value.map_or_else(
            || "none".to_owned(),
            |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    let both = |name| format!("{name} {}-{}", amount("requests", name), amount("limits", name));
    format!("{}, {}", both("cpu"), both("memory"))
}
