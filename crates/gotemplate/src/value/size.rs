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

#[cfg(test)]
mod tests {
    use super::made;
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
}
