//! How much memory values need.

use std::rc::Rc;

use super::Value;

/// Bytes for an element of a list besides its contents, and for a key of a map.
const ELEMENT: usize = 32;
const KEY: usize = 64;

/// About the bytes that were made for a value: parts that others hold as well existed before.
pub(crate) fn owned_size(value: &Value) -> usize {
    match value {
        Value::String(text) if Rc::strong_count(text) == 1 => text.len(),
        Value::Binary(bytes) | Value::Bytes(bytes) if Rc::strong_count(bytes) == 1 => bytes.len(),
        Value::List(list) if !list.is_shared() => list
            .values()
            .iter()
            .map(|value| owned_size(value).saturating_add(ELEMENT))
            .fold(0, usize::saturating_add),
        Value::Map(map) if !map.is_shared() => map.size(|value| owned_size(value).saturating_add(KEY)),
        _ => 0,
    }
}

/// About what a value holds, whoever made it. The count ends beyond `most`, since a value may be cyclic, or hold another
/// one so often that it is endless for all practical purposes.
pub(crate) fn total_size(value: &Value, most: usize) -> usize {
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
    use super::{owned_size, total_size};
    use crate::value::{Map, Value};

    #[test]
    fn shared_values_do_not_count_as_owned() {
        let text = Value::string("x".repeat(100));
        assert_eq!(owned_size(&text), 100);
        let list = Value::list(vec![text.clone(), Value::string("y".repeat(10))]);
        assert_eq!(owned_size(&text), 0);
        assert_eq!(owned_size(&list), 2 * 32 + 10);
        let map = Map::new();
        map.insert("list", list);
        let map = Value::Map(map);
        assert_eq!(owned_size(&map), 64 + 2 * 32 + 10);
        let shared = map.clone();
        assert_eq!((owned_size(&map), owned_size(&shared)), (0, 0));
    }

    #[test]
    fn the_total_size_counts_shared_and_cyclic_values() {
        let text = Value::string("x".repeat(100));
        let list = Value::list(vec![text.clone(), text.clone()]);
        assert_eq!(total_size(&list, usize::MAX), 2 * (32 + 100));
        let map = Map::new();
        map.insert("self", Value::Map(map.clone()));
        let endless = total_size(&Value::Map(map.clone()), 10_000);
        assert!((10_000..11_000).contains(&endless), "{endless}");
        map.remove("self");
    }
}
