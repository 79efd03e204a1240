//! How much memory values need.

use std::rc::Rc;

use super::Value;

/// What an element of a list needs beside what it holds, and a key of a map.
const ELEMENT: usize = 32;
const KEY: usize = 64;

/// About what was made for a value: what somebody else holds as well was there before.
pub(crate) fn made(value: &Value) -> usize {
    match value {
        Value::String(text) if Rc::strong_count(text) == 1 => text.len(),
        Value::Binary(bytes) | Value::Bytes(bytes) if Rc::strong_count(bytes) == 1 => bytes.len(),
        Value::List(list) if !list.is_shared() => list
            .values()
            .iter()
            .map(|value| made(value).saturating_add(ELEMENT))
            .fold(0, usize::saturating_add),
        Value::Map(map) if !map.is_shared() => map.size(|value| made(value).saturating_add(KEY)),
        _ => 0,
    }
}

/// About what a value holds, whoever made it. The count ends beyond `most`, since a value may be cyclic, or hold another
/// one so often that it is endless for all practical purposes.
pub(crate) fn held(value: &Value, most: usize) -> usize {
    let mut bytes: usize = 0;
    let mut waiting = vec![value.clone()];
    while let Some(value) = waiting.pop() {
        let here = match &value {
            Value::String(text) => text.len(),
            Value::Binary(bytes) | Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => {
                waiting.extend(list.values().iter().cloned());
                list.len().saturating_mul(ELEMENT)
            }
            Value::Map(map) => {
                map.each(|value| waiting.push(value.clone()));
                map.len().saturating_mul(KEY)
            }
            _ => 0,
        };
        bytes = bytes.saturating_add(here);
        if bytes > most {
            break;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{held, made};
    use crate::value::{Map, Value};

    #[test]
    fn what_others_hold_was_not_made() {
        let text = Value::string("x".repeat(100));
        assert_eq!(made(&text), 100);
        let list = Value::list(vec![text.clone(), Value::string("y".repeat(10))]);
        assert_eq!(made(&text), 0);
        assert_eq!(made(&list), 2 * 32 + 10);
        let map = Map::new();
        map.insert("list", list);
        let map = Value::Map(map);
        assert_eq!(made(&map), 64 + 2 * 32 + 10);
        let held = map.clone();
        assert_eq!((made(&map), made(&held)), (0, 0));
    }

    #[test]
    fn what_a_value_holds_counts_for_whoever_reads_it() {
        let text = Value::string("x".repeat(100));
        let list = Value::list(vec![text.clone(), text.clone()]);
        assert_eq!(held(&list, usize::MAX), 2 * (32 + 100));
        let map = Map::new();
        map.insert("self", Value::Map(map.clone()));
        let endless = held(&Value::Map(map.clone()), 10_000);
        assert!((10_000..11_000).contains(&endless), "{endless}");
        map.remove("self");
    }
}
