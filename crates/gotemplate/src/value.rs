//! Values as Go's templates see them.
//!
//! Maps and lists are handles: a copy of a handle is the same map, as in Go. Charts rely on it when they `set` a key of
//! a map that others hold too. Not for use across threads.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use serde_json::Number;

/// Deepest nesting that is walked; deeper values are most likely cyclic.
const DEPTH_LIMIT: usize = 200;

/// Something that templates can ask for fields and methods, such as `.Files`.
pub trait Object {
    /// The field or niladic method of that name.
    fn field(&self, name: &str) -> Option<Value>;
    /// Calls a method; the error is told at the place of the call.
    fn call(&self, method: &str, arguments: &[Value]) -> Result<Value, String>;
    /// Go's name of the type, for messages.
    fn type_name(&self) -> &'static str;
}

/// A value.
#[derive(Clone, Default)]
pub enum Value {
    /// Go's nil, also the value of a missing key.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// A Go `int` or `int64`.
    Int(i64),
    /// A Go `float64`, the type of all numbers that come from YAML or JSON.
    Float(f64),
    /// A string.
    String(Rc<str>),
    /// A list, by reference.
    List(List),
    /// A map with string keys, by reference.
    Map(Map),
    /// Something with methods.
    Object(Rc<dyn Object>),
}

/// Why a value cannot become JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// The value contains itself, or is nested deeper than any real document.
    #[error("the value is cyclic or nested more than {DEPTH_LIMIT} levels deep")]
    TooDeep,
    /// JSON has no infinity and no NaN.
    #[error("{0} is not a JSON number")]
    NotANumber(String),
    /// Something with methods has no JSON form.
    #[error("a value of type {0} has no JSON form")]
    NotData(&'static str),
}

/// A map, by reference, with its keys in order.
#[derive(Clone, Default)]
pub struct Map(Rc<RefCell<BTreeMap<Rc<str>, Value>>>);

/// A list, by reference.
#[derive(Clone, Default)]
pub struct List(Rc<RefCell<Vec<Value>>>);

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.borrow().get(key).cloned()
    }

    /// Whether the key exists, be its value nil.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.0.borrow().contains_key(key)
    }

    /// Sets a key, for all who hold this map.
    pub fn insert(&self, key: impl Into<Rc<str>>, value: Value) {
        self.0.borrow_mut().insert(key.into(), value);
    }

    /// Removes a key, for all who hold this map.
    #[allow(clippy::must_use_candidate)] // Most callers only want it gone.
    pub fn remove(&self, key: &str) -> Option<Value> {
        self.0.borrow_mut().remove(key)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys and values in the order of keys, as they are now; later changes do not disturb a loop over them.
    #[must_use]
    pub fn entries(&self) -> Vec<(Rc<str>, Value)> {
        self.0.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether both are the same map, not only equal ones.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl FromIterator<(Rc<str>, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Rc<str>, Value)>>(entries: I) -> Self {
        Self(Rc::new(RefCell::new(entries.into_iter().collect())))
    }
}

impl List {
    /// A list of values.
    #[must_use]
    pub fn new(values: Vec<Value>) -> Self {
        Self(Rc::new(RefCell::new(values)))
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a position.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.borrow().get(index).cloned()
    }

    /// The values; the list must not be changed while they are borrowed.
    #[must_use]
    pub fn values(&self) -> Ref<'_, Vec<Value>> {
        self.0.borrow()
    }
}

impl Value {
    /// A string value.
    #[must_use]
    pub fn string(text: impl AsRef<str>) -> Self {
        Self::String(Rc::from(text.as_ref()))
    }

    /// A list value.
    #[must_use]
    pub fn list(values: Vec<Self>) -> Self {
        Self::List(List::new(values))
    }

    /// The value of a map's key; `None` for missing keys and for values without keys.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Self> {
        match self {
            Self::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The map, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Go's truth: false for false, 0, empty strings, lists and maps, and nil.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(_) => true,
        }
    }

    /// Go's name of the type, as in its messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Object(object) => object.type_name(),
        }
    }

    /// A value from JSON; all numbers become floats, as in Go.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::Float(number.as_f64().unwrap_or_default()),
            serde_json::Value::String(text) => Self::string(text),
            serde_json::Value::Array(values) => Self::list(values.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => Self::Map(
                map.iter().map(|(key, value)| (Rc::from(key.as_str()), Self::from_json(value))).collect(),
            ),
        }
    }

    /// The value as JSON; floats that are whole numbers become integers.
    pub fn to_json(&self) -> Result<serde_json::Value, ConversionError> {
        self.json_at(0)
    }

    fn json_at(&self, depth: usize) -> Result<serde_json::Value, ConversionError> {
        if depth > DEPTH_LIMIT {
            return Err(ConversionError::TooDeep);
        }
        Ok(match self {
            Self::Nil => serde_json::Value::Null,
            Self::Bool(value) => serde_json::Value::Bool(*value),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => number(*value)?,
            Self::String(text) => serde_json::Value::String(text.to_string()),
            Self::List(list) => list
                .values()
                .iter()
                .map(|value| value.json_at(depth + 1))
                .collect::<Result<Vec<_>, _>>()?
                .into(),
            Self::Map(map) => {
                let entries = map.0.borrow();
                let convert =
                    |(key, value): (&Rc<str>, &Self)| Ok((key.to_string(), value.json_at(depth + 1)?));
                serde_json::Value::Object(
                    entries.iter().map(convert).collect::<Result<_, ConversionError>>()?,
                )
            }
            Self::Object(object) => return Err(ConversionError::NotData(object.type_name())),
        })
    }

    /// A copy that shares no map or list with the original.
    pub fn deep_copy(&self) -> Result<Self, ConversionError> {
        self.copy_at(0)
    }

    fn copy_at(&self, depth: usize) -> Result<Self, ConversionError> {
        if depth > DEPTH_LIMIT {
            return Err(ConversionError::TooDeep);
        }
        Ok(match self {
            Self::List(list) => Self::list(
                list.values().iter().map(|value| value.copy_at(depth + 1)).collect::<Result<_, _>>()?,
            ),
            Self::Map(map) => {
                let copy = |(key, value): (Rc<str>, Self)| Ok((key, value.copy_at(depth + 1)?));
                Self::Map(map.entries().into_iter().map(copy).collect::<Result<Map, ConversionError>>()?)
            }
            scalar => scalar.clone(),
        })
    }
}

/// Largest whole number that a float holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn number(value: f64) -> Result<serde_json::Value, ConversionError> {
    if value.fract() == 0.0 && value.abs() <= EXACT {
        // In range by the check above.
        #[allow(clippy::cast_possible_truncation)]
        return Ok((value as i64).into());
    }
    Number::from_f64(value)
        .map(serde_json::Value::Number)
        .ok_or_else(|| ConversionError::NotANumber(crate::format::float(value)))
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::format::print(self))
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "map of {} keys", self.len())
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list of {} values", self.len())
    }
}
