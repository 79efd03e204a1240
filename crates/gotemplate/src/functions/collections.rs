//! Go's own functions for maps, lists and strings.

use super::Type::Any;
use super::{Answer, Function, any, from, plain, variadic};
use crate::exec::Failure;
use crate::value::{List, Value};

pub(super) const FUNCTIONS: &[Function] =
    &[plain("len", &[Any], length), variadic("index", &[Any], Any, index)];

fn length(arguments: &[Value]) -> Answer {
    let value = any(arguments, 0);
    let length = match &value {
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Object(object) if object.entries().is_some() => {
            object.entries().map_or(0, |entries| entries.len())
        }
        Value::Object(object) if object.elements().is_some() => {
            object.elements().map_or(0, |elements| elements.len())
        }
        Value::Nil | Value::NilElement => return Err("len of nil pointer".into()),
        other => match other.as_bytes() {
            Some(bytes) => bytes.len(),
            None => return Err(format!("len of type {}", other.type_name()).into()),
        },
    };
    Ok(Value::int(length))
}

/// The element that one index after the other leads to.
fn index(arguments: &[Value]) -> Answer {
    let mut value = any(arguments, 0);
    if value.is_nil() {
        return Err("index of untyped nil".into());
    }
    for key in from(arguments, 1) {
        value = element(&value, key)?;
    }
    Ok(value)
}

fn element(value: &Value, key: &Value) -> Answer {
    match value {
        Value::Nil | Value::NilElement => Err("index of nil pointer".into()),
        Value::Map(map) => match key {
            Value::String(name) => {
                Ok(map.get(name).unwrap_or_else(|| map.map_type().zero()).into_pipeline_value())
            }
            other => Err(wrong_key(other)),
        },
        Value::Object(object) if object.entries().is_some() => match key {
            Value::String(name) => {
                let found = object.entries().into_iter().flatten().find(|(known, _)| known == name);
                Ok(found.map_or_else(|| Value::Bytes([].into()), |(_, value)| value))
            }
            other => Err(wrong_key(other)),
        },
        Value::Object(object) if object.elements().is_some() => {
            let elements = object.elements().unwrap_or_default();
            elements.get(position(key, elements.len())?).cloned().ok_or_else(|| out_of_range(key))
        }
        Value::List(list) => list.get(position(key, list.len())?).ok_or_else(|| out_of_range(key)),
        Value::Bytes(bytes) => byte(bytes, key),
        other => match other.as_bytes() {
            Some(bytes) => byte(bytes, key),
            None => Err(format!("can't index item of type {}", other.type_name()).into()),
        },
    }
}

fn byte(bytes: &[u8], key: &Value) -> Answer {
    let position = position(key, bytes.len())?;
    bytes.get(position).map(|byte| Value::Uint8(*byte)).ok_or_else(|| out_of_range(key))
}

fn wrong_key(key: &Value) -> Failure {
    if key.is_nil() {
        return "value is nil; should be of type string".into();
    }
    format!("value has type {}; should be string", key.type_name()).into()
}

fn out_of_range(key: &Value) -> Failure {
    format!("index out of range: {key:?}").into()
}

/// A position up to a length, the length itself included.
fn position(key: &Value, length: usize) -> Result<usize, Failure> {
    let Some(number) = key.as_integer() else {
        let what = if key.is_nil() { "nil".to_owned() } else { format!("type {}", key.type_name()) };
        return Err(format!("cannot index slice/array with {what}").into());
    };
    usize::try_from(number).ok().filter(|position| *position <= length).ok_or_else(|| out_of_range(key))
}

/// A part of a list.
pub(super) fn part(list: &List, start: usize, end: usize) -> Option<Value> {
    Some(Value::List(List::of(list.element(), list.values().get(start..end)?.to_vec())))
}
