//! Values from JSON and to it.

use std::rc::Rc;

use serde::Serialize;
use serde_json::Number;

use super::{Value, Walk};
use crate::date::Time;

/// Why a value cannot become JSON, or a copy, or text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The value contains itself, or is nested deeper than any real document.
    #[error("the value is cyclic or nested more than 200 levels deep")]
    TooDeep,
    /// The value is larger than any real document, or shares its parts so often that it seems to be.
    #[error("the value is larger than any real document")]
    TooLarge,
    /// JSON has no infinity and no NaN.
    #[error("{0} is not a JSON number")]
    NotANumber(String),
    /// JSON has dates of four-digit years, in zones less than a day from UTC.
    #[error("{0} is not a JSON date")]
    NotADate(String),
    /// Something with methods has no JSON form.
    #[error("a value of type {0} has no JSON form")]
    NotData(&'static str),
}

/// Data that cannot become a value: a map whose keys are not texts, or a failure of the `Serialize` implementation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot serialize the data: {0}")]
pub struct SerializeError(String);

impl Value {
    /// A value from JSON. All numbers become floats, because that is what Helm's charts see.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        Self::from_json_with(json, |number| Self::Float(number.as_f64().unwrap_or(f64::NAN)))
    }

    /// From JSON, with integers as such: a large one is printed with all its digits, where Go prints `8.388608e+06`.
    #[must_use]
    pub fn from_json_with_integers(json: &serde_json::Value) -> Self {
        Self::from_json_with(json, |number| match number.as_i64() {
            Some(integer) => Self::Int64(integer),
            None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
        })
    }

    fn from_json_with(json: &serde_json::Value, number: fn(&serde_json::Number) -> Self) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(value) => number(value),
            serde_json::Value::String(text) => Self::string(text),
            serde_json::Value::Array(values) => {
                Self::list(values.iter().map(|value| Self::from_json_with(value, number)).collect())
            }
            serde_json::Value::Object(entries) => {
                let entries = entries.iter();
                Self::Map(
                    entries
                        .map(|(key, value)| (Rc::from(key.as_str()), Self::from_json_with(value, number)))
                        .collect(),
                )
            }
        }
    }

    /// A value from data of the program, by its implementation of `Serialize`. Integers become Go's `int`, as a program in
    /// Go would pass them; with [`Value::from_json`] they become floats, as in values that Helm reads.
    ///
    /// ```
    /// use gotemplate::{Templates, Value};
    ///
    /// #[derive(serde::Serialize)]
    /// struct Service {
    ///     name: &'static str,
    ///     ports: Vec<u16>,
    /// }
    ///
    /// let mut templates = Templates::new();
    /// templates.parse("ports", "{{ range .ports }}{{ $.name }}:{{ . }} {{ end }}")?;
    /// let dot = Value::from_serialize(&Service { name: "web", ports: vec![80, 8443] })?;
    /// assert_eq!(templates.execute("ports", &dot)?, "web:80 web:8443 ");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_serialize<T: Serialize + ?Sized>(data: &T) -> Result<Self, SerializeError> {
        let json = serde_json::to_value(data).map_err(|error| SerializeError(error.to_string()))?;
        Ok(Self::with_integers(&json))
    }

    fn with_integers(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Number(number) => {
                number.as_i64().map_or_else(|| Self::from_json(json), Self::Int)
            }
            serde_json::Value::Array(values) => Self::list(values.iter().map(Self::with_integers).collect()),
            serde_json::Value::Object(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| (Rc::from(key.as_str()), Self::with_integers(value)))
                    .collect(),
            ),
            other => Self::from_json(other),
        }
    }

    /// The value as JSON. Floats without a fraction become integers, as Go prints them.
    pub fn to_json(&self) -> Result<serde_json::Value, ConversionError> {
        Converter { walk: Walk::new(), keeps_floats: false }.value(self)
    }

    /// The value as JSON in which floats stay floats, whole or not.
    pub(crate) fn to_json_with_floats(&self) -> Result<serde_json::Value, ConversionError> {
        Converter { walk: Walk::new(), keeps_floats: true }.value(self)
    }
}

struct Converter {
    walk: Walk,
    keeps_floats: bool,
}

impl Converter {
    fn value(&mut self, value: &Value) -> Result<serde_json::Value, ConversionError> {
        self.walk.enter()?;
        let json = self.visit(value);
        self.walk.leave();
        json
    }

    fn visit(&mut self, value: &Value) -> Result<serde_json::Value, ConversionError> {
        Ok(match value {
            Value::Nil | Value::NilElement => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            // Floats are kept for a printer that knows durations, too.
            Value::Duration(number) if self.keeps_floats => crate::date::duration(*number).into(),
            Value::Int(number) | Value::Int64(number) | Value::Duration(number) => (*number).into(),
            Value::Uint8(number) => (*number).into(),
            Value::Float(number) if self.keeps_floats => {
                Number::from_f64(*number).ok_or_else(|| not_a_number(*number))?.into()
            }
            Value::Float(number) => json_number(*number)?.into(),
            Value::Complex(..) => return Err(ConversionError::NotData(value.type_name())),
            Value::String(text) => (&**text).into(),
            Value::Binary(bytes) => crate::encoding::lossy(bytes).into(),
            Value::Bytes(bytes) => crate::encoding::base64(bytes).into(),
            Value::Time(time) if self.keeps_floats => time.rfc3339().into(),
            Value::Time(time) => json_date(time)?.into(),
            Value::List(list) if list.is_nil() && !self.keeps_floats => serde_json::Value::Null,
            Value::List(list) => {
                let values: Result<Vec<_>, _> = list.values().iter().map(|value| self.value(value)).collect();
                serde_json::Value::Array(values?)
            }
            Value::Map(map) if map.is_nil() && !self.keeps_floats => serde_json::Value::Null,
            Value::Map(map) => {
                let mut entries = serde_json::Map::new();
                for (key, value) in map.entries() {
                    entries.insert(key.to_string(), self.value(&value)?);
                }
                serde_json::Value::Object(entries)
            }
            Value::Object(object) => match object.data() {
                Some(data) => self.value(&data)?,
                None => return Err(ConversionError::NotData(object.type_name())),
            },
        })
    }
}

fn not_a_number(number: f64) -> ConversionError {
    ConversionError::NotANumber(crate::format::float(number))
}

/// A date as Go writes it in JSON, if it does.
pub(crate) fn json_date(time: &Time) -> Result<String, ConversionError> {
    let text = time.rfc3339();
    if (0..=9999).contains(&time.civil().year) && time.offset.abs() < 24 * 3600 {
        return Ok(text);
    }
    Err(ConversionError::NotADate(text))
}

/// Go writes 3.0 as 3.
fn json_number(number: f64) -> Result<Number, ConversionError> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation)] // Both conditions say that it fits.
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or_else(|| not_a_number(number))
}
