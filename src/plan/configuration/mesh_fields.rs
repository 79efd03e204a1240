//! What a field of the mesh configuration holds, as `mesh_names.txt` writes it, and which JSON is taken for it.
//!
//! Protocol buffers read more than they write: numbers may be texts, choices may be numbers.

use std::fmt;

use serde_json::Value;

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

/// Seconds with a fraction of at most nine digits and an `s` after it.
fn is_duration(text: &str) -> bool {
    let Some(number) = text.strip_suffix('s') else { return false };
    let number = number.strip_prefix('-').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole) && is_digits(fraction) && fraction.len() <= 9
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message => "a map",
            Self::Bool => "true or false",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Duration => "a duration in seconds, such as 1.5s",
            Self::Choice(names) => return write!(f, "one of {}", names.join(", ")),
            Self::Anything => "anything",
        })
    }
}
