//! Sprig's merges, which are those of the Go library mergo, quirks and all.

use crate::value::{ConversionError, Map, Value, Walk};

/// Merges `source` into `target`, which keeps what is not empty.
pub(crate) fn merge(target: &Map, source: &Map) -> Result<(), ConversionError> {
    merge_at(target, source, false, &mut Walk::new())
}

/// Merges `source` into `target`; every value of the source wins, empty ones and nil too, but maps are merged.
///
/// Values are taken over as handles: what the source holds is then shared by both, as in Go.
pub(crate) fn merge_overwrite(target: &Map, source: &Map) -> Result<(), ConversionError> {
    merge_at(target, source, true, &mut Walk::new())
}

fn merge_at(target: &Map, source: &Map, overwrite: bool, walk: &mut Walk) -> Result<(), ConversionError> {
    if target.is_same(source) {
        return Ok(());
    }
    walk.below(|walk| {
        for (key, value) in source.entries() {
            let known = target.get(&key);
            match (&known, &value) {
                // A nil overwrites, but fills no gap.
                (_, Value::Nil | Value::NilElement) if !overwrite => {}
                (Some(Value::Map(into)), Value::Map(from)) if !into.is_empty() || !from.is_empty() => {
                    merge_at(into, from, overwrite, walk)?;
                }
                (Some(known), _) if !overwrite && known.is_true() => {}
                _ => target.insert(key, value),
            }
        }
        Ok(())
    })
}
