//! Server-side apply on JSON: which fields a manager owns, and what an apply changes. Pure.
//!
//! A subset of structured-merge-diff. Without schemas, the lists that are merged by keys are known by the name of their
//! field; all other lists are atomic, as are selectors. Custom resources have atomic lists only.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// One owned leaf, as steps of `FieldsV1`.
pub(crate) type FieldPath = Vec<String>;
/// What one manager owns.
pub(crate) type FieldSet = BTreeSet<FieldPath>;

/// The element itself of a list that is merged by keys.
const SELF: &str = ".";
/// Metadata that nobody owns.
const UNOWNED_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// How a list is merged.
enum ListType {
    Atomic,
    Set,
    Map(Vec<&'static str>),
}

/// How objects of a kind are merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// Whether the kind is defined by a CustomResourceDefinition.
    pub(crate) custom: bool,
}

/// Selectors are replaced as a whole.
fn is_atomic_map(field: &str) -> bool {
    field == "selector" || field.ends_with("Selector")
}

impl Schema {
    fn list_type(self, depth: usize, field: &str, list: &[Value]) -> ListType {
        let keys: Vec<&'static str> = match field {
            "finalizers" if depth == 2 => return ListType::Set,
            "ownerReferences" if depth == 2 => vec!["uid"],
            _ if self.custom => return ListType::Atomic,
            "containers" | "initContainers" | "env" | "volumes" | "webhooks" | "imagePullSecrets"
            | "secrets" => {
                vec!["name"]
            }
            "volumeMounts" => vec!["mountPath"],
            "conditions" => vec!["type"],
            "topologySpreadConstraints" => vec!["topologyKey", "whenUnsatisfiable"],
            "ports" if depth == 2 => vec!["port", "protocol"],
            "ports" if depth > 2 => vec!["containerPort", "protocol"],
            _ => return ListType::Atomic,
        };
        let has_keys = |element: &Value| keys.iter().all(|key| key_of(element, key).is_some());
        if list.iter().all(has_keys) { ListType::Map(keys) } else { ListType::Atomic }
    }
}

/// A key of an element; a protocol that is left out is TCP.
fn key_of(element: &Value, key: &str) -> Option<Value> {
    let found = element.get(key).filter(|value| !value.is_null() && !value.is_object() && !value.is_array());
    found.cloned().or_else(|| (key == "protocol" && element.is_object()).then(|| json!("TCP")))
}

fn key_step(element: &Value, keys: &[&str]) -> String {
    let keys: BTreeMap<&str, Value> =
        keys.iter().map(|key| (*key, key_of(element, key).unwrap_or_default())).collect();
    format!("k:{}", json!(keys))
}

/// Every field that an object has and that can be owned.
pub(crate) fn all_fields(object: &Value, schema: Schema) -> FieldSet {
    let mut fields = FieldSet::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !UNOWNED_METADATA.contains(&name.as_str()) {
                        collect(value, name, &mut vec!["f:metadata".to_owned()], schema, &mut fields);
                    }
                }
            }
            _ => collect(value, name, &mut Vec::new(), schema, &mut fields),
        }
    }
    fields
}

fn collect(value: &Value, field: &str, path: &mut FieldPath, schema: Schema, fields: &mut FieldSet) {
    if value.is_null() {
        return;
    }
    path.push(format!("f:{field}"));
    collect_value(value, field, path, schema, fields);
    path.pop();
}

fn collect_value(value: &Value, field: &str, path: &mut FieldPath, schema: Schema, fields: &mut FieldSet) {
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic_map(field) => {
            for (name, value) in map {
                collect(value, name, path, schema, fields);
            }
        }
        Value::Array(list) if !list.is_empty() => match schema.list_type(path.len(), field, list) {
            ListType::Atomic => drop(fields.insert(path.clone())),
            ListType::Set => {
                fields.extend(list.iter().map(|element| [&path[..], &[format!("v:{element}")]].concat()));
            }
            ListType::Map(keys) => {
                for element in list {
                    path.push(key_step(element, &keys));
                    fields.insert([&path[..], &[SELF.to_owned()]].concat());
                    for (name, value) in element.as_object().into_iter().flatten() {
                        collect(value, name, path, schema, fields);
                    }
                    path.pop();
                }
            }
        },
        _ => drop(fields.insert(path.clone())),
    }
}

/// The value at a path.
pub(crate) fn resolve<'v>(object: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(object, |at, step| match step.split_once(':') {
        None => Some(at),
        Some(("f", name)) => at.get(name),
        Some((_, key)) => at.as_array()?.get(position(at, step, key)?),
    })
}

fn position(list: &Value, step: &str, key: &str) -> Option<usize> {
    let key: Value = serde_json::from_str(key).ok()?;
    list.as_array()?.iter().position(|element| match key.as_object() {
        Some(keys) if step.starts_with("k:") => {
            keys.iter().all(|(name, value)| key_of(element, name).as_ref() == Some(value))
        }
        _ => *element == key,
    })
}

