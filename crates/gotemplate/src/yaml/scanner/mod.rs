//! Splits a text into the tokens of YAML, by the rules of libyaml, of which Go's library is a translation.
//!
//! Whether a scalar is a key shows only at the colon behind it. Until then it is a possible key: the scanner remembers where
//! it stood, and inserts the tokens of a key, and of a mapping that starts there, when the colon comes.

mod keys;
mod scalars;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use super::Error;
use keys::Level;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'t> {
    StreamEnd,
    /// `%YAML` and `%TAG`
    Directive,
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(&'t str),
    Anchor(&'t str),
    Tag(Tag<'t>),
    Scalar {
        text: Cow<'t, str>,
        is_plain: bool,
    },
}

/// A tag, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag<'t> {
    /// `!!name`
    Core(&'t str),
    /// Any other, which makes a scalar a text.
    Local,
}

/// A token with its place: line and column from 0.
#[derive(Debug, Clone)]
pub(super) struct Spanned<'t> {
    pub token: Token<'t>,
    pub line: usize,
    pub column: usize,
}

pub(super) struct Scanner<'t> {
    source: &'t str,
    /// In bytes.
    at: usize,
    /// In characters.
    index: usize,
    line: usize,
    column: usize,
    flow_level: usize,
    /// The column of the innermost block collection; -1 outside of any.
    indent: isize,
    indents: Vec<isize>,
    key_allowed: bool,
    /// One for each flow level, and one for the block level.
    levels: Vec<Level>,
    /// The levels of possible keys, by the token that they would start with. An empty collection is none any more for
    /// Go's library: what stands behind `{}` cannot make a key of it.
    awaited: BTreeMap<usize, usize>,
    tokens: VecDeque<Spanned<'t>>,
    /// Tokens that were taken.
    taken: usize,
    has_ended: bool,
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Whether a word ends here.
fn ends_word(c: Option<char>) -> bool {
    c.is_none_or(|c| is_blank(c) || is_break(c))
}

impl<'t> Scanner<'t> {
    pub(super) fn new(source: &'t str) -> Self {
        Self {
            source,
            at: 0,
            index: 0,
            line: 0,
            column: 0,
            flow_level: 0,
            indent: -1,
            indents: Vec::new(),
            key_allowed: true,
            levels: vec![Level::default()],
            awaited: BTreeMap::new(),
            tokens: VecDeque::new(),
            taken: 0,
            has_ended: false,
        }
    }

    /// The next token, which stays the next one.
    pub(super) fn peek(&mut self) -> Result<&Spanned<'t>, Error> {
        while !self.has_ended && self.needs_more()? {
            self.fetch()?;
        }
        if self.tokens.is_empty() {
            self.push(Token::StreamEnd);
        }
        Ok(&self.tokens[0])
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Result<Spanned<'t>, Error> {
        self.peek()?;
        self.taken += 1;
        match self.tokens.pop_front() {
            Some(token) => Ok(token),
            None => Err(self.error("unexpected end")),
        }
    }

    fn error(&self, message: &str) -> Error {
        Error { line: self.line + 1, column: self.column + 1, message: message.to_owned() }
    }

    fn rest(&self) -> &'t str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn char(&self) -> Option<char> {
        match self.source.as_bytes().get(self.at) {
            Some(byte) if byte.is_ascii() => Some(char::from(*byte)),
            Some(_) => self.rest().chars().next(),
            None => None,
        }
    }

    fn second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn skip(&mut self) {
        if let Some(c) = self.char() {
            self.at += c.len_utf8();
            self.index += 1;
            self.column += 1;
        }
    }

    /// Skips a line break; what it stands for in a text.
    fn skip_break(&mut self) -> char {
        let c = self.char().unwrap_or('\n');
        let length = if self.rest().starts_with("\r\n") { 2 } else { c.len_utf8() };
        self.at += length;
        self.index += 1;
        self.line += 1;
        self.column = 0;
        if matches!(c, '\u{2028}' | '\u{2029}') { c } else { '\n' }
    }

    fn is_at_break(&self) -> bool {
        self.char().is_some_and(is_break)
    }

    fn is_at_blank(&self) -> bool {
        self.char().is_some_and(is_blank)
    }

    fn push(&mut self, token: Token<'t>) {
        self.tokens.push_back(Spanned { token, line: self.line, column: self.column });
    }

    fn is_indent(&self, column: usize) -> bool {
        usize::try_from(self.indent).is_ok_and(|indent| indent == column)
    }

    /// Starts a block collection at a column, if it is deeper than the one around; its token goes to a place in the queue.
    fn roll_indent(&mut self, column: usize, place: Option<usize>, token: Token<'t>) {
        let wanted = isize::try_from(column).unwrap_or(isize::MAX);
        if self.flow_level > 0 || self.indent >= wanted {
            return;
        }
        self.indents.push(self.indent);
        self.indent = wanted;
        let spanned = Spanned { token, line: self.line, column };
        let place = place.unwrap_or(self.tokens.len());
        self.tokens.insert(place.min(self.tokens.len()), spanned);
    }

    /// Ends the block collections that are deeper than a column.
    fn unroll_indent(&mut self, column: isize) {
        while self.flow_level == 0 && self.indent > column {
            self.push(Token::BlockEnd);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn fetch(&mut self) -> Result<(), Error> {
        self.skip_to_token();
        self.unroll_indent(isize::try_from(self.column).unwrap_or(isize::MAX));
        let Some(c) = self.char() else { return self.fetch_end() };
        if self.column == 0 && c == '%' {
            return self.fetch_directive();
        }
        if let Some(token) = self.document_indicator() {
            self.unroll_indent(-1);
            self.remove_key()?;
            self.key_allowed = false;
            self.push(token);
            (0..3).for_each(|_| self.skip());
            return Ok(());
        }
        let ends = ends_word(self.second());
        let in_flow = self.flow_level > 0;
        match c {
            '[' => self.fetch_flow_start(Token::FlowSequenceStart),
            '{' => self.fetch_flow_start(Token::FlowMappingStart),
            ']' => self.fetch_flow_end(Token::FlowSequenceEnd),
            '}' => self.fetch_flow_end(Token::FlowMappingEnd),
            ',' => self.fetch_flow_entry(),
            '-' if ends => self.fetch_block_entry(),
            '?' if in_flow || ends => self.fetch_key(),
            ':' if in_flow || ends => self.fetch_value(),
            '*' | '&' => self.fetch_anchor(c),
            '!' => self.fetch_tag(),
            '|' | '>' if !in_flow => self.fetch_block_scalar(c == '|'),
            '\'' | '"' => self.fetch_quoted(c),
            '-' | '?' | ':' if !ends && (c == '-' || !in_flow) => self.fetch_plain(),
            '-' | '?' | ':' | '#' | '|' | '>' | '%' | '@' | '`' | ' ' | '\t' => {
                Err(self.error("found character that cannot start any token"))
            }
            _ => self.fetch_plain(),
        }
    }

    /// Skips white space, comments and line breaks. Behind a line break of a block, a key may start.
    fn skip_to_token(&mut self) {
        loop {
            while self.char() == Some(' ')
                || (self.char() == Some('\t') && (self.flow_level > 0 || !self.key_allowed))
            {
                self.skip();
            }
            if self.char() == Some('#') {
                self.skip_line();
            }
            if !self.is_at_break() {
                return;
            }
            self.skip_break();
            if self.flow_level == 0 {
                self.key_allowed = true;
            }
        }
    }

    /// Skips the rest of a line.
    fn skip_line(&mut self) {
        while self.char().is_some_and(|c| !is_break(c)) {
            self.skip();
        }
    }

    fn document_indicator(&self) -> Option<Token<'t>> {
        if self.column > 0 {
            return None;
        }
        let rest = self.rest();
        let token = match rest.get(..3)? {
            "---" => Token::DocumentStart,
            "..." => Token::DocumentEnd,
            _ => return None,
        };
        ends_word(rest.chars().nth(3)).then_some(token)
    }

    fn fetch_end(&mut self) -> Result<(), Error> {
        self.unroll_indent(-1);
        self.remove_key()?;
        self.key_allowed = false;
        self.push(Token::StreamEnd);
        self.has_ended = true;
        Ok(())
    }

    fn fetch_directive(&mut self) -> Result<(), Error> {
        self.unroll_indent(-1);
        self.remove_key()?;
        self.key_allowed = false;
        let line = self.rest().split(is_break).next().unwrap_or_default();
        let words: Vec<&str> = line.split(is_blank).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            ["%YAML", "1.1"] => {}
            ["%YAML", "1.1", comment, ..] if comment.starts_with('#') => {}
            ["%YAML", ..] => return Err(self.error("found incompatible YAML document")),
            ["%TAG", handle, _] if handle.starts_with('!') => {}
            _ => return Err(self.error("found unknown directive name")),
        }
        self.push(Token::Directive);
        self.skip_line();
        Ok(())
    }

    fn fetch_flow_start(&mut self, token: Token<'t>) -> Result<(), Error> {
        self.save_key()?;
        self.levels.push(Level { key: None, number: self.taken + self.tokens.len() });
        self.flow_level += 1;
        self.key_allowed = true;
        self.push(token);
        self.skip();
        Ok(())
    }

    fn fetch_flow_end(&mut self, token: Token<'t>) -> Result<(), Error> {
        self.remove_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            let ended = self.levels.pop().unwrap_or_default();
            self.awaited.remove(&ended.number);
        }
        self.key_allowed = false;
        self.push(token);
        self.skip();
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Result<(), Error> {
        self.remove_key()?;
        self.key_allowed = true;
        self.push(Token::FlowEntry);
        self.skip();
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), Error> {
        if self.flow_level == 0 {
            if !self.key_allowed {
                return Err(self.error("block sequence entries are not allowed in this context"));
            }
            self.roll_indent(self.column, None, Token::BlockSequenceStart);
        }
        self.remove_key()?;
        self.key_allowed = true;
        self.push(Token::BlockEntry);
        self.skip();
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), Error> {
        if self.flow_level == 0 {
            if !self.key_allowed {
                return Err(self.error("mapping keys are not allowed in this context"));
            }
            self.roll_indent(self.column, None, Token::BlockMappingStart);
        }
        self.remove_key()?;
        self.key_allowed = self.flow_level == 0;
        self.push(Token::Key);
        self.skip();
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), Error> {
        let level = self.levels.len() - 1;
        let possible = if self.key_is_possible(level)? { self.levels[level].key.take() } else { None };
        if let Some(key) = possible {
            self.awaited.remove(&key.number);
            // The token may be gone, see `awaited`.
            let place = key.number.checked_sub(self.taken);
            let spanned = Spanned { token: Token::Key, line: key.line, column: key.column };
            self.tokens.insert(place.unwrap_or(usize::MAX).min(self.tokens.len()), spanned);
            self.roll_indent(key.column, place, Token::BlockMappingStart);
            self.key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.key_allowed {
                    return Err(self.error("mapping values are not allowed in this context"));
                }
                self.roll_indent(self.column, None, Token::BlockMappingStart);
            }
            self.key_allowed = self.flow_level == 0;
        }
        self.push(Token::Value);
        self.skip();
        Ok(())
    }

    fn fetch_anchor(&mut self, sign: char) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name = self.rest().get(1..).unwrap_or_default();
        let name = name.get(..name.find(|c| !is_name(c)).unwrap_or(name.len())).unwrap_or_default();
        let behind = self.rest().get(1 + name.len()..).and_then(|rest| rest.chars().next());
        let ends = ends_word(behind) || behind.is_some_and(|c| "?:,]}%@`".contains(c));
        if name.is_empty() || !ends {
            return Err(self.error("did not find expected alphabetic or numeric character"));
        }
        self.push(if sign == '*' { Token::Alias(name) } else { Token::Anchor(name) });
        (0..=name.len()).for_each(|_| self.skip());
        Ok(())
    }

    fn fetch_tag(&mut self) -> Result<(), Error> {
        const CORE: &str = "tag:yaml.org,2002:";
        self.save_key()?;
        self.key_allowed = false;
        let rest = self.rest();
        let word =
            rest.get(..rest.find(|c| is_blank(c) || is_break(c)).unwrap_or(rest.len())).unwrap_or_default();
        let is_uri = |c: char| c.is_ascii_alphanumeric() || "-_;/?:@&=+$,.!~*'()[]%#".contains(c);
        let (tag, inner) = if let Some(inner) = word.strip_prefix("!<") {
            let uri = inner.strip_suffix('>').ok_or_else(|| self.error("did not find the expected '>'"))?;
            (uri.strip_prefix(CORE).map_or(Tag::Local, Tag::Core), uri)
        } else if let Some(suffix) = word.strip_prefix("!!") {
            (Tag::Core(suffix), suffix)
        } else {
            (Tag::Local, word.get(1..).unwrap_or_default())
        };
        if !inner.chars().all(is_uri) || (inner.is_empty() && word != "!") {
            return Err(self.error("did not find expected tag URI"));
        }
        self.push(Token::Tag(tag));
        word.chars().for_each(|_| self.skip());
        Ok(())
    }
}
