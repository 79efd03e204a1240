//! Conversions between types, YAML and JSON.

use super::{Plain, any, text};
use crate::format;
use crate::value::{Map, Value};
use crate::yaml;

pub(super) fn find(name: &str) -> Option<Plain> {
    Some(match name {
        "toString" => |a| {
            Ok(Value::string(if matches!(any(a, 0)?, Value::Nil) {
                "<nil>".into()
            } else {
                format::print(&a[0])
            }))
        },
        "int" | "int64" => |a| Ok(Value::Int(to_integer(any(a, 0)?))),
        "float64" => |a| Ok(Value::Float(to_float(any(a, 0)?))),
        // Helm gives an empty text where a value has no YAML.
        "toYaml" => |a| Ok(Value::string(yaml::to_string(any(a, 0)?).unwrap_or_default())),
        "fromYaml" => |a| Ok(Value::Map(parsed_map(&text(a, 0)?))),
        "toJson" => |a| Ok(Value::string(json(any(a, 0)?, false))),
        "toPrettyJson" => |a| Ok(Value::string(json(any(a, 0)?, true))),
        "fromJson" => |a| Ok(Value::Map(parsed_map(&text(a, 0)?))),
        _ => return None,
    })
}

/// Whatever looks like a number, else 0.
fn to_integer(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        // Saturates, as the conversion of an absurd float must not fail a chart.
        #[allow(clippy::cast_possible_truncation)]
        Value::Float(number) => *number as i64,
        Value::Bool(value) => i64::from(*value),
        Value::String(text) => text.trim_start_matches('0').parse().unwrap_or_default(),
        _ => 0,
    }
}

fn to_float(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        #[allow(clippy::cast_precision_loss)]
        Value::Int(number) => *number as f64,
        Value::String(text) => text.parse().unwrap_or_default(),
        _ => 0.0,
    }
}

/// A map; an unreadable text gives one with the key `Error`, as Helm does.
fn parsed_map(text: &str) -> Map {
    match yaml::parse(text) {
        Ok(Value::Map(map)) => map,
        Ok(Value::Nil) => Map::new(),
        Ok(other) => error_map(&format!("cannot unmarshal {} into a map", other.type_name())),
        Err(error) => error_map(&error.to_string()),
    }
}

fn error_map(message: &str) -> Map {
    let map = Map::new();
    map.insert("Error", Value::string(message));
    map
}

/// JSON as Go prints it: keys sorted, and `<`, `>` and `&` escaped.
fn json(value: &Value, pretty: bool) -> String {
    let Ok(json) = value.to_json() else { return String::new() };
    let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
    text.unwrap_or_default().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
