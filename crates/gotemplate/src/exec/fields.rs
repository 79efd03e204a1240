//! Fields of values, and what loops go over.

use std::rc::Rc;

use super::{Executor, Failure};
use crate::environment::MissingKey;
use crate::error::ErrorKind;
use crate::value::{Map, MapType, Value};
use crate::yaml;

impl Executor<'_> {
    /// Follows fields; a key that a map does not have gives its zero value, unless the environment refuses it.
    ///
    /// A field of nil is nil, but a field of a nil that was found in a map or list is an error.
    pub(super) fn follow(&self, root: Value, chain: &[Rc<str>]) -> Result<Value, Failure> {
        let mut value = root;
        for name in chain {
            value = self.field(&value, name)?;
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str) -> Result<Value, Failure> {
        match value {
            Value::Nil => Ok(Value::Nil),
            Value::NilElement => Err(format!("nil pointer evaluating interface {{}}.{name}").into()),
            Value::Map(map) if map.map_type() == MapType::Values && is_values_method(name) => {
                method(value, name, &[]).unwrap_or_else(|| Ok(Value::Nil))
            }
            Value::Map(map) => match map.get(name) {
                Some(value) => Ok(value.into_element()),
                None if self.environment.missing_key == MissingKey::Error => {
                    Err(Failure::Message(ErrorKind::MissingKey, format!("map has no entry for key {name:?}")))
                }
                None => Ok(map.map_type().zero()),
            },
            other => match method(other, name, &[]) {
                Some(answer) => answer,
                None => other.object_field(name).ok_or_else(|| {
                    format!("can't evaluate field {name} in type {}", other.type_name()).into()
                }),
            },
        }
    }
}

impl Value {
    fn object_field(&self, name: &str) -> Option<Value> {
        match self {
            Value::Object(object) => object.field(name).map(Value::into_element),
            _ => None,
        }
    }
}

/// Calls a method; `None` when the value has none of that name.
pub(super) fn method(receiver: &Value, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
    match receiver {
        Value::Object(object) => {
            let answer = object.call(name, arguments)?;
            Some(answer.map_err(|error| Failure::from(error.to_string()).in_call(name)))
        }
        Value::Map(map) if map.map_type() == MapType::Values && is_values_method(name) => {
            Some(values_method(map, name, arguments))
        }
        #[cfg(feature = "dates")]
        Value::Time(_) | Value::Duration(_) => crate::functions::time_method(receiver, name, arguments),
        _ => None,
    }
}

/// The methods of `.Values`, which hide keys of the same name.
fn is_values_method(name: &str) -> bool {
    matches!(name, "AsMap" | "YAML" | "Table" | "PathValue" | "Encode")
}

fn values_method(map: &Map, name: &str, arguments: &[Value]) -> Result<Value, Failure> {
    match (name, arguments) {
        ("AsMap", []) => Ok(Value::Map(map.with_map_type(MapType::Any))),
        ("YAML", []) => Ok(Value::string(yaml::to_string(&Value::Map(map.clone()))? + "\n")),
        ("Table", [Value::String(path)]) => match lookup(map, path) {
            Some(Value::Map(table)) => Ok(Value::Map(table.with_map_type(MapType::Values))),
            _ => Err(format!("error calling Table: {path:?} is not a table").into()),
        },
        ("PathValue", [Value::String(path)]) => match lookup(map, path) {
            Some(value) if value.as_map().is_none() => Ok(value),
            _ => Err(format!("error calling PathValue: {path:?} is not a value").into()),
        },
        _ => Err(format!("wrong arguments for {name}").into()),
    }
}

/// What stands at a path of keys with dots between them.
fn lookup(map: &Map, path: &str) -> Option<Value> {
    path.split('.').try_fold(Value::Map(map.clone()), |value, key| value.get(key))
}

/// What a loop goes over, with keys or indices.
pub(super) enum Elements {
    Pairs(Vec<(Value, Value)>),
    /// From zero up to a number, which may be large.
    Count(i64),
}

pub(super) fn elements(value: &Value) -> Result<Elements, Failure> {
    let pairs = match value {
        Value::Nil | Value::NilElement => Vec::new(),
        Value::Int(number) | Value::Int64(number) => return Ok(Elements::Count(*number)),
        Value::Map(map) => {
            map.entries().into_iter().map(|(key, value)| (Value::String(key), value.into_element())).collect()
        }
        other => match (other.elements(), object_entries(other)) {
            (Some(elements), _) => elements
                .into_iter()
                .enumerate()
                .map(|(index, value)| (Value::int(index), value.into_element()))
                .collect(),
            (None, Some(entries)) => entries,
            (None, None) => {
                return Err(format!("range can't iterate over {}", crate::format::debug(other)).into());
            }
        },
    };
    Ok(Elements::Pairs(pairs))
}

fn object_entries(value: &Value) -> Option<Vec<(Value, Value)>> {
    let Value::Object(object) = value else { return None };
    Some(object.entries()?.into_iter().map(|(key, value)| (Value::String(key), value)).collect())
}
