//! Merging of configuration documents.
//! One rule for all layers: maps are merged, lists of things with a name name by name, everything else replaces. What
//! null does depends on the layer: it removes a setting of the operator, or also the default of the chart behind it.

use serde_json::{Map, Value};

/// What a null in a layer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nulls {
    /// It removes the setting below, so that the chart's default applies.
    Remove,
    /// It stays in the document: the renderer then removes the chart's default, too.
    Keep,
}

/// Merges `layer` over `base`. A null removes the setting below; the chart's default applies again.
pub(super) fn merge(base: &mut Value, layer: &Value) {
    merge_with(base, layer, Nulls::Remove);
}

/// Merges what a user sets over `base`. A null stays: the user wants the setting to be absent from the rendered object,
/// whoever has a default for it.
pub(super) fn merge_user_values(base: &mut Value, layer: &Value) {
    merge_with(base, layer, Nulls::Keep);
}

fn merge_with(base: &mut Value, layer: &Value, nulls: Nulls) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => merge_maps(base, layer, nulls),
        (Value::Array(base), Value::Array(layer)) if is_named(layer) => merge_named(base, layer),
        (base, layer) => *base = layer.clone(),
    }
}

fn merge_maps(base: &mut Map<String, Value>, layer: &Map<String, Value>, nulls: Nulls) {
    for (key, value) in layer {
        match base.get_mut(key) {
            _ if value.is_null() && nulls == Nulls::Remove => {
                base.shift_remove(key);
            }
            // An empty map sets nothing.
            Some(Value::Null) if value.as_object().is_some_and(Map::is_empty) => {}
            Some(existing) if !existing.is_null() => merge_with(existing, value, nulls),
            _ => {
                // Merged, not copied: what an internal layer removes must not arrive as null.
                let mut fresh = if value.is_object() { Value::Object(Map::new()) } else { Value::Null };
                merge_with(&mut fresh, value, nulls);
                base.insert(key.clone(), fresh);
            }
        }
    }
}

/// Items of lists have no defaults in the charts: there, null has nothing more to remove than the item's own setting.
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

/// What a list item is identified by.
pub(super) fn name(item: &Value) -> Option<&str> {
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
            (json!({"a": null}), json!({"a": {"b": null, "c": 1}}), json!({"a": {"c": 1}})),
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

    #[test]
    fn a_null_of_a_user_stays_and_later_layers_win_over_it() {
        for (base, layer, expected) in [
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}}), json!({"a": {"b": null, "c": 2}})),
            (json!({}), json!({"a": {"b": null}}), json!({"a": {"b": null}})),
            (json!({"a": null}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
            (json!({"a": {"b": null}}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
            (
                json!({"a": [{"name": "x", "b": 1, "c": 2}]}),
                json!({"a": [{"name": "x", "b": null}]}),
                json!({"a": [{"name": "x", "c": 2}]}),
            ),
        ] {
            let mut merged = base;
            merge_user_values(&mut merged, &layer);
            assert_eq!(merged, expected);
        }
    }
}
