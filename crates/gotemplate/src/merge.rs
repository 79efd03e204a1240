//! Sprig's merges, which are those of the Go library mergo.

use crate::value::{Map, Value};

/// Deepest nesting that is merged; cyclic maps end there.
const DEPTH_LIMIT: usize = 200;

/// Merges `source` into `target`, which keeps what is not empty.
pub fn merge(target: &Map, source: &Map) {
    merge_at(target, source, false, 0);
}

/// Merges `source` into `target`; every value of the source wins, empty ones and nil too, but maps are merged.
///
/// Values are taken over as handles: what the source holds is then shared by both, as in Go.
pub fn merge_overwrite(target: &Map, source: &Map) {
    merge_at(target, source, true, 0);
}

fn merge_at(target: &Map, source: &Map, overwrite: bool, depth: usize) {
    if depth > DEPTH_LIMIT || target.is_same(source) {
        return;
    }
    for (key, value) in source.entries() {
        match (target.get(&key), &value) {
            (Some(Value::Map(into)), Value::Map(from)) => merge_at(&into, from, overwrite, depth + 1),
            (Some(known), _) if !overwrite && known.is_true() => {}
            _ => target.insert(key, value),
        }
    }
}
