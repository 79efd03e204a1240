//! Merging of configuration documents.
//!
//! Pure. One rule for all layers: maps are merged, lists of things with a name by name, everything else replaces, null removes.

use serde_json::{Map, Value};

/// Merges `layer` over `base`.
pub(super) fn merge(base: &mut Value, layer: &Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => merge_maps(base, layer),
        (Value::Array(base), Value::Array(layer)) if is_named(layer) => {
            merge_named(base, layer);
        }
        (base, layer) => *base = layer.clone(),
    }
}

fn merge_maps(base: &mut Map<String, Value>, layer: &Map<String, Value>) {
    for (key, value) in layer {
        match base.get_mut(key) {
            _ if value.is_null() => {
                base.shift_remove(key);
            }
            Some(existing) => merge(existing, value),
            None => {
                // Merged, not copied: what a layer removes must not arrive as null.
                let mut fresh = if value.is_object() { Value::Object(Map::new()) } else { Value::Null };
                merge(&mut fresh, value);
                base.insert(key.clone(), fresh);
            }
        }
    }
}

fn merge_named(base: &mut Vec<Value>, layer: &[Value]) {
    for item in layer {
        match base.iter_mut().find(|existing| name(existing) == name(item)) {
            Some(existing) => merge(existing, item),
            None => base.push(item.clone()),
        }
    }
}

fn is_named(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| name(item).is_some())
}

fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn layers_merge_by_key_and_by_name() {
        for (base, layer, expected) in [
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 3}}), json!({"a": {"b": 3, "c": 2}})),
            (json!({"a": 1, "b": 2}), json!({"a": null, "c": null}), json!({"b": 2})),
            (json!({}), json!({"a": {"b": null, "c": 1}}), json!({"a": {"c": 1}})),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (json!({"a": [{"name": "b"}]}), json!({"a": []}), json!({"a": []})),
            (
                json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
                json!({"env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}),
                json!({"env": [
                    {"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"},
                ]}),
            ),
        ] {
            let mut merged = base;
            merge(&mut merged, &layer);
            assert_eq!(merged, expected);
        }
    }
}
