//! Conditions, comparisons and failures.

use std::cmp::Ordering;

use super::{Answer, Plain, any, text};
use crate::exec::Failure;
use crate::format;
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Plain> {
    Some(match name {
        "not" => |a| Ok(Value::Bool(!any(a, 0)?.is_true())),
        "eq" => equal_to_any,
        "ne" => |a| Ok(Value::Bool(!equal(any(a, 0)?, any(a, 1)?)?)),
        "lt" => |a| ordered(a, &[Ordering::Less]),
        "le" => |a| ordered(a, &[Ordering::Less, Ordering::Equal]),
        "gt" => |a| ordered(a, &[Ordering::Greater]),
        "ge" => |a| ordered(a, &[Ordering::Greater, Ordering::Equal]),
        "default" => |a| Ok(if any(a, 1)?.is_true() { any(a, 1)? } else { any(a, 0)? }.clone()),
        "empty" => |a| Ok(Value::Bool(!any(a, 0)?.is_true())),
        "coalesce" => |a| Ok(a.iter().find(|value| value.is_true()).cloned().unwrap_or_default()),
        "all" => |a| Ok(Value::Bool(a.iter().all(Value::is_true))),
        "any" => |a| Ok(Value::Bool(a.iter().any(Value::is_true))),
        "ternary" => |a| Ok(if any(a, 2)?.is_true() { any(a, 0)? } else { any(a, 1)? }.clone()),
        "fail" => |a| Err(text(a, 0)?.into()),
        "required" => required,
        "kindOf" => |a| Ok(Value::string(kind(any(a, 0)?))),
        "kindIs" => |a| Ok(Value::Bool(text(a, 0)? == kind(any(a, 1)?))),
        "typeOf" => |a| Ok(Value::string(any(a, 0)?.type_name())),
        "typeIs" => |a| Ok(Value::Bool(text(a, 0)? == any(a, 1)?.type_name())),
        // Offline, the cluster holds nothing, as in `helm template`.
        "lookup" => |_| Ok(Value::Map(crate::value::Map::new())),
        _ => return None,
    })
}

fn required(arguments: &[Value]) -> Answer {
    match any(arguments, 1)? {
        Value::Nil => Err(text(arguments, 0)?.into()),
        Value::String(value) if value.is_empty() => Err(text(arguments, 0)?.into()),
        value => Ok(value.clone()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Object(_) => "ptr",
    }
}

fn equal_to_any(arguments: &[Value]) -> Answer {
    let first = any(arguments, 0)?;
    if arguments.len() < 2 {
        return Err("missing argument for comparison".into());
    }
    for other in arguments.iter().skip(1) {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// Go compares values of one basic kind; nil equals only nil.
fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    match (a, b) {
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        // The comparison is exact on purpose, as Go's is.
        #[allow(clippy::float_cmp)]
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::List(_) | Value::Map(_) | Value::Object(_), _)
        | (_, Value::List(_) | Value::Map(_) | Value::Object(_)) => Err(format!(
            "non-comparable types {}: {}, {}: {}",
            format::print(a),
            a.type_name(),
            format::print(b),
            b.type_name()
        )
        .into()),
        _ => Err("incompatible types for comparison".into()),
    }
}

fn ordered(arguments: &[Value], wanted: &[Ordering]) -> Answer {
    let ordering = match (any(arguments, 0)?, any(arguments, 1)?) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => match a.partial_cmp(b) {
            Some(ordering) => ordering,
            None => return Ok(Value::Bool(false)),
        },
        (Value::Bool(_) | Value::Nil | Value::List(_) | Value::Map(_) | Value::Object(_), _) => {
            return Err("invalid type for comparison".into());
        }
        _ => return Err("incompatible types for comparison".into()),
    };
    Ok(Value::Bool(wanted.contains(&ordering)))
}
