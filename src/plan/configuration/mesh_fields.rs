//! What a field of the mesh configuration holds, as `mesh_names.txt` writes it, and which JSON Istio reads as such.
//!
//! Pure. Protocol buffers read more than they write: numbers may be texts, choices may be numbers. Istio reads durations with
//! Go's `time.ParseDuration` (`jsonpb`).

use std::fmt;

use serde_json::Value;

use crate::duration;

/// A field of a message.
#[derive(Clone, Debug)]
pub(super) struct MeshField {
    /// Whether it holds a list of values of its kind.
    pub is_list: bool,
    /// What it holds.
    pub kind: FieldKind,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub(super) enum FieldKind {
    /// Fields of its own.
    Message,
    Bool,
    Text,
    Number,
    Duration,
    /// One of these names.
    Choice(Vec<&'static str>),
    /// Whatever the user likes.
    Anything,
}

impl MeshField {
    /// Reads what stands after the path: `list message`, `one of A B`, `bool`.
    pub fn parse(text: &'static str) -> Self {
        let (is_list, text) = text.strip_prefix("list ").map_or((false, text), |text| (true, text));
        let kind = match text {
            "message" => FieldKind::Message,
            "bool" => FieldKind::Bool,
            "string" => FieldKind::Text,
            "number" => FieldKind::Number,
            "duration" => FieldKind::Duration,
            _ => text
                .strip_prefix("one of ")
                .map_or(FieldKind::Anything, |names| FieldKind::Choice(names.split(' ').collect())),
        };
        Self { is_list, kind }
    }
}

impl FieldKind {
    /// Whether Istio can read `value` as such.
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Anything, _)
            | (Self::Message, Value::Object(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::String(_))
            | (Self::Number | Self::Choice(_), Value::Number(_)) => true,
            (Self::Number, Value::String(text)) => text.parse::<f64>().is_ok(),
            (Self::Duration, Value::String(text)) => is_duration(text),
            (Self::Choice(names), Value::String(text)) => names.contains(&text.as_str()),
            _ => false,
        }
    }
}

/// A duration of Go; a negative one is for Istio to refuse.
fn is_duration(text: &str) -> bool {
    duration::parse(text.strip_prefix('-').unwrap_or(text)).is_ok()
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message => "a map",
            Self::Bool => "true or false",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Duration => "a duration such as 1.5s, 100ms, or 1m",
            Self::Choice(names) => return write!(f, "one of {}", names.join(", ")),
            Self::Anything => "anything",
        })
    }
}
