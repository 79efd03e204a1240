//! Reads documents: tokens become values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Error;
use super::scalar::{Meaning, resolve};
use super::scanner::{Scanner, Spanned, Tag, Token};
use crate::value::{List, Map, Value};

/// Nodes of one document, aliases counted as often as they are used; guards against alias bombs.
const NODE_LIMIT: usize = 1_000_000;
/// Deepest nesting that is read.
const DEPTH_LIMIT: usize = 150;

pub(super) struct Reader<'t> {
    scanner: Scanner<'t>,
    anchors: BTreeMap<&'t str, Node>,
    nodes: usize,
    depth: usize,
    at: (usize, usize),
    is_first: bool,
}

/// A value with its number of nodes, which each alias to it counts again.
type Node = (Value, usize);

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self, Error> {
        check_characters(text)?;
        Ok(Self {
            // Only the first mark of a byte order is none of the text.
            scanner: Scanner::new(text.strip_prefix('\u{feff}').unwrap_or(text)),
            anchors: BTreeMap::new(),
            nodes: 0,
            depth: 0,
            at: (1, 1),
            is_first: true,
        })
    }

    /// The next document; `None` at the end.
    pub(super) fn document(&mut self) -> Result<Option<Value>, Error> {
        while !self.is_first && self.peek()? == &Token::DocumentEnd {
            self.take()?;
        }
        if self.peek()? == &Token::StreamEnd {
            return Ok(None);
        }
        let is_implicit = self.is_first && !matches!(self.peek()?, Token::Directive | Token::DocumentStart);
        self.is_first = false;
        self.anchors.clear();
        self.nodes = 0;
        if !is_implicit {
            while self.peek()? == &Token::Directive {
                self.take()?;
            }
            self.expect(&Token::DocumentStart, "did not find expected <document start>")?;
        }
        let is_empty = matches!(
            self.peek()?,
            Token::Directive | Token::DocumentStart | Token::DocumentEnd | Token::StreamEnd
        );
        if is_empty && !is_implicit {
            return Ok(Some(Value::Nil));
        }
        let (value, _) = self.node(Place::Block)?;
        // Go checks whether the document ends here, and finds something that is not a token.
        self.peek()?;
        Ok(Some(value))
    }

    fn peek(&mut self) -> Result<&Token<'t>, Error> {
        let spanned = self.scanner.peek()?;
        self.at = (spanned.line + 1, spanned.column + 1);
        Ok(&spanned.token)
    }

    fn take(&mut self) -> Result<Token<'t>, Error> {
        let Spanned { token, line, column } = self.scanner.take()?;
        self.at = (line + 1, column + 1);
        Ok(token)
    }

    fn expect(&mut self, wanted: &Token<'t>, message: &str) -> Result<(), Error> {
        if self.peek()? != wanted {
            return Err(self.error(message));
        }
        self.take()?;
        Ok(())
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

    /// Reads a node with its anchor and tag.
    fn node(&mut self, place: Place) -> Result<Node, Error> {
        if self.depth >= DEPTH_LIMIT {
            return Err(self.error(format!("nested more than {DEPTH_LIMIT} levels deep")));
        }
        self.depth += 1;
        let node = self.node_within(place, None);
        self.depth -= 1;
        node
    }

    fn node_within(&mut self, place: Place, mut anchor: Option<&'t str>) -> Result<Node, Error> {
        self.count(1)?;
        if let Token::Alias(anchor) = self.peek()? {
            let anchor = *anchor;
            self.take()?;
            return self.alias(anchor);
        }
        let mut tag = None;
        loop {
            match self.peek()? {
                Token::Anchor(name) if anchor.is_none() => anchor = Some(*name),
                Token::Tag(read) if tag.is_none() => tag = Some(*read),
                _ => break,
            }
            self.take()?;
        }
        let (value, size) = self.content(place, tag, anchor.is_some())?;
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok((value, size))
    }

    fn content(&mut self, place: Place, tag: Option<Tag<'t>>, has_anchor: bool) -> Result<Node, Error> {
        let is_block = place != Place::Flow;
        match self.peek()? {
            Token::Scalar { .. } => match self.take()? {
                Token::Scalar { text, is_plain } => Ok((self.scalar(&text, is_plain, tag)?, 1)),
                _ => Err(self.error("did not find expected node content")),
            },
            Token::BlockEntry if place == Place::Indentless => self.block_sequence(false),
            Token::FlowSequenceStart => self.flow_sequence(),
            Token::FlowMappingStart => self.flow_mapping(),
            Token::BlockSequenceStart if is_block => {
                self.take()?;
                self.block_sequence(true)
            }
            Token::BlockMappingStart if is_block => self.block_mapping(),
            _ if has_anchor || tag.is_some() => Ok((self.scalar("", true, tag)?, 1)),
            _ => Err(self.error("did not find expected node content")),
        }
    }

    /// A node, or nil where one of some tokens comes first.
    fn node_unless(&mut self, place: Place, ends: &[Token<'static>]) -> Result<Node, Error> {
        let next = self.peek()?;
        if ends.iter().any(|end| end == next) { Ok((Value::Nil, 1)) } else { self.node(place) }
    }

    /// Entries behind dashes. A sequence that is not indented below its key ends where the next key starts.
    fn block_sequence(&mut self, is_indented: bool) -> Result<Node, Error> {
        let (mut values, mut size) = (Vec::new(), 1);
        while self.peek()? == &Token::BlockEntry {
            self.take()?;
            let (value, nodes) = if is_indented {
                self.node_unless(Place::Block, &[Token::BlockEntry, Token::BlockEnd])?
            } else {
                let ends = [Token::BlockEntry, Token::Key, Token::Value, Token::BlockEnd];
                self.node_unless(Place::Block, &ends)?
            };
            values.push(value);
            size += nodes;
        }
        if is_indented {
            self.expect(&Token::BlockEnd, "did not find expected '-' indicator")?;
        }
        Ok((Value::List(List::new(values)), size))
    }

    fn block_mapping(&mut self) -> Result<Node, Error> {
        const ENDS: [Token<'static>; 3] = [Token::Key, Token::Value, Token::BlockEnd];
        self.take()?;
        let (map, mut size) = (Map::new(), 1);
        loop {
            match self.peek()? {
                Token::Key => drop(self.take()?),
                Token::BlockEnd => break,
                // A colon without a key before it: the key is empty.
                Token::Value => {}
                _ => return Err(self.error("did not find expected key")),
            }
            let key = self.key(Place::Indentless, &ENDS)?;
            let (value, nodes) = if self.peek()? == &Token::Value {
                self.take()?;
                self.node_unless(Place::Indentless, &ENDS)?
            } else {
                (Value::Nil, 1)
            };
            size += nodes + 1;
            self.insert(&map, key, value)?;
        }
        self.take()?;
        Ok((Value::Map(map), size))
    }

    fn flow_sequence(&mut self) -> Result<Node, Error> {
        const ENDS: [Token<'static>; 2] = [Token::FlowEntry, Token::FlowSequenceEnd];
        self.take()?;
        let (mut values, mut size) = (Vec::new(), 1);
        while self.peek()? != &Token::FlowSequenceEnd {
            let (value, nodes) = if self.peek()? == &Token::Key {
                self.take()?;
                // A pair in a sequence is a map of its own.
                let map = Map::new();
                let key = self.key(Place::Flow, &[Token::Value, Token::FlowEntry, Token::FlowSequenceEnd])?;
                let (value, nodes) = self.flow_value(&ENDS)?;
                self.insert(&map, key, value)?;
                (Value::Map(map), nodes + 2)
            } else {
                self.node(Place::Flow)?
            };
            values.push(value);
            size += nodes;
            if self.peek()? != &Token::FlowSequenceEnd {
                self.expect(&Token::FlowEntry, "did not find expected ',' or ']'")?;
            }
        }
        self.take()?;
        Ok((Value::List(List::new(values)), size))
    }

    fn flow_mapping(&mut self) -> Result<Node, Error> {
        const ENDS: [Token<'static>; 2] = [Token::FlowEntry, Token::FlowMappingEnd];
        self.take()?;
        let (map, mut size) = (Map::new(), 1);
        while self.peek()? != &Token::FlowMappingEnd {
            let (key, (value, nodes)) = if self.peek()? == &Token::Key {
                self.take()?;
                let key = self.key(Place::Flow, &[Token::Value, Token::FlowEntry, Token::FlowMappingEnd])?;
                (key, self.flow_value(&ENDS)?)
            } else {
                (self.key(Place::Flow, &[])?, (Value::Nil, 1))
            };
            size += nodes + 1;
            self.insert(&map, key, value)?;
            if self.peek()? != &Token::FlowMappingEnd {
                self.expect(&Token::FlowEntry, "did not find expected ',' or '}'")?;
            }
        }
        self.take()?;
        Ok((Value::Map(map), size))
    }

    /// What follows a key in a flow collection.
    fn flow_value(&mut self, ends: &[Token<'static>]) -> Result<Node, Error> {
        if self.peek()? != &Token::Value {
            return Ok((Value::Nil, 1));
        }
        self.take()?;
        self.node_unless(Place::Flow, ends)
    }

    /// Sets a key; of two equal ones the last wins, even a merged one.
    fn insert(&self, map: &Map, key: Key, value: Value) -> Result<(), Error> {
        match key {
            Key::Merge => self.merge(map, &value)?,
            Key::Text(key) => map.insert(key, value),
        }
        Ok(())
    }

    /// In Go each use of an alias is decoded again, so that it is not shared.
    fn alias(&mut self, anchor: &str) -> Result<Node, Error> {
        let found = self.anchors.get(anchor).cloned();
        let (value, size) = found.ok_or_else(|| {
            self.error(format!("unknown anchor '{anchor}' referenced, or one that contains itself"))
        })?;
        self.count(size)?;
        let copy = value.deep_copy().map_err(|error| self.error(error.to_string()))?;
        Ok((copy, size))
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
    fn key(&mut self, place: Place, ends: &[Token<'static>]) -> Result<Key, Error> {
        let anchor = match self.peek()? {
            Token::Anchor(name) => Some(*name),
            _ => None,
        };
        if anchor.is_some() {
            self.take()?;
        }
        if let Token::Scalar { text, is_plain: true } = self.peek()? {
            let text: Cow<'t, str> = text.clone();
            self.take()?;
            self.count(1)?;
            if let Some(anchor) = anchor {
                self.anchors.insert(anchor, (self.plain(&text)?, 1));
            }
            return match resolve(&text) {
                Meaning::Bool(value) => Ok(Key::Text(Rc::from(if value { "true" } else { "false" }))),
                Meaning::Integer(number) if i64::try_from(number).is_err() => {
                    Err(self.error("unsupported map key"))
                }
                Meaning::Integer(number) => Ok(Key::Text(Rc::from(number.to_string()))),
                Meaning::Float(number) => Ok(Key::Text(float_key(number))),
                Meaning::Null => Err(self.error("null cannot be a key")),
                Meaning::Timestamp | Meaning::Text if text == "<<" => Ok(Key::Merge),
                Meaning::Timestamp | Meaning::Text => Ok(Key::Text(Rc::from(&*text))),
            };
        }
        let (key, _) = match anchor {
            Some(anchor) => self.node_within(place, Some(anchor))?,
            None => self.node_unless(place, ends)?,
        };
        match key {
            Value::String(text) => Ok(Key::Text(text)),
            Value::Bool(value) => Ok(Key::Text(Rc::from(if value { "true" } else { "false" }))),
            Value::Float(number) if number.fract() == 0.0 => Ok(Key::Text(Rc::from(number.to_string()))),
            Value::Float(number) => Ok(Key::Text(float_key(number))),
            other => Err(self.error(format!("a {} cannot be a key", other.kind()))),
        }
    }

    fn scalar(&self, text: &str, is_plain: bool, tag: Option<Tag<'t>>) -> Result<Value, Error> {
        let core = match tag {
            Some(Tag::Core(name)) => Some(name),
            _ => None,
        };
        let wrong = |kind: &str| self.error(format!("cannot decode {text:?} as a !!{kind}"));
        match (core, tag) {
            (Some("binary"), _) => crate::encoding::from_base64(text.as_bytes())
                .map(|bytes| Value::string(crate::encoding::lossy(&bytes)))
                .map_err(|_| self.error("!!binary value contains invalid base64 data")),
            (Some(kind @ ("null" | "bool" | "int" | "float" | "timestamp")), _) => {
                match (kind, resolve(text)) {
                    ("null", Meaning::Null) => Ok(Value::Nil),
                    ("bool", Meaning::Bool(value)) => Ok(Value::Bool(value)),
                    ("float", Meaning::Integer(number)) if i64::try_from(number).is_err() => Err(wrong(kind)),
                    ("int" | "float", Meaning::Integer(number)) => Ok(float(number)),
                    ("float", Meaning::Float(number)) => self.finite(number),
                    ("timestamp", Meaning::Timestamp) => Ok(Value::string(text)),
                    _ => Err(wrong(kind)),
                }
            }
            (None, None) if is_plain => self.plain(text),
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

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Block,
    /// In a block mapping, where a sequence need not be indented.
    Indentless,
    Flow,
}

/// A key of a mapping.
enum Key {
    Text(Rc<str>),
    /// `<<`
    Merge,
}

/// Go's library reads no control characters.
fn check_characters(text: &str) -> Result<(), Error> {
    // Most texts are plain, which is soon seen.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t' | b'\r')) {
        return Ok(());
    }
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