/// Removes the value at a path, and the maps and lists that are empty without it.
pub(crate) fn remove(object: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    let Some((prefix, key)) = step.split_once(':') else { return };
    let is_last = rest.is_empty() || rest == [SELF];
    if prefix == "f" {
        let Some(map) = object.as_object_mut() else { return };
        let is_empty = match map.get_mut(key) {
            Some(inner) if !is_last => {
                remove(inner, rest);
                inner.as_object().is_some_and(Map::is_empty) || inner.as_array().is_some_and(Vec::is_empty)
            }
            Some(_) => true,
            None => false,
        };
        if is_empty && (is_last || key != "metadata") {
            map.shift_remove(key);
        }
        return;
    }
    let Some(index) = position(object, step, key) else { return };
    let Some(list) = object.as_array_mut() else { return };
    if is_last {
        list.remove(index);
    } else {
        remove(&mut list[index], rest);
    }
}

/// Writes what `wanted` has into `live`.
pub(crate) fn merge(live: &mut Value, wanted: &Value, schema: Schema) {
    merge_value(live, wanted, "", 0, schema);
}

fn merge_value(live: &mut Value, wanted: &Value, field: &str, depth: usize, schema: Schema) {
    match (&mut *live, wanted) {
        (Value::Object(live), Value::Object(wanted)) if depth == 0 || !is_atomic_map(field) => {
            for (name, value) in wanted.iter().filter(|(_, value)| !value.is_null()) {
                match live.get_mut(name) {
                    Some(inner) => merge_value(inner, value, name, depth + 1, schema),
                    None => drop(live.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(list), Value::Array(wanted)) => {
            let both = [&list[..], &wanted[..]].concat();
            match schema.list_type(depth, field, &both) {
                ListType::Atomic => list.clone_from(wanted),
                ListType::Set => {
                    let new: Vec<Value> =
                        wanted.iter().filter(|element| !list.contains(element)).cloned().collect();
                    list.extend(new);
                }
                ListType::Map(keys) => {
                    for element in wanted {
                        let step = key_step(element, &keys);
                        match list.iter_mut().find(|live| key_step(live, &keys) == step) {
                            Some(inner) => merge_value(inner, element, "", depth + 1, schema),
                            None => list.push(element.clone()),
                        }
                    }
                }
            }
        }
        _ => live.clone_from(wanted),
    }
}

/// The set as `fieldsV1`.
pub(crate) fn to_fields_v1(fields: &FieldSet) -> Value {
    let mut tree = json!({});
    for path in fields {
        let mut at = &mut tree;
        for step in path {
            let Some(map) = at.as_object_mut() else { break };
            at = map.entry(step.clone()).or_insert_with(|| json!({}));
        }
    }
    tree
}

/// The set that `fieldsV1` describes.
pub(crate) fn from_fields_v1(tree: &Value) -> FieldSet {
    fn collect(tree: &Value, path: &mut FieldPath, fields: &mut FieldSet) {
        let Some(map) = tree.as_object().filter(|map| !map.is_empty()) else {
            if !path.is_empty() {
                fields.insert(path.clone());
            }
            return;
        };
        for (step, inner) in map {
            path.push(step.clone());
            collect(inner, path, fields);
            path.pop();
        }
    }
    let mut fields = FieldSet::new();
    collect(tree, &mut Vec::new(), &mut fields);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: Schema = Schema { custom: false };

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"x/y": "z"}},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [
                {"name": "main", "image": "i", "args": ["a", "b"], "ports": [{"containerPort": 80}]}]}}}})
    }

    #[test]
    fn owned_fields_are_written_as_fields_v1_and_read_back() {
        let fields = all_fields(&deployment(), BUILT_IN);
        let tree = to_fields_v1(&fields);
        let container = &tree["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"];
        assert_eq!(container["f:args"], json!({}), "an atomic list is one leaf");
        assert_eq!(container["."], json!({}));
        assert!(
            container["f:ports"].get("k:{\"containerPort\":80,\"protocol\":\"TCP\"}").is_some(),
            "{container}"
        );
        assert_eq!(tree["f:spec"]["f:selector"], json!({}), "a selector is atomic");
        assert_eq!(tree["f:metadata"], json!({"f:labels": {"f:x/y": {}}}));
        assert_eq!(from_fields_v1(&tree), fields);
    }

    #[test]
    fn every_owned_field_is_found_and_can_be_removed() {
        let object = deployment();
        for path in all_fields(&object, BUILT_IN) {
            assert!(resolve(&object, &path).is_some(), "{path:?}");
            let mut without = object.clone();
            remove(&mut without, &path);
            assert!(resolve(&without, &path).is_none(), "{path:?} {without}");
        }
    }

    #[test]
    fn a_merge_keeps_elements_and_fields_of_others() {
        let mut live =
            json!({"spec": {"containers": [{"name": "a", "image": "1", "tty": true}, {"name": "b"}]}});
        merge(&mut live, &json!({"spec": {"containers": [{"name": "a", "image": "2"}]}}), BUILT_IN);
        assert_eq!(
            live,
            json!({"spec": {"containers": [{"name": "a", "image": "2", "tty": true}, {"name": "b"}]}})
        );
    }

    #[test]
    fn lists_of_custom_resources_are_atomic() {
        let mut live = json!({"spec": {"ports": [{"name": "a"}], "hosts": ["x"]}});
        let wanted = json!({"spec": {"ports": [{"name": "b"}]}});
        merge(&mut live, &wanted, Schema { custom: true });
        assert_eq!(live, json!({"spec": {"ports": [{"name": "b"}], "hosts": ["x"]}}));
    }
}
