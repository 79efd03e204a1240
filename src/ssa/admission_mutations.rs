//! Whether the API server kept what was applied.
//!
//! Pure. A webhook or policy of admission can change an object on its way in. That leaves no trace in `managedFields`: the
//! field counts as ours, with a value that is not. Without a look at the values nobody would ever notice.

use serde_json::Value;

use super::managed_fields::push_field;
use crate::kubernetes::quantity::thousandths;

/// The fields of `manifest` that have another value in `live`, the answer to its apply.
///
/// Other spellings of the same value are no difference: the API server writes `1000m` as `1`, and leaves out what is empty.
#[must_use]
pub fn find_altered_fields(live: &Value, manifest: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, wanted) in manifest.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                for part in ["labels", "annotations"] {
                    compare(&live[name][part], &wanted[part], &format!("metadata.{part}"), &mut found);
                }
            }
            _ => compare(&live[name], wanted, name, &mut found),
        }
    }
    found
}

fn compare(live: &Value, wanted: &Value, at: &str, found: &mut Vec<String>) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (name, wanted) in wanted {
                let mut path = at.to_owned();
                push_field(&mut path, name);
                compare(live.get(name).unwrap_or(&Value::Null), wanted, &path, found);
            }
        }
        (Value::Array(live), Value::Array(wanted)) => {
            for (index, wanted) in wanted.iter().enumerate() {
                let (path, live) = element(live, wanted, index, at);
                compare(live.unwrap_or(&Value::Null), wanted, &path, found);
            }
        }
        _ if is_empty(wanted) || is_same(live, wanted) => {}
        _ => found.push(at.to_owned()),
    }
}

/// The element that `wanted` became: by its name, since others may have added more; else by its value or its place.
fn element<'l>(live: &'l [Value], wanted: &Value, index: usize, at: &str) -> (String, Option<&'l Value>) {
    if let Some(name) = wanted.get("name").and_then(Value::as_str) {
        let named = live.iter().find(|element| element.get("name") == wanted.get("name"));
        return (format!("{at}[name={name}]"), named);
    }
    let same = live.iter().find(|element| *element == wanted);
    (format!("{at}[{index}]"), same.or_else(|| live.get(index)))
}

/// Left out by the API server where it means the default.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

fn is_same(live: &Value, wanted: &Value) -> bool {
    let quantity = |value: &Value| match value {
        Value::String(text) => thousandths(text),
        Value::Number(number) => thousandths(&number.to_string()),
        _ => None,
    };
    live == wanted || quantity(live).is_some_and(|live| quantity(wanted) == Some(live))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_value_is_named_by_its_path() {
        let manifest = json!({"metadata": {"labels": {"app": "istiod"}}, "spec": {"replicas": 2, "containers": [
            {"name": "discovery", "image": "istio/pilot:1"}]}});
        let live = json!({"metadata": {"labels": {"app": "mine"}}, "spec": {"replicas": 2, "containers": [
            {"name": "added"}, {"name": "discovery", "image": "mirror/pilot:1"}]}});
        assert_eq!(
            find_altered_fields(&live, &manifest),
            ["metadata.labels.app".to_owned(), "spec.containers[name=discovery].image".to_owned()]
        );
    }

    #[test]
    fn a_field_that_was_removed_is_named() {
        assert_eq!(
            find_altered_fields(&json!({"spec": {}}), &json!({"spec": {"type": "LoadBalancer"}})),
            ["spec.type"]
        );
    }

    #[test]
    fn other_spellings_defaults_and_additions_are_no_difference() {
        for (live, manifest) in [
            (json!({"cpu": "1"}), json!({"cpu": "1000m"})),
            (json!({"cpu": "2"}), json!({"cpu": 2})),
            (json!({}), json!({"paused": false, "labels": {}, "text": "", "list": [{}], "nothing": null})),
            (json!({"a": 1, "defaulted": true}), json!({"a": 1})),
            (json!({"list": ["b", "a"]}), json!({"list": ["a", "b"]})),
        ] {
            assert_eq!(
                find_altered_fields(&json!({"spec": live}), &json!({"spec": manifest})),
                Vec::<String>::new()
            );
        }
    }
}
