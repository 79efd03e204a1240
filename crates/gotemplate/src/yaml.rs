//! YAML as Go's `sigs.k8s.io/yaml` reads and writes it: scalars by the rules of YAML 1.1, all numbers as floats.

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::value::{ConversionError, List, Map, Value};

/// Nodes of one document, aliases counted as often as they are used; guards against alias bombs.
const NODE_LIMIT: usize = 2_000_000;
/// Deepest nesting that is read.
const DEPTH_LIMIT: usize = 150;

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses the first document of a text; an empty text is nil.
pub fn parse(text: &str) -> Result<Value, Error> {
    Ok(parse_documents(text)?.into_iter().next().unwrap_or_default())
}

/// Parses all documents of a text.
pub fn parse_documents(text: &str) -> Result<Vec<Value>, Error> {
    let mut reader =
        Reader { events: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0, at: (1, 1) };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                let event = reader.next()?;
                documents.push(reader.node(event, 0)?.0);
            }
            _ => {}
        }
    }
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

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, (Value, usize)>,
    nodes: usize,
    at: (usize, usize),
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, Error> {
        match self.events.next() {
            None => Ok(Event::StreamEnd),
            Some(Ok((event, span))) => {
                self.at = (span.start.line(), span.start.col() + 1);
                Ok(event)
            }
            Some(Err(error)) => Err(scan_error(&error)),
        }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error { line: self.at.0, column: self.at.1, message: message.into() }
    }

    fn count(&mut self, nodes: usize) -> Result<(), Error> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODE_LIMIT {
            return Err(self.error("document contains excessive aliasing or is too large"));
        }
        Ok(())
    }

    /// Reads a node; tells its number of nodes for the use of aliases to it.
    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<(Value, usize), Error> {
        if depth > DEPTH_LIMIT {
            return Err(self.error(format!("nested more than {DEPTH_LIMIT} levels deep")));
        }
        self.count(1)?;
        let (value, size, anchor) = match event {
            Event::Alias(anchor) => {
                let (value, size) =
                    self.anchors.get(&anchor).cloned().ok_or_else(|| self.error("anchor contains itself"))?;
                self.count(size)?;
                // In Go each use of an alias is decoded anew, so nobody shares it.
                let copy = value.deep_copy().map_err(|error| self.error(error.to_string()))?;
                return Ok((copy, size));
            }
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref())?, 1, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let (value, size) = self.sequence(depth)?;
                (value, size, anchor)
            }
            Event::MappingStart(anchor, _) => {
                let (value, size) = self.mapping(depth)?;
                (value, size, anchor)
            }
            other => return Err(self.error(format!("unexpected {other:?}"))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok((value, size))
    }

    fn sequence(&mut self, depth: usize) -> Result<(Value, usize), Error> {
        let (mut values, mut size) = (Vec::new(), 1);
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok((Value::List(List::new(values)), size)),
                event => {
                    let (value, nodes) = self.node(event, depth + 1)?;
                    values.push(value);
                    size += nodes;
                }
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<(Value, usize), Error> {
        let (map, merged, mut size) = (Map::new(), Map::new(), 1);
        loop {
            let event = self.next()?;
            let is_merge = match &event {
                Event::MappingEnd => {
                    for (key, value) in merged.entries() {
                        if !map.contains_key(&key) {
                            map.insert(key, value);
                        }
                    }
                    return Ok((Value::Map(map), size));
                }
                Event::Scalar(text, ScalarStyle::Plain, ..) => text == "<<",
                _ => false,
            };
            let (key, _) = self.node(event, depth + 1)?;
            let event = self.next()?;
            let (value, nodes) = self.node(event, depth + 1)?;
            size += nodes + 1;
            if is_merge {
                self.merge(&merged, &value)?;
                continue;
            }
            let key = self.key(&key)?;
            if map.contains_key(&key) {
                return Err(self.error(format!("key {key:?} already set in map")));
            }
            map.insert(key, value);
        }
    }

    /// Keys of `<<`: of a map, or of several where the first wins.
    fn merge(&self, into: &Map, value: &Value) -> Result<(), Error> {
        let add = |map: &Map| {
            for (key, value) in map.entries() {
                if !into.contains_key(&key) {
                    into.insert(key, value);
                }
            }
        };
        match value {
            Value::Map(map) => add(map),
            Value::List(list) => list.values().iter().filter_map(Value::as_map).for_each(add),
            _ => return Err(self.error("map merge requires map or sequence of maps as the value")),
        }
        Ok(())
    }

    /// A key as JSON has it: a string.
    fn key(&self, key: &Value) -> Result<Rc<str>, Error> {
        match key {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Int(_) => Ok(Rc::from(crate::format::print(key))),
            Value::Float(number) => match key.to_json() {
                Ok(json) => Ok(Rc::from(json.to_string())),
                Err(_) => Ok(Rc::from(crate::format::float(*number))),
            },
            Value::Nil => Ok(Rc::from("null")),
            other => Err(self.error(format!("a {} cannot be a key", other.type_name()))),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Error> {
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        match (core, style) {
            (Some("str" | "binary"), _) => Ok(Value::string(text)),
            (Some("null"), _) => Ok(Value::Nil),
            (Some(kind @ ("bool" | "int" | "float")), _) => match resolve(text) {
                value @ (Value::Bool(_) | Value::Float(_)) => Ok(value),
                _ => Err(self.error(format!("cannot decode {text:?} as a {kind}"))),
            },
            (_, ScalarStyle::Plain) => Ok(resolve(text)),
            _ => Ok(Value::string(text)),
        }
    }
}

fn scan_error(error: &ScanError) -> Error {
    Error { line: error.marker().line(), column: error.marker().col() + 1, message: error.info().to_owned() }
}

/// What a plain scalar means, by the resolver of Go's yaml.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Nil,
        "y" | "Y" | "n" | "N" => return Value::string(text),
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => return Value::Bool(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Value::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).map_or_else(|| Value::string(text), Value::Float)
}

fn number(text: &str) -> Option<f64> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok();
    let integer = match digits.get(..2) {
        Some("0x") => radix(digits.get(2..)?, 16),
        Some("0o") => radix(digits.get(2..)?, 8),
        Some("0b") => radix(digits.get(2..)?, 2),
        _ if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) => {
            radix(digits, 8)
        }
        _ => None,
    };
    if let Some(integer) = integer {
        #[allow(clippy::cast_precision_loss)]
        return Some(sign * integer as f64);
    }
    is_decimal(digits).then(|| plain.parse().ok()).flatten()
}

