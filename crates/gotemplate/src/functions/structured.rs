//! JSON and YAML.

use super::Type::{Any, String as Text};
use super::{Function, any, plain, text};
use crate::json::{self, Style};
use crate::value::{ConversionError, Element, List, Map, Value};
use crate::yaml;

const COMPACT: Style = Style { html: true, pretty: false };
const PRETTY: Style = Style { html: true, pretty: true };
const RAW: Style = Style { html: false, pretty: false };

pub(super) const FUNCTIONS: &[Function] = &[
    plain("toJson", &[Any], |a| Ok(or_empty(json::write(&any(a, 0), COMPACT)))),
    plain("mustToJson", &[Any], |a| Ok(Value::string(json::write(&any(a, 0), COMPACT)?))),
    plain("toPrettyJson", &[Any], |a| Ok(or_empty(json::write(&any(a, 0), PRETTY)))),
    plain("mustToPrettyJson", &[Any], |a| Ok(Value::string(json::write(&any(a, 0), PRETTY)?))),
    plain("toRawJson", &[Any], |a| Ok(Value::string(json::write(&any(a, 0), RAW)?))),
    plain("mustToRawJson", &[Any], |a| Ok(Value::string(json::write(&any(a, 0), RAW)?))),
    plain("fromJson", &[Text], |a| Ok(as_map(json::read(&text(a, 0)), ""))),
    plain("fromJsonArray", &[Text], |a| Ok(as_list(json::read(&text(a, 0)), ""))),
    plain("mustFromJson", &[Text], |a| Ok(json::read(&text(a, 0))?)),
    plain("toYaml", &[Any], |a| Ok(to_yaml(&any(a, 0)).unwrap_or_else(|_| Value::string("")))),
    plain("mustToYaml", &[Any], |a| Ok(to_yaml(&any(a, 0))?)),
    plain("toYamlPretty", &[Any], |a| match yaml::to_pretty_string(&any(a, 0)) {
        // The library that prints this panics, and Helm does not recover.
        Err(error @ ConversionError::NotData(_)) => Err(error.into()),
        written => Ok(or_empty(written)),
    }),
    plain("fromYaml", &[Text], |a| Ok(as_map(read_yaml(&text(a, 0)), OF_YAML))),
    plain("fromYamlArray", &[Text], |a| {
        // Unlike JSON's, YAML's null leaves the list as it is, which is empty.
        let read = read_yaml(&text(a, 0));
        Ok(as_list(read.map(|value| if value.is_nil() { Value::list(Vec::new()) } else { value }), OF_YAML))
    }),
];

/// What cannot be written is nothing, as in Helm.
fn or_empty(written: Result<String, ConversionError>) -> Value {
    Value::string(written.unwrap_or_default())
}

fn to_yaml(value: &Value) -> Result<Value, String> {
    let mut json = value.to_json().map_err(|error| error.to_string())?;
    // Helm reads the JSON as YAML, to which this character is a line break.
    let text = json::write(value, COMPACT).map_err(|error| error.to_string())?;
    if text.contains('\u{85}') {
        json = yaml::parse_json(&text).map_err(|error| error.to_string())?;
    }
    if !yaml::can_be_written(&json) {
        return Err("yaml: control characters are not allowed".to_owned());
    }
    Ok(Value::string(yaml::json_to_string(&json)))
}

/// The step that finds YAML of the wrong type, as Go reports it.
const OF_YAML: &str = "error unmarshaling JSON: while decoding JSON: ";

fn read_yaml(text: &str) -> Result<Value, String> {
    yaml::parse(text).map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))
}

/// A map; any other value becomes a map with the error, as in Helm.
pub(super) fn as_map(read: Result<Value, String>, step: &str) -> Value {
    let failed = |message: String| {
        let map = Map::new();
        map.insert("Error", Value::string(message));
        Value::Map(map)
    };
    match read {
        Ok(Value::Map(map)) => Value::Map(map),
        Ok(Value::Nil) => Value::Map(Map::new()),
        Ok(other) => failed(format!(
            "{step}json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_kind(&other)
        )),
        Err(message) => failed(message),
    }
}

/// A list; any other value becomes a list with the error.
fn as_list(read: Result<Value, String>, step: &str) -> Value {
    match read {
        Ok(Value::List(list)) => Value::List(list),
        Ok(Value::Nil) => Value::List(List::nil(Element::Any)),
        Ok(other) => Value::list(vec![Value::string(format!(
            "{step}json: cannot unmarshal {} into Go value of type []interface {{}}",
            json_kind(&other)
        ))]),
        Err(message) => Value::list(vec![Value::string(message)]),
    }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Float(_) => "number",
        Value::List(_) => "array",
        Value::Map(_) => "object",
        _ => "string",
    }
}
