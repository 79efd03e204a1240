//! Go's own comparisons.

use std::cmp::Ordering;

use super::Type::Any;
use super::{Answer, Function, any, plain, variadic};
use crate::exec::Failure;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("eq", &[Any], Any, equal_to_any),
    plain("ne", &[Any, Any], |a| Ok(Value::Bool(!equal(&any(a, 0), &any(a, 1))?))),
    plain("lt", &[Any, Any], |a| ordered(a, |ordering| ordering == Some(Ordering::Less))),
    plain("le", &[Any, Any], |a| {
        ordered(a, |ordering| matches!(ordering, Some(Ordering::Less | Ordering::Equal)))
    }),
    // These two negate the ones before, which makes a difference where nothing compares.
    plain("gt", &[Any, Any], |a| {
        ordered(a, |ordering| !matches!(ordering, Some(Ordering::Less | Ordering::Equal)))
    }),
    plain("ge", &[Any, Any], |a| ordered(a, |ordering| ordering != Some(Ordering::Less))),
];

fn equal_to_any(arguments: &[Value]) -> Answer {
    let first = any(arguments, 0);
    if arguments.len() < 2 {
        return Err("missing argument for comparison".into());
    }
    for other in arguments.iter().skip(1) {
        if equal(&first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// What Go compares: values of one basic kind.
enum Basic<'v> {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Complex(f64, f64),
    String(&'v [u8]),
    None,
}

fn basic(value: &Value) -> Basic<'_> {
    match value {
        Value::Bool(value) => Basic::Bool(*value),
        Value::Float(number) => Basic::Float(*number),
        Value::Complex(real, imaginary) => Basic::Complex(*real, *imaginary),
        other => match (other.as_integer(), other.as_bytes()) {
            (Some(number), _) => Basic::Integer(number),
            (None, Some(bytes)) => Basic::String(bytes),
            (None, None) => Basic::None,
        },
    }
}

/// Go compares values of one basic kind; nil equals only nil.
fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    match (basic(a), basic(b)) {
        (Basic::Bool(a), Basic::Bool(b)) => Ok(a == b),
        (Basic::Integer(a), Basic::Integer(b)) => Ok(a == b),
        // The comparison is exact on purpose, as Go's is.
        #[allow(clippy::float_cmp)]
        (Basic::Float(a), Basic::Float(b)) => Ok(a == b),
        #[allow(clippy::float_cmp)]
        (Basic::Complex(a, b), Basic::Complex(x, y)) => Ok(a == x && b == y),
        (Basic::String(a), Basic::String(b)) => Ok(a == b),
        (Basic::None, Basic::None) => equal_others(a, b),
        _ if a.is_nil() || b.is_nil() => Ok(false),
        _ => Err(incompatible(a, b)),
    }
}

/// Whether two values that have no basic kind are equal: nil is, maps and lists cannot be compared.
fn equal_others(a: &Value, b: &Value) -> Result<bool, Failure> {
    let is_nil = |value: &Value| match value {
        Value::List(list) => list.is_nil(),
        Value::Map(map) => map.is_nil(),
        other => other.is_nil(),
    };
    if a.kind() != b.kind() && !a.is_nil() && !b.is_nil() {
        return Err(format!("non-comparable types {a:?}: {}, {}: {b:?}", a.type_name(), b.type_name()).into());
    }
    if is_nil(a) || is_nil(b) {
        return Ok(is_nil(a) == is_nil(b));
    }
    match (a, b) {
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Object(x), Value::Object(y)) if a.kind() == "ptr" => Ok(std::rc::Rc::ptr_eq(x, y)),
        _ => Err(format!("non-comparable type {b:?}: {}", b.type_name()).into()),
    }
}

fn incompatible(a: &Value, b: &Value) -> Failure {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name()).into()
}

fn ordered(arguments: &[Value], wanted: fn(Option<Ordering>) -> bool) -> Answer {
    let (a, b) = (any(arguments, 0), any(arguments, 1));
    let ordering = match (basic(&a), basic(&b)) {
        (Basic::None, _)
        | (_, Basic::None)
        | (Basic::Bool(_), Basic::Bool(_))
        | (Basic::Complex(..), Basic::Complex(..)) => {
            return Err("invalid type for comparison".into());
        }
        (Basic::Integer(a), Basic::Integer(b)) => Some(a.cmp(&b)),
        (Basic::Float(a), Basic::Float(b)) => a.partial_cmp(&b),
        (Basic::String(a), Basic::String(b)) => Some(a.cmp(b)),
        _ => return Err(incompatible(&a, &b)),
    };
    Ok(Value::Bool(wanted(ordering)))
}