/// `[0-9]*(\.[0-9]*)?([eE][-+]?[0-9]+)?` with at least one digit before the exponent.
fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    !(whole.is_empty() && fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && exponent_is_fine
}

/// A value as Helm's `toYaml` prints it, without the final newline.
///
/// Keys are sorted, lists are not indented below their key. Unlike Go's printer, long texts are not folded.
pub fn to_string(value: &Value) -> Result<String, ConversionError> {
    Ok(json_to_string(&value.to_json()?))
}

/// JSON as YAML, in the same form.
#[must_use]
pub fn json_to_string(json: &serde_json::Value) -> String {
    let mut text = String::new();
    write(&mut text, json, 0, false);
    // Exactly one: a kept newline of a literal block (`|+`) belongs to its text.
    text.truncate(text.strip_suffix('\n').unwrap_or(&text).len());
    text
}

fn write(text: &mut String, value: &serde_json::Value, indent: usize, inline: bool) {
    match value {
        serde_json::Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            for (index, (key, value)) in entries.into_iter().enumerate() {
                // The first key of a map in a list stands behind the dash.
                if index > 0 || !inline {
                    text.push_str(&" ".repeat(indent));
                }
                write_scalar(text, key, indent);
                text.push(':');
                write_value(text, value, indent);
            }
        }
        serde_json::Value::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                if index > 0 || !inline {
                    text.push_str(&" ".repeat(indent));
                }
                text.push('-');
                if is_block(value) {
                    text.push(' ');
                    write(text, value, indent + 2, true);
                } else {
                    write_value(text, value, indent);
                }
            }
        }
        scalar => {
            write_leaf(text, scalar, indent);
            text.push('\n');
        }
    }
}

