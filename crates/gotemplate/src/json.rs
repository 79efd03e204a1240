//! JSON as Go's `encoding/json` writes and reads it.

use serde_json::Value as Json;

use crate::value::{ConversionError, Value};

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// `<`, `>` and `&` are escaped.
    pub html: bool,
    /// Each element is on a line of its own, indented by two spaces.
    pub pretty: bool,
}

/// Writes a value.
pub(crate) fn write(value: &Value, style: Style) -> Result<String, ConversionError> {
    let json = value.to_json()?;
    let mut text = String::new();
    element(&mut text, &json, style, 0);
    Ok(text)
}

/// Reads a value; what follows it must be blank.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Value::from_json(&json))
}

fn element(text: &mut String, json: &Json, style: Style, depth: usize) {
    match json {
        Json::Null => text.push_str("null"),
        Json::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => text.push_str(&self::number(float)),
            _ => text.push_str(&number.to_string()),
        },
        Json::String(string) => quote(text, string, style),
        Json::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                separate(text, index, style, depth + 1);
                element(text, value, style, depth + 1);
            }
            close(text, values.is_empty(), style, depth);
            text.push(']');
        }
        Json::Object(entries) => {
            text.push('{');
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                separate(text, index, style, depth + 1);
                quote(text, key, style);
                text.push_str(if style.pretty { ": " } else { ":" });
                element(text, value, style, depth + 1);
            }
            close(text, entries.is_empty(), style, depth);
            text.push('}');
        }
    }
}

fn separate(text: &mut String, index: usize, style: Style, depth: usize) {
    if index > 0 {
        text.push(',');
    }
    if style.pretty {
        text.push('\n');
        (0..depth).for_each(|_| text.push_str("  "));
    }
}

fn close(text: &mut String, is_empty: bool, style: Style, depth: usize) {
    if style.pretty && !is_empty {
        text.push('\n');
        (0..depth).for_each(|_| text.push_str("  "));
    }
}

/// Floats have an exponent below 1e-6 and from 1e21 on, without leading zeros.
fn number(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        return crate::format::float_with(float, 'e', None).replace("e-0", "e-");
    }
    crate::format::float_with(float, 'f', None)
}

fn quote(text: &mut String, string: &str, style: Style) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '<' | '>' | '&' if style.html => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if c < ' ' || matches!(c, '\u{2028}' | '\u{2029}') => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}
