//! Reads documents: events of the parser become values.

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::Error;
use super::scalar::{Meaning, resolve};
use crate::value::{List, Map, Value};

/// Nodes of one document, aliases counted as often as they are used; guards against alias bombs.
const NODE_LIMIT: usize = 1_000_000;
/// Deepest nesting that is read.
const DEPTH_LIMIT: usize = 150;

pub(super) struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    anchors: BTreeMap<usize, (Value, usize)>,
    nodes: usize,
    at: (usize, usize),
}

/// A value with its number of nodes, which each alias to it counts again.
type Node = (Value, usize);

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self, Error> {
        check_characters(text)?;
        Ok(Self { events: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0, at: (1, 1) })
    }

    /// The next document; `None` at the end.
    pub(super) fn document(&mut self) -> Result<Option<Value>, Error> {
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(None),
                Event::DocumentStart(_) => {
                    self.anchors.clear();
                    self.nodes = 0;
                    let event = self.next()?;
                    return Ok(Some(self.node(event, 0)?.0));
                }
                _ => {}
            }
        }
    }

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

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node, Error> {
        if depth > DEPTH_LIMIT {
            return Err(self.error(format!("nested more than {DEPTH_LIMIT} levels deep")));
        }
        self.count(1)?;
        let (value, size, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor),
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

    /// In Go each use of an alias is decoded anew, so nobody shares it.
    fn alias(&mut self, anchor: usize) -> Result<Node, Error> {
        let found = self.anchors.get(&anchor).cloned();
        let (value, size) = found.ok_or_else(|| self.error("anchor value contains itself"))?;
        self.count(size)?;
        let copy = value.deep_copy().map_err(|error| self.error(error.to_string()))?;
        Ok((copy, size))
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, Error> {
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

    /// Keys in their order: of two equal ones the last wins, be it a merged one.
    fn mapping(&mut self, depth: usize) -> Result<Node, Error> {
        let (map, mut size) = (Map::new(), 1);
        loop {
            let event = self.next()?;
            let is_merge = match &event {
                Event::MappingEnd => return Ok((Value::Map(map), size)),
                Event::Scalar(text, ScalarStyle::Plain, _, tag) => text == "<<" && tag.is_none(),
                _ => false,
            };
            if is_merge {
                let event = self.next()?;
                let (value, nodes) = self.node(event, depth + 1)?;
                size += nodes + 1;
                self.merge(&map, &value)?;
                continue;
            }
            let key = self.key(event, depth)?;
            let event = self.next()?;
            let (value, nodes) = self.node(event, depth + 1)?;
            size += nodes + 1;
            map.insert(key, value);
        }
    }

    /// What stands behind `<<`: a map, or several of which the first wins.
    fn merge(&self, into: &Map, value: &Value) -> Result<(), Error> {
        let wrong = || self.error("map merge requires map or sequence of maps as the value");
        let add = |map: &Map| map.entries().into_iter().for_each(|(key, value)| into.insert(key, value));
        match value {
            Value::Map(map) => add(map),
            Value::List(list) => {
                for value in list.values().iter().rev() {
                    add(value.as_map().ok_or_else(wrong)?);
                }
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// A key as JSON has it: a string.
    fn key(&mut self, event: Event<'t>, depth: usize) -> Result<Rc<str>, Error> {
        if let Event::Scalar(text, ScalarStyle::Plain, 0, None) = &event {
            self.count(1)?;
            return match resolve(text) {
                Meaning::Bool(value) => Ok(Rc::from(if value { "true" } else { "false" })),
                Meaning::Integer(number) => Ok(Rc::from(number.to_string())),
                Meaning::Float(number) => Ok(float_key(number)),
                Meaning::Null => Err(self.error("null cannot be a key")),
                Meaning::Timestamp | Meaning::Text => Ok(Rc::from(&**text)),
            };
        }
        let (key, _) = self.node(event, depth + 1)?;
        match key {
            Value::String(text) => Ok(text),
            Value::Bool(value) => Ok(Rc::from(if value { "true" } else { "false" })),
            Value::Float(number) if number.fract() == 0.0 => Ok(Rc::from(number.to_string())),
            Value::Float(number) => Ok(float_key(number)),
            other => Err(self.error(format!("a {} cannot be a key", other.kind()))),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Error> {
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        let wrong = |kind: &str| self.error(format!("cannot decode {text:?} as a !!{kind}"));
        match (core, tag) {
            (Some("binary"), _) => crate::encoding::from_base64(text.as_bytes())
                .map(|bytes| Value::string(String::from_utf8_lossy(&bytes)))
                .map_err(|_| self.error("!!binary value contains invalid base64 data")),
            (Some(kind @ ("null" | "bool" | "int" | "float" | "timestamp")), _) => {
                match (kind, resolve(text)) {
                    ("null", Meaning::Null) => Ok(Value::Nil),
                    ("bool", Meaning::Bool(value)) => Ok(Value::Bool(value)),
                    ("int" | "float", Meaning::Integer(number)) => Ok(float(number)),
                    ("float", Meaning::Float(number)) => self.finite(number),
                    ("timestamp", Meaning::Timestamp) => Ok(Value::string(text)),
                    _ => Err(wrong(kind)),
                }
            }
            (None, None) if style == ScalarStyle::Plain => self.plain(text),
            _ => Ok(Value::string(text)),
        }
    }

    fn plain(&self, text: &str) -> Result<Value, Error> {
        match resolve(text) {
            Meaning::Null => Ok(Value::Nil),
            Meaning::Bool(value) => Ok(Value::Bool(value)),
            Meaning::Integer(number) => Ok(float(number)),
            Meaning::Float(number) => self.finite(number),
            Meaning::Timestamp | Meaning::Text => Ok(Value::string(text)),
        }
    }

    /// There is JSON on the way, which has no infinity and no NaN.
    fn finite(&self, number: f64) -> Result<Value, Error> {
        if number.is_finite() {
            Ok(Value::Float(number))
        } else {
            Err(self.error(format!("unsupported value: {number}")))
        }
    }
}

#[allow(clippy::cast_precision_loss)] // JSON's numbers are floats, as in Go.
fn float(number: i128) -> Value {
    Value::Float(number as f64)
}

/// Go takes the shortest form of the number as a 32-bit float.
fn float_key(number: f64) -> Rc<str> {
    #[allow(clippy::cast_possible_truncation)]
    let single = number as f32;
    if single.is_nan() {
        return Rc::from(".nan");
    }
    if single.is_infinite() {
        return Rc::from(if single > 0.0 { ".inf" } else { "-.inf" });
    }
    let short: f64 = single.to_string().parse().unwrap_or(number);
    Rc::from(crate::format::float(short))
}

fn scan_error(error: &ScanError) -> Error {
    Error { line: error.marker().line(), column: error.marker().col() + 1, message: error.info().to_owned() }
}

/// Go's library reads no control characters.
fn check_characters(text: &str) -> Result<(), Error> {
    let is_control = |c: char| {
        matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}'
            | '\u{fffe}' | '\u{ffff}')
    };
    let Some(at) = text.find(is_control) else { return Ok(()) };
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    Err(Error { line, column, message: "control characters are not allowed".to_owned() })
}