fn is_block(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(map) => !map.is_empty(),
        serde_json::Value::Array(values) => !values.is_empty(),
        _ => false,
    }
}

/// Writes what follows a key's colon or a dash.
fn write_value(text: &mut String, value: &serde_json::Value, indent: usize) {
    match value {
        serde_json::Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            write(text, value, indent + 2, false);
        }
        serde_json::Value::Array(values) if !values.is_empty() => {
            text.push('\n');
            write(text, value, indent, false);
        }
        scalar => {
            text.push(' ');
            write_leaf(text, scalar, indent);
            text.push('\n');
        }
    }
}

fn write_leaf(text: &mut String, value: &serde_json::Value, indent: usize) {
    match value {
        serde_json::Value::Object(_) => text.push_str("{}"),
        serde_json::Value::Array(_) => text.push_str("[]"),
        serde_json::Value::String(string) if string.contains('\n') && literal(string) => {
            write_literal(text, string, indent);
        }
        serde_json::Value::String(string) => write_scalar(text, string, indent),
        other => text.push_str(&other.to_string()),
    }
}

/// Whether a text survives as a literal block: no control characters, and no leading blank that would hide the indent.
fn literal(string: &str) -> bool {
    let printable = |c: char| {
        c == '\n' || c == '\t' || !(c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}')
    };
    string.chars().all(printable)
        && !string.starts_with([' ', '\n', '\t'])
        && !string.lines().any(|line| line.trim().is_empty() && !line.is_empty())
}

fn write_literal(text: &mut String, string: &str, indent: usize) {
    let chomp = if !string.ends_with('\n') {
        "-"
    } else if string.ends_with("\n\n") {
        "+"
    } else {
        ""
    };
    text.push('|');
    text.push_str(chomp);
    let pad = " ".repeat(indent + 2);
    let body = string.strip_suffix('\n').unwrap_or(string);
    for line in body.split('\n') {
        text.push('\n');
        if !line.is_empty() {
            text.push_str(&pad);
            text.push_str(line);
        }
    }
}

fn write_scalar(text: &mut String, string: &str, _indent: usize) {
    if needs_double_quotes(string) {
        text.push_str(&serde_json::Value::String(string.to_owned()).to_string());
    } else if is_plain(string) {
        text.push_str(string);
    } else if resolves_to_other(string) {
        // Go quotes what would be read as another type with double quotes.
        text.push('"');
        text.push_str(string);
        text.push('"');
    } else {
        text.push('\'');
        text.push_str(&string.replace('\'', "''"));
        text.push('\'');
    }
}

fn needs_double_quotes(string: &str) -> bool {
    string.chars().any(|c| c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}'))
}

fn resolves_to_other(string: &str) -> bool {
    !matches!(resolve(string), Value::String(_)) || matches!(string, "y" | "Y" | "n" | "N") || base_60(string)
}

/// `190:20:30` is a number for old YAML 1.1 readers.
fn base_60(string: &str) -> bool {
    let digits = string.strip_prefix(['+', '-']).unwrap_or(string);
    let parts: Vec<&str> = digits.split(':').collect();
    parts.len() > 1
        && parts.iter().all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.'))
        })
}

/// Whether a text can stand without quotes and is read back as the same text.
fn is_plain(string: &str) -> bool {
    let Some(first) = string.chars().next() else { return false };
    let blank_ends = string.starts_with(' ') || string.ends_with(' ');
    let indicator = matches!(
        first,
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
    );
    let marker = matches!(first, '-' | '?' | ':') && string.chars().nth(1).is_none_or(char::is_whitespace);
    let document = string.starts_with("---") || string.starts_with("...");
    !blank_ends
        && !indicator
        && !marker
        && !document
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with(':')
        && string != "="
        && string != "<<"
        && !resolves_to_other(string)
        && !looks_like_date(string)
}

/// Go quotes what would be read as a timestamp.
fn looks_like_date(string: &str) -> bool {
    let bytes = string.as_bytes();
    bytes.len() >= 8
        && bytes.iter().take(4).all(u8::is_ascii_digit)
        && bytes.get(4) == Some(&b'-')
        && bytes.get(5).is_some_and(u8::is_ascii_digit)
}
