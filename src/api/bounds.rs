//! Maximum sizes of the fields of `spec`, checked on their JSON text before they are decoded: a value takes fifty times the
//! memory of its text, and recursive functions must not get a deeply nested one.
//!
//! Pure and iterative: no text, however nested, takes more than a few bytes of stack.

use std::fmt;

/// Maximum size of one field of `spec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Nesting depth of maps and lists.
    pub depth: usize,
    /// Number of maps, lists and their items.
    pub entries: usize,
    /// Bytes of JSON text.
    pub bytes: usize,
}

/// Bounds of `spec.values` and `spec.patches`, whose content has no schema. Istio's charts have about 300 values, at
/// most 8 levels deep.
pub const FREE_FORM_BOUNDS: Bounds = Bounds { depth: 64, entries: 5_000, bytes: 256 << 10 };

/// Bounds of every other field. A copy of them is kept in an annotation, and the API server accepts 256 KiB of
/// annotations.
pub const TYPED_BOUNDS: Bounds = Bounds { depth: 64, entries: 20_000, bytes: 192 << 10 };

/// The fields without a schema.
const FREE_FORM_FIELDS: [&str; 2] = ["values", "patches"];

/// A field of `spec` that exceeds a bound. It was left out of the spec, which must be rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Name of the field below `spec`.
    pub field: String,
    /// The bound that it exceeds.
    pub bound: Bound,
}

/// The bound that is exceeded, with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nesting depth of maps and lists.
    Depth(usize),
    /// Number of maps, lists and their items.
    Entries(usize),
    /// Bytes of JSON text.
    Bytes(usize),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth(levels) => write!(f, "more than {levels} levels of maps and lists"),
            Self::Entries(count) => write!(f, "more than {count} entries"),
            Self::Bytes(bytes) => write!(f, "more than {} KiB", bytes >> 10),
        }
    }
}

/// The bounds of a field of `spec`.
pub(super) fn bounds_of(field: &str) -> Bounds {
    if FREE_FORM_FIELDS.contains(&field) { FREE_FORM_BOUNDS } else { TYPED_BOUNDS }
}

impl Bounds {
    /// The first bound that a valid JSON text exceeds.
    pub(super) fn exceeded_by(&self, json: &str) -> Option<Bound> {
        if json.len() > self.bytes {
            return Some(Bound::Bytes(self.bytes));
        }
        let (mut depth, mut entries) = (0, 0);
        let mut bytes = json.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => skip_string(&mut bytes),
                b'{' | b'[' => {
                    depth += 1;
                    entries += 1;
                }
                b'}' | b']' => depth -= 1,
                b',' => entries += 1,
                _ => {}
            }
            if depth > self.depth {
                return Some(Bound::Depth(self.depth));
            }
            if entries > self.entries {
                return Some(Bound::Entries(self.entries));
            }
        }
        None
    }
}

/// Skips to the end of a string whose opening quote was read.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { depth: 3, entries: 6, bytes: 60 };

    #[test]
    fn a_text_is_judged_by_depth_entries_and_bytes() {
        for (json, exceeded) in [
            ("null", None),
            ("[[[]]]", None),
            ("[[[[]]]]", Some(Bound::Depth(3))),
            (r#"{"a":[{"b":{}}]}"#, Some(Bound::Depth(3))),
            ("[1,2,3,4,5,6]", None),
            ("[1,2,3,4,5,6,7]", Some(Bound::Entries(6))),
            (r#"{"a":1,"b":[1,2],"c":3,"d":4,"e":5}"#, Some(Bound::Entries(6))),
            ("[[],[],[],[]]", Some(Bound::Entries(6))),
            // What stands in a string is no structure.
            (r#"["[[[[,,,,,,,,","\"[[[[","\\"]"#, None),
            (r#"["\\",[[[1]]]]"#, Some(Bound::Depth(3))),
            (r#""0123456789012345678901234567890123456789012345678901234567890""#, Some(Bound::Bytes(60))),
        ] {
            assert_eq!(SMALL.exceeded_by(json), exceeded, "{json}");
        }
    }

    #[test]
    fn nesting_of_any_depth_takes_no_stack() {
        let bounds = Bounds { depth: usize::MAX, entries: usize::MAX, bytes: usize::MAX };
        assert_eq!(bounds.exceeded_by(&("[".repeat(5_000_000) + &"]".repeat(5_000_000))), None);
    }
}
