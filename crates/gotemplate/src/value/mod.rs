//! Values as Go's templates see them.
//!
//! Maps and lists are handles: a copy of a handle is the same map, as in Go. Charts rely on it when they `set` a key of
//! a map that others hold too. Not for use across threads.

mod convert;
mod list;
mod map;
mod size;
mod walk;

use std::fmt;
use std::rc::Rc;

pub(crate) use convert::json_date;
pub use convert::{ConversionError, SerializeError};
pub(crate) use list::Element;
pub use list::List;
pub use map::{Map, MapType};
pub(crate) use size::{owned_size, total_size};
pub(crate) use walk::{Walk, same};

use crate::date::Time;
use crate::environment::CallResult;

/// A Go value that is not plain data, such as `.Files`: templates can access its fields, methods and elements.
pub trait Object {
    /// Go's name of the type, as `typeOf` prints it.
    fn type_name(&self) -> &'static str;
    /// The field of that name.
    fn field(&self, name: &str) -> Option<Value>;
    /// Calls a method; `None` when there is none of that name. The error is reported at the place of the call.
    fn call(&self, method: &str, arguments: &[Value]) -> Option<CallResult>;
    /// Go's kind of the type, as `kindOf` prints it.
    fn kind(&self) -> &'static str {
        "ptr"
    }
    /// What `{{ . }}` prints.
    fn print(&self) -> String {
        self.type_name().to_owned()
    }
    /// The elements by key in order, for types that are maps in Go.
    fn entries(&self) -> Option<Vec<(Rc<str>, Value)>> {
        None
    }
    /// The elements in order, for types that are slices in Go.
    fn elements(&self) -> Option<Vec<Value>> {
        None
    }
    /// What `deepCopy` makes of it; `None` when the copy is the same thing.
    fn deep_copy(&self) -> Option<Value> {
        None
    }
    /// The data that `toJson` and `toYaml` write.
    fn data(&self) -> Option<Value> {
        None
    }
}

/// A value.
#[derive(Clone, Default)]
pub enum Value {
    /// Go's untyped nil. Its fields are nil, too.
    #[default]
    Nil,
    /// A nil that was found in a map or list, or a key that is missing there. Asking it for a field is an error, which is
    /// how Go distinguishes the two; it becomes [`Value::Nil`] when it passes through a pipeline.
    NilElement,
    /// A boolean.
    Bool(bool),
    /// A Go `int`: literals and counts.
    Int(i64),
    /// A Go `int64`: what Sprig's arithmetic gives.
    Int64(i64),
    /// A Go `uint8`: a byte of a string.
    Uint8(u8),
    /// A Go `float64`, the type of all numbers that come from YAML or JSON.
    Float(f64),
    /// A Go `complex128`: the real and the imaginary part.
    Complex(f64, f64),
    /// A string.
    String(Rc<str>),
    /// A string that is not valid UTF-8. Go's strings are bytes, so charts can hold what they decoded from base64.
    Binary(Rc<[u8]>),
    /// A Go `[]byte`.
    Bytes(Rc<[u8]>),
    /// A Go `time.Duration`, in nanoseconds.
    Duration(i64),
    /// A Go `time.Time`.
    Time(Rc<Time>),
    /// A list, by reference.
    List(List),
    /// A map with string keys, by reference.
    Map(Map),
    /// Something with methods.
    Object(Rc<dyn Object>),
}

impl Value {
    /// A string value.
    #[must_use]
    pub fn string(text: impl AsRef<str>) -> Self {
        Self::String(Rc::from(text.as_ref()))
    }

    /// A string value of bytes that may not be UTF-8.
    #[must_use]
    pub fn text(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::String(Rc::from(text)),
            Err(error) => Self::Binary(Rc::from(error.into_bytes())),
        }
    }

    /// A list value.
    #[must_use]
    pub fn list(values: Vec<Self>) -> Self {
        Self::List(List::new(values))
    }

    /// A Go `[]string`.
    #[must_use]
    pub fn strings<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(List::of(Element::String, texts.into_iter().map(Self::string).collect()))
    }

    /// A size or position as a Go `int`.
    #[must_use]
    pub fn int(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
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

    /// The text, if it is a string of valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if it is a string.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text.as_bytes()),
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, if it is of one of Go's integer types.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Int(number) | Self::Int64(number) | Self::Duration(number) => Some(*number),
            Self::Uint8(number) => Some(i64::from(*number)),
            _ => None,
        }
    }

    /// Whether it is nil of either kind.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::NilElement)
    }

    /// Go's truth: false, 0, "", nil and empty collections are false.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::NilElement => false,
            Self::Bool(value) => *value,
            Self::Int(number) | Self::Int64(number) | Self::Duration(number) => *number != 0,
            Self::Uint8(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::Binary(bytes) | Self::Bytes(bytes) => !bytes.is_empty(),
            Self::Time(_) => true,
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(object) => match (object.entries(), object.elements()) {
                (Some(entries), _) => !entries.is_empty(),
                (None, Some(elements)) => !elements.is_empty(),
                (None, None) => true,
            },
        }
    }

    /// Go's name of the type, as `typeOf` prints it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::NilElement => "interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Uint8(_) => "uint8",
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::String(_) | Self::Binary(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::Duration(_) => "time.Duration",
            Self::Time(_) => "time.Time",
            Self::List(list) => list.element().type_name(),
            Self::Map(map) => map.map_type().type_name(),
            Self::Object(object) => object.type_name(),
        }
    }

    /// Go's kind, as `kindOf` prints it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil | Self::NilElement => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) | Self::Duration(_) => "int64",
            Self::Uint8(_) => "uint8",
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::String(_) | Self::Binary(_) => "string",
            Self::Bytes(_) | Self::List(_) => "slice",
            Self::Time(_) => "struct",
            Self::Map(_) => "map",
            Self::Object(object) => object.kind(),
        }
    }

    /// The elements of what Go calls a slice.
    pub(crate) fn elements(&self) -> Option<Vec<Value>> {
        match self {
            Self::List(list) => Some(list.values().clone()),
            Self::Bytes(bytes) => Some(bytes.iter().map(|byte| Self::Uint8(*byte)).collect()),
            Self::Object(object) => object.elements(),
            _ => None,
        }
    }

    /// Nil as a pipeline gives it.
    pub(crate) fn into_pipeline_value(self) -> Self {
        if matches!(self, Self::NilElement) { Self::Nil } else { self }
    }

    /// Nil as a map or list gives it.
    pub(crate) fn into_element(self) -> Self {
        if matches!(self, Self::Nil) { Self::NilElement } else { self }
    }
}

/// The text that `{{ . }}` prints; bytes that are not UTF-8 are replaced.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match crate::format::print(self) {
            Ok(text) => f.write_str(&crate::encoding::lossy(&text)),
            // It contains itself, or is too large to print.
            Err(_) => f.write_str(self.type_name()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::format::debug(self))
    }
}
