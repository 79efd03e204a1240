//! Walks over values that may be cyclic, endless for all practical purposes, or nested without bound.

use super::{ConversionError, List, Map, Value};

/// Deepest nesting that is walked; deeper values are most likely cyclic.
const DEPTH_LIMIT: usize = 200;
/// Values that one walk visits. A value that holds another one twice, sixty times over, is small and yet never ends. But
/// the context of a chart, printed byte by byte with all its files, must have room.
const VISIT_LIMIT: usize = 10_000_000;

/// What a walk may still visit.
pub(crate) struct Walk {
    visits: usize,
    depth: usize,
}

impl Walk {
    pub(crate) fn new() -> Self {
        Self { visits: VISIT_LIMIT, depth: DEPTH_LIMIT }
    }

    /// Goes to a value below the current one.
    pub(crate) fn enter(&mut self) -> Result<(), ConversionError> {
        if self.depth == 0 {
            return Err(ConversionError::TooDeep);
        }
        self.visits = self.visits.checked_sub(1).ok_or(ConversionError::TooLarge)?;
        self.depth -= 1;
        Ok(())
    }

    /// Comes back from it.
    pub(crate) fn leave(&mut self) {
        self.depth += 1;
    }

    /// Visits something below the current value.
    pub(crate) fn below<T, E: From<ConversionError>>(
        &mut self,
        visit: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.enter()?;
        let result = visit(self);
        self.leave();
        result
    }
}

impl Value {
    /// A copy that shares no map or list with this value, as Sprig's `deepCopy`.
    pub fn deep_copy(&self) -> Result<Self, ConversionError> {
        copy(self, &mut Walk::new())
    }
}

fn copy(value: &Value, walk: &mut Walk) -> Result<Value, ConversionError> {
    walk.below(|walk| match value {
        Value::List(list) if list.is_nil() => Ok(value.clone()),
        Value::List(list) => {
            let values = list.values().iter().map(|value| copy(value, walk)).collect::<Result<_, _>>()?;
            Ok(Value::List(List::of(list.element(), values)))
        }
        Value::Map(map) if map.is_nil() => Ok(value.clone()),
        Value::Map(map) => {
            let entries = map.entries().into_iter().map(|(key, value)| Ok((key, copy(&value, walk)?)));
            Ok(Value::Map(Map::of(map.map_type(), entries.collect::<Result<Vec<_>, ConversionError>>()?)))
        }
        Value::Object(object) => Ok(object.deep_copy().unwrap_or_else(|| value.clone())),
        other => Ok(other.clone()),
    })
}

/// Deep equality, as Go's `reflect.DeepEqual`: of the same type, not only of the same value.
pub(crate) fn same(a: &Value, b: &Value) -> Result<bool, ConversionError> {
    equal(a, b, &mut Walk::new())
}

fn equal(a: &Value, b: &Value, walk: &mut Walk) -> Result<bool, ConversionError> {
    if a.type_name() != b.type_name() && !(a.is_nil() && b.is_nil()) {
        return Ok(false);
    }
    walk.below(|walk| match (a, b) {
        (Value::List(a), Value::List(b)) => {
            if a.is_nil() != b.is_nil() || a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.values().iter().zip(b.values().iter()) {
                if !equal(a, b, walk)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.is_same(b) {
                return Ok(true);
            }
            if a.is_nil() != b.is_nil() || a.len() != b.len() {
                return Ok(false);
            }
            for ((key, value), (other_key, other)) in a.entries().iter().zip(b.entries().iter()) {
                if key != other_key || !equal(value, other, walk)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(same_scalar(a, b)),
    })
}

fn same_scalar(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        // The comparison is exact on purpose, as Go's is.
        #[allow(clippy::float_cmp)]
        (Value::Float(a), Value::Float(b)) => a == b,
        #[allow(clippy::float_cmp)]
        (Value::Complex(a, b), Value::Complex(x, y)) => a == x && b == y,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Object(a), Value::Object(b)) => std::rc::Rc::ptr_eq(a, b),
        _ if a.is_nil() && b.is_nil() => true,
        _ => match (a.as_integer(), b.as_integer()) {
            (Some(a), Some(b)) => a == b,
            _ => a.as_bytes().is_some() && a.as_bytes() == b.as_bytes(),
        },
    }
}

/// Drops values one after the other. The stack would not hold the drop of a value that is nested a hundred thousand
/// levels deep, which takes a template three lines to build.
pub(super) fn dismantle(values: Vec<Value>) {
    let is_collection = |value: &Value| matches!(value, Value::List(_) | Value::Map(_));
    let mut pending = values;
    if !pending.iter().any(is_collection) {
        return;
    }
    while let Some(value) = pending.pop() {
        match value {
            Value::List(list) => pending.extend(list.into_values()),
            Value::Map(map) => pending.extend(map.into_values()),
            _ => {}
        }
    }
}
