//! YAML as Helm reads and writes it: by the rules of Go's yaml library, version 2, with JSON in between.
//!
//! That is YAML 1.1 with Go's exceptions: `yes` and `y` are true, `0777` is octal, all numbers become floats, of two equal
//! keys the last one wins, and long texts are folded when they are written.

mod emitter;
mod reader;
mod scalar;
mod scanner;
mod style;

use crate::value::{ConversionError, Value};
use reader::Reader;

/// Why a text is not YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
#[non_exhaustive]
pub struct Error {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses the first document of a text and ignores the others; an empty text is nil.
pub fn parse(text: &str) -> Result<Value, Error> {
    Ok(Reader::new(text)?.document()?.unwrap_or_default())
}

/// Parses all documents of a text.
pub fn parse_documents(text: &str) -> Result<Vec<Value>, Error> {
    let mut reader = Reader::new(text)?;
    let mut documents = Vec::new();
    while let Some(document) = reader.document()? {
        documents.push(document);
    }
    Ok(documents)
}

/// Parses all documents of a text into JSON.
pub fn parse_json_documents(text: &str) -> Result<Vec<serde_json::Value>, Error> {
    let as_json = |value: Value| {
        value.to_json().map_err(|error| Error { line: 1, column: 1, message: error.to_string() })
    };
    parse_documents(text)?.into_iter().map(as_json).collect()
}

/// Parses the first document of a text into JSON; an empty text is null.
pub fn parse_json(text: &str) -> Result<serde_json::Value, Error> {
    Ok(parse_json_documents(text)?.into_iter().next().unwrap_or_default())
}

/// A value as Helm's `toYaml` prints it, without the final newline.
pub fn to_string(value: &Value) -> Result<String, ConversionError> {
    Ok(json_to_string(&value.to_json()?))
}

/// JSON as YAML, in the same form.
#[must_use]
pub fn json_to_string(json: &serde_json::Value) -> String {
    emitter::emit(json, emitter::Form::Usual)
}

/// A value as Helm's `toYamlPretty` prints it: lists below a key are indented, nothing is folded.
pub(crate) fn to_pretty_string(value: &Value) -> Result<String, ConversionError> {
    Ok(emitter::emit(&value.to_json_with_floats()?, emitter::Form::Pretty))
}

/// Whether a text can be written at all: Go's library refuses most control characters, and `toYaml` then prints nothing.
pub(crate) fn can_be_written(value: &serde_json::Value) -> bool {
    let fine = |text: &str| {
        !text
            .chars()
            .any(|c| matches!(c, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}'))
    };
    match value {
        serde_json::Value::String(text) => fine(text),
        serde_json::Value::Array(values) => values.iter().all(can_be_written),
        serde_json::Value::Object(entries) => {
            entries.iter().all(|(key, value)| fine(key) && can_be_written(value))
        }
        _ => true,
    }
}
