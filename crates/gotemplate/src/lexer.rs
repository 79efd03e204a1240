//! Splits a template into text and actions, and actions into tokens, by the rules of Go's `text/template/parse`.

use crate::error::Error;

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// `{{`, already stripped of its trim marker.
    Open,
    /// `}}`, likewise.
    Close,
    Identifier(String),
    /// `.name`
    Field(String),
    /// `$name`, without the dollar
    Variable(String),
    Dot,
    String(String),
    Number(String),
    Char(char),
    Pipe,
    Comma,
    LeftParen,
    RightParen,
    Declare,
    Assign,
    /// White space between operands; it separates arguments.
    Space,
    Text(String),
    End,
}

/// A token with its byte range in the source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub token: Token,
    pub offset: usize,
    pub end: usize,
}

pub(crate) struct Lexer<'s> {
    file: &'s str,
    source: &'s str,
    at: usize,
    tokens: Vec<Spanned>,
}

/// All tokens of a source, the last one being [`Token::End`].
pub(crate) fn tokenize(file: &str, source: &str) -> Result<Vec<Spanned>, Error> {
    let mut lexer = Lexer { file, source, at: 0, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

fn is_trimmed(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, offset: usize, message: impl Into<String>) -> Error {
        Error::at(self.file, self.source, offset, "", message)
    }

    fn push(&mut self, token: Token, offset: usize) {
        self.tokens.push(Spanned { token, offset, end: self.at });
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut trim_next = false;
        loop {
            let Some(length) = self.rest().find("{{") else {
                let text = self.rest().to_owned();
                self.text(&text, trim_next, false);
                self.at = self.source.len();
                self.push(Token::End, self.at);
                return Ok(());
            };
            let text = self.rest().get(..length).unwrap_or_default().to_owned();
            let opens_at = self.at + length;
            self.at = opens_at + 2;
            let trims = self.rest().starts_with('-') && self.rest().chars().nth(1).is_some_and(is_trimmed);
            if trims {
                self.at += 1;
            }
            self.text(&text, trim_next, trims);
            trim_next = self.action(opens_at)?;
        }
    }

    fn text(&mut self, text: &str, trim_start: bool, trim_end: bool) {
        let text = if trim_start { text.trim_start_matches(is_trimmed) } else { text };
        let text = if trim_end { text.trim_end_matches(is_trimmed) } else { text };
        if !text.is_empty() {
            self.push(Token::Text(text.to_owned()), self.at);
        }
    }

    /// Reads to the closing delimiter; returns whether it trims the text behind it.
    fn action(&mut self, opens_at: usize) -> Result<bool, Error> {
        if let Some(trims) = self.comment(opens_at)? {
            return Ok(trims);
        }
        self.push(Token::Open, opens_at);
        loop {
            if let Some(trims) = self.close() {
                return Ok(trims);
            }
            if self.rest().is_empty() {
                return Err(self.error(opens_at, "unclosed action"));
            }
            self.token(opens_at)?;
        }
    }

    /// A comment must fill its action.
    fn comment(&mut self, opens_at: usize) -> Result<Option<bool>, Error> {
        let rest = self.rest();
        let skipped = rest.len() - rest.trim_start_matches(is_trimmed).len();
        // Go allows white space before a comment only behind a trim marker.
        let trimmed_open = self.source.get(self.at - 1..self.at) == Some("-");
        let start = if trimmed_open { skipped } else { 0 };
        if !rest.get(start..).is_some_and(|rest| rest.starts_with("/*")) {
            return Ok(None);
        }
        let Some(end) = rest.find("*/") else { return Err(self.error(opens_at, "unclosed comment")) };
        self.at += end + 2;
        let position = self.at;
        match self.close() {
            Some(trims) => {
                self.tokens.pop();
                Ok(Some(trims))
            }
            None => Err(self.error(position, "comment ends before closing delimiter")),
        }
    }

    /// Takes the closing delimiter, if it is next; returns whether it trims.
    fn close(&mut self) -> Option<bool> {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start_matches(is_trimmed).len();
        let trims = spaces > 0 && rest.get(spaces..).is_some_and(|rest| rest.starts_with("-}}"));
        let plain = rest.starts_with("}}");
        if !trims && !plain {
            return None;
        }
        let offset = self.at;
        self.at += if trims { spaces + 3 } else { 2 };
        self.push(Token::Close, offset);
        Some(trims)
    }

    fn token(&mut self, opens_at: usize) -> Result<(), Error> {
        let offset = self.at;
        let Some(c) = self.peek() else { return Ok(()) };
        let single = |token| (token, c.len_utf8());
        let (token, length) = match c {
            c if is_trimmed(c) => {
                let rest = self.rest();
                (Token::Space, rest.len() - rest.trim_start_matches(is_trimmed).len())
            }
            '|' => single(Token::Pipe),
            ',' => single(Token::Comma),
            '(' => single(Token::LeftParen),
            ')' => single(Token::RightParen),
            '=' => single(Token::Assign),
            ':' if self.rest().starts_with(":=") => (Token::Declare, 2),
            '"' => self.quoted(opens_at)?,
            '`' => self.raw(opens_at)?,
            '\'' => self.character(opens_at)?,
            '$' => self.named(1, Token::Variable),
            '.' if self.rest().chars().nth(1).is_some_and(is_name)
                && !self.rest().chars().nth(1).is_some_and(|c| c.is_ascii_digit()) =>
            {
                self.named(1, Token::Field)
            }
            '.' if self.rest().chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '.' => single(Token::Dot),
            '+' | '-' | '0'..='9' => self.number(),
            c if is_name(c) => self.named(0, Token::Identifier),
            c => return Err(self.error(offset, format!("unexpected character {c:?} in action"))),
        };
        self.at += length;
        self.push(token, offset);
        Ok(())
    }

    fn named(&self, skip: usize, token: fn(String) -> Token) -> (Token, usize) {
        let name: String = self.rest().chars().skip(skip).take_while(|c| is_name(*c)).collect();
        let length = skip + name.len();
        (token(name), length)
    }

    fn number(&self) -> (Token, usize) {
        let mut text = String::new();
        for c in self.rest().chars() {
            let sign_of_exponent =
                matches!(c, '+' | '-') && text.ends_with(['e', 'E']) && !text.starts_with("0x");
            if c.is_ascii_alphanumeric()
                || c == '.'
                || c == '_'
                || (text.is_empty() && matches!(c, '+' | '-'))
                || sign_of_exponent
            {
                text.push(c);
            } else {
                break;
            }
        }
        let length = text.len();
        (Token::Number(text), length)
    }

    fn quoted(&self, opens_at: usize) -> Result<(Token, usize), Error> {
        let mut escaped = false;
        for (index, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                '\\' if !escaped => escaped = true,
                '"' if !escaped => {
                    let inner = self.rest().get(1..index).unwrap_or_default();
                    let text =
                        unquote(inner).ok_or_else(|| self.error(self.at, "invalid escape in string"))?;
                    return Ok((Token::String(text), index + 1));
                }
                _ => escaped = false,
            }
        }
        Err(self.error(opens_at, "unterminated quoted string"))
    }

    fn raw(&self, opens_at: usize) -> Result<(Token, usize), Error> {
        let end = self.rest().get(1..).and_then(|rest| rest.find('`'));
        let end = end.ok_or_else(|| self.error(opens_at, "unterminated raw quoted string"))?;
        // Go drops carriage returns from raw strings.
        let text = self.rest().get(1..=end).unwrap_or_default().replace('\r', "");
        Ok((Token::String(text), end + 2))
    }

    fn character(&self, opens_at: usize) -> Result<(Token, usize), Error> {
        let unterminated = || self.error(opens_at, "unterminated character constant");
        let rest = self.rest().get(1..).unwrap_or_default();
        let skip = usize::from(rest.starts_with('\\')) + 1;
        let end = rest.char_indices().skip(skip).find(|(_, c)| *c == '\'').map(|(index, _)| index);
        let end = end.ok_or_else(unterminated)?;
        let text = unquote(rest.get(..end).unwrap_or_default()).ok_or_else(unterminated)?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok((Token::Char(c), end + 2)),
            _ => Err(unterminated()),
        }
    }
}

/// Resolves Go's escapes.
fn unquote(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        let escape = chars.next()?;
        plain.push(match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '"' | '\'' => escape,
            'x' => code(&mut chars, None, 2, 16)?,
            'u' => code(&mut chars, None, 4, 16)?,
            'U' => code(&mut chars, None, 8, 16)?,
            '0'..='7' => code(&mut chars, Some(escape), 2, 8)?,
            _ => return None,
        });
    }
    Some(plain)
}

/// The character of an escape with exactly `count` digits, after a first one that was read already.
fn code(chars: &mut std::str::Chars<'_>, first: Option<char>, count: usize, radix: u32) -> Option<char> {
    let read: String = chars.by_ref().take(count).collect();
    let digits: String = first.into_iter().chain(read.chars()).collect();
    (read.chars().count() == count).then_some(())?;
    char::from_u32(u32::from_str_radix(&digits, radix).ok()?)
}
