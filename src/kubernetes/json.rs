//! Comparison of objects as JSON, and paths of fields as people write them.
//! Pure; it knows nothing of field managers: who owns a field is the business of `crate::ssa`.

use serde_json::{Map, Value};

use super::quantity::thousandths;

/// Appends a field to a path; one whose own name contains dots or slashes, such as a label, is put in brackets.
pub fn push_field(path: &mut String, name: &str) {
    if name.contains(['.', '/']) {
        path.push_str(&format!("[{name}]"));
    } else {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    }
}

/// The path of the field `name` of the object at `at`.
fn field_path(at: &str, name: &str) -> String {
    let mut path = at.to_owned();
    push_field(&mut path, name);
    path
}

/// The path of an element of the list at `at`: by its name if it has one, else by its index.
fn element_path(at: &str, element: &Value, index: usize) -> String {
    match element.get("name").and_then(Value::as_str) {
        Some(name) => format!("{at}[name={name}]"),
        None => format!("{at}[{index}]"),
    }
}

/// Whether the API server may leave a value out because it is the zero value of its type: `null`, `false`, 0, an empty text, and
/// lists and objects of nothing else.
#[must_use]
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_zero),
        Value::Object(fields) => fields.values().all(is_zero),
    }
}

/// Whether two values are equal, or quantities of the same amount: the API server writes `1000m` as `1`.
#[must_use]
pub fn is_equivalent(left: &Value, right: &Value) -> bool {
    let quantity = |value: &Value| match value {
        Value::String(text) => thousandths(text),
        Value::Number(number) => thousandths(&number.to_string()),
        _ => None,
    };
    left == right || quantity(left).is_some_and(|left| quantity(right) == Some(left))
}

/// Whether `live` has every field of `wanted` with the same value.
///
/// Lists must be equal in length; their elements may have further fields, such as those that the API server defaults.
#[must_use]
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| live.get(key).is_some_and(|live| contains(live, value)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        _ => live == wanted,
    }
}

/// The path of the first field in which two values differ, below `at`.
#[must_use]
pub fn first_difference(before: &Value, after: &Value, at: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let side = |map: &Map<String, Value>, name: &str| map.get(name).cloned().unwrap_or_default();
            let mut names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            names.find_map(|name| {
                first_difference(&side(before, name), &side(after, name), &field_path(at, name))
            })
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.find_map(|(index, (before, after))| {
                first_difference(before, after, &element_path(at, before, index))
            })
        }
        _ => (before != after).then(|| at.to_owned()),
    }
}

/// The paths of fields of `wanted` that `live` does not have at all.
///
/// Elements of lists are not compared: which belong together is not known here.
#[must_use]
pub fn missing_fields(live: &Value, wanted: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    collect_missing(live, wanted, "", &mut missing);
    missing
}

fn collect_missing(live: &Value, wanted: &Value, at: &str, missing: &mut Vec<String>) {
    for (name, wanted) in wanted.as_object().into_iter().flatten() {
        let path = field_path(at, name);
        match live.get(name) {
            Some(live) => collect_missing(live, wanted, &path, missing),
            None if wanted.is_null() => {}
            None => missing.push(path),
        }
    }
}

/// The paths of fields of `wanted`, below `at`, that have another value in `live`, the API server's response to `wanted`.
///
/// Different notations of the same quantity are not a difference, nor is a zero value that the API server leaves out. Elements
/// of lists are paired by name, since admission may add some; else by value, else by index.
#[must_use]
pub fn altered_fields(live: &Value, wanted: &Value, at: &str) -> Vec<String> {
    let mut altered = Vec::new();
    collect_altered(live, wanted, at, &mut altered);
    altered
}

fn collect_altered(live: &Value, wanted: &Value, at: &str, altered: &mut Vec<String>) {
    match (live, wanted) {
        (_, Value::Null) => {}
        (Value::Object(live), Value::Object(wanted)) => {
            for (name, wanted) in wanted {
                let live = live.get(name).unwrap_or(&Value::Null);
                collect_altered(live, wanted, &field_path(at, name), altered);
            }
        }
        (Value::Array(live), Value::Array(wanted)) => {
            for (index, wanted) in wanted.iter().enumerate() {
                let live = paired_element(live, wanted, index).unwrap_or(&Value::Null);
                collect_altered(live, wanted, &element_path(at, wanted, index), altered);
            }
        }
        _ if is_zero(live) && is_zero(wanted) || is_equivalent(live, wanted) => {}
        _ => altered.push(at.to_owned()),
    }
}

/// The element of `live` that corresponds to `wanted`, which is at `index` of its own list.
fn paired_element<'l>(live: &'l [Value], wanted: &Value, index: usize) -> Option<&'l Value> {
    match wanted.get("name") {
        Some(name) => live.iter().find(|element| element.get("name") == Some(name)),
        None => live.iter().find(|element| *element == wanted).or_else(|| live.get(index)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_label_is_put_in_brackets() {
        assert_eq!(field_path("metadata.labels", "istio.io/rev"), "metadata.labels[istio.io/rev]");
        assert_eq!(field_path("", "spec"), "spec");
    }

    #[test]
    fn defaulted_fields_do_not_count_as_a_difference() {
        assert!(contains(&json!({"a": [{"b": 1, "defaulted": true}]}), &json!({"a": [{"b": 1}]})));
        assert!(!contains(&json!({"a": [{"b": 1}, {"b": 2}]}), &json!({"a": [{"b": 1}]})));
        assert!(!contains(&json!({"a": 1}), &json!({"a": "1"})));
    }

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let template =
            |image: &str| json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "image": image}]}});
        assert_eq!(
            first_difference(&template("1"), &template("2"), "spec.template").as_deref(),
            Some("spec.template.spec.containers[name=b].image")
        );
        assert_eq!(first_difference(&template("1"), &template("1"), "spec.template"), None);
        let labels = |labels: Value| json!({"labels": labels});
        assert_eq!(
            first_difference(&labels(json!({"a/b": "1"})), &labels(json!({})), "metadata").as_deref(),
            Some("metadata.labels[a/b]")
        );
    }

    #[test]
    fn only_fields_outside_of_lists_are_missing() {
        let wanted = json!({"a": 1, "b": {"c": 1}, "nothing": null, "list": [{"d": 1}]});
        assert_eq!(missing_fields(&json!({"a": 2, "b": {}, "list": [{}]}), &wanted), ["b.c"]);
    }

    #[test]
    fn quantities_are_equivalent_by_amount() {
        for (left, right, expected) in [
            (json!("1"), json!("1000m"), true),
            (json!("2"), json!(2), true),
            (json!("1Gi"), json!("1024Mi"), true),
            (json!("1"), json!("2"), false),
            (json!("a"), json!("b"), false),
            (json!(true), json!("true"), false),
        ] {
            assert_eq!(is_equivalent(&left, &right), expected, "{left} {right}");
        }
    }
}
