//! Field paths in `managedFields`: which part of an object an entry refers to.
//!
//! Pure. The format (`FieldsV1`) is that of structured-merge-diff: `f:` names a field, `k:` an element of a list by its keys,
//! `v:` an element of a set by its value, `i:` an element by its index, and `.` the field itself.

use serde_json::Value;

use crate::kubernetes::json::push_field;

/// The steps to one owned leaf.
pub type FieldPath<'a> = Vec<&'a str>;

/// Every leaf of an entry's `fieldsV1`.
#[must_use]
pub fn leaves(fields: &Value) -> Vec<FieldPath<'_>> {
    let mut found = Vec::new();
    collect(fields, &mut Vec::new(), &mut found);
    found
}

fn collect<'a>(fields: &'a Value, path: &mut FieldPath<'a>, found: &mut Vec<FieldPath<'a>>) {
    let inner = fields.as_object().into_iter().flatten().filter(|(step, _)| *step != ".");
    let mut is_leaf = true;
    for (step, rest) in inner {
        is_leaf = false;
        path.push(step);
        collect(rest, path, found);
        path.pop();
    }
    if is_leaf && !path.is_empty() {
        found.push(path.clone());
    }
}

/// The part of `object` at a path.
#[must_use]
pub fn resolve<'v>(object: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(object, |at, step| resolve_step(at, step))
}

fn resolve_step<'v>(at: &'v Value, step: &str) -> Option<&'v Value> {
    match step.split_once(':')? {
        ("f", name) => at.get(name),
        ("k", keys) => {
            let keys: Value = serde_json::from_str(keys).ok()?;
            let keys = keys.as_object()?;
            at.as_array()?.iter().find(|element| has_keys(element, keys))
        }
        ("v", value) => {
            let value: Value = serde_json::from_str(value).ok()?;
            at.as_array()?.iter().find(|element| **element == value)
        }
        ("i", index) => at.get(index.parse::<usize>().ok()?),
        _ => None,
    }
}

/// A key that the element leaves out has its default; among the kinds of Istio that is only `TCP` for a protocol.
fn has_keys(element: &Value, keys: &serde_json::Map<String, Value>) -> bool {
    keys.iter().all(|(key, value)| match element.get(key) {
        Some(own) => own == value,
        None => key == "protocol" && value == "TCP",
    })
}

/// A path as people write it, such as `spec.template.spec.containers[name=discovery].image`.
#[must_use]
pub fn describe(path: &[&str]) -> String {
    let mut text = String::new();
    for step in path {
        match step.split_once(':') {
            Some(("f", name)) => push_field(&mut text, name),
            Some(("k", keys)) => text.push_str(&format!("[{}]", describe_keys(keys))),
            Some((_, value)) => text.push_str(&format!("[{value}]")),
            None => {}
        }
    }
    text
}

fn describe_keys(keys: &str) -> String {
    let parsed: Value = serde_json::from_str(keys).unwrap_or_default();
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let parts =
        parsed.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", plain(value)));
    parts.collect::<Vec<_>>().join(",")
}

/// Adds the leaves of `fields` to `into`.
pub fn union(into: &mut Value, fields: &Value) {
    let Some(fields) = fields.as_object() else { return };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Some(into) = into.as_object_mut() else { return };
    for (step, rest) in fields {
        union(into.entry(step.clone()).or_insert_with(|| Value::Object(serde_json::Map::new())), rest);
    }
}

/// Removes one leaf from `fields`, and the parents that become empty; returns whether it existed.
///
/// The remaining fields keep their order, on which digests depend.
pub fn remove(fields: &mut Value, path: &[&str]) -> bool {
    let Some(((step, rest), map)) = path.split_first().zip(fields.as_object_mut()) else { return false };
    if rest.is_empty() {
        return map.shift_remove(*step).is_some();
    }
    let Some(inner) = map.get_mut(*step) else { return false };
    let removed = remove(inner, rest);
    if removed && inner.as_object().is_some_and(serde_json::Map::is_empty) {
        map.shift_remove(*step);
    }
    removed
}

/// Adds one leaf to `fields`.
pub fn insert(fields: &mut Value, path: &[&str]) {
    let leaf = path.iter().rev().fold(serde_json::json!({}), |inner, step| serde_json::json!({*step: inner}));
    union(fields, &leaf);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const IMAGE: [&str; 6] =
        ["f:spec", "f:template", "f:spec", "f:containers", "k:{\"name\":\"discovery\"}", "f:image"];

    #[test]
    fn a_path_leads_through_lists_by_their_keys() {
        let object = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "other", "image": "a"}, {"name": "discovery", "image": "b"}]}}}});
        assert_eq!(resolve(&object, &IMAGE), Some(&json!("b")));
        assert_eq!(describe(&IMAGE), "spec.template.spec.containers[name=discovery].image");
    }

    #[test]
    fn a_service_port_without_a_protocol_is_a_tcp_port() {
        let object = json!({"ports": [{"port": 80, "name": "http"}]});
        let path = ["f:ports", "k:{\"port\":80,\"protocol\":\"TCP\"}", "f:name"];
        assert_eq!(resolve(&object, &path), Some(&json!("http")));
        assert_eq!(resolve(&object, &["f:ports", "k:{\"port\":80,\"protocol\":\"UDP\"}"]), None);
    }

    #[test]
    fn a_label_is_described_in_brackets() {
        let path = ["f:metadata", "f:labels", "f:istio.io/rev"];
        assert_eq!(describe(&path), "metadata.labels[istio.io/rev]");
    }

    #[test]
    fn only_leaves_are_listed() {
        let fields = json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"v:\"x\"": {}}});
        assert_eq!(leaves(&fields), [vec!["f:a", "f:b"], vec!["f:c", "v:\"x\""]]);
    }

    #[test]
    fn remaining_fields_keep_their_order() {
        let mut fields = json!({"f:a": {}, "f:b": {}, "f:c": {}});
        assert!(remove(&mut fields, &["f:a"]));
        assert_eq!(fields.to_string(), json!({"f:b": {}, "f:c": {}}).to_string());
    }

    fn any_path() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("f:[a-c]", 1..4)
    }

    proptest! {
        #[test]
        fn removing_an_inserted_field_restores_the_previous_fields(
            paths in proptest::collection::vec(any_path(), 1..6), new in "f:[x-z]",
        ) {
            let mut fields = json!({});
            for path in &paths {
                insert(&mut fields, &path.iter().map(String::as_str).collect::<Vec<_>>());
            }
            // Nothing can be added below a field that is owned as a whole.
            prop_assume!(fields[&paths[0][0]] != json!({}));
            let before = fields.clone();
            let path = [paths[0][0].as_str(), new.as_str()];
            insert(&mut fields, &path);
            prop_assert!(remove(&mut fields, &path));
            prop_assert!(!remove(&mut fields, &path));
            prop_assert_eq!(fields, before);
        }

        #[test]
        fn a_union_owns_the_leaves_of_both_unless_one_contains_the_other(
            left in any_path(), right in any_path(),
        ) {
            let (left, right): (Vec<&str>, Vec<&str>) =
                (left.iter().map(String::as_str).collect(), right.iter().map(String::as_str).collect());
            let (mut fields, mut other) = (json!({}), json!({}));
            insert(&mut fields, &left);
            insert(&mut other, &right);
            union(&mut fields, &other);
            for path in [&left, &right] {
                prop_assert!(leaves(&fields).iter().any(|leaf| leaf.starts_with(path)));
            }
        }
    }
}
