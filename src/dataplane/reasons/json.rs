//! Comparisons of JSON in which defaults and order make no difference. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::dataplane::model::RawJson;

/// The keys whose values differ.
pub fn differing_keys(left: &Map<String, Value>, right: &Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    keys.into_iter().filter(|key| !is_equivalent(left.get(*key), right.get(*key))).cloned().collect()
}

/// Equality in which the order of lists, and absent against empty, make no difference.
pub fn is_equivalent(left: Option<&Value>, right: Option<&Value>) -> bool {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut sorted_map = Map::new();
                let keys: BTreeSet<&String> = map.keys().collect();
                for key in keys {
                    sorted_map.insert(key.clone(), sorted(&map[key.as_str()]));
                }
                Value::Object(sorted_map)
            }
            Value::Array(items) => {
                let mut items: Vec<Value> = items.iter().map(sorted).collect();
                items.sort_by_key(Value::to_string);
                Value::Array(items)
            }
            other => other.clone(),
        }
    }
    let plain = |value: Option<&Value>| match value {
        None | Some(Value::Null) => None,
        Some(Value::Object(map)) if map.is_empty() => None,
        Some(Value::Array(items)) if items.is_empty() => None,
        Some(value) => Some(sorted(value)),
    };
    plain(left) == plain(right)
}

/// Whether everything that `wanted` sets is set in `live`.
pub fn contains_part(live: Option<&RawJson>, wanted: Option<&RawJson>) -> bool {
    match (live, wanted) {
        (None, None) => true,
        (Some(part), None) | (None, Some(part)) => is_empty(&part.value()),
        (Some(live), Some(wanted)) => live == wanted || contains(&live.value(), &wanted.value()),
    }
}

fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).map_or_else(|| is_empty(value), |live| contains(live, value))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        _ => live == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}
