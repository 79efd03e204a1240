//! Splits a template into text and actions, and actions into tokens.

use crate::error::Error;

/// A token with its piece of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// `{{`, with its trim marker.
    Open,
    /// `}}`, likewise.
    Close,
    Identifier(&'s str),
    /// `.name`, without the dot
    Field(&'s str),
    /// `$name`, without the dollar
    Variable(&'s str),
    Dot,
    /// Between double quotes.
    Quoted(&'s str),
    /// Between back quotes.
    Raw(&'s str),
    Number(&'s str),
    /// Between single quotes.
    Character(&'s str),
    Pipe,
    LeftParen,
    RightParen,
    Declare,
    Assign,
    /// White space between operands; it separates arguments.
    Space,
    /// A character that has no meaning but for the comma.
    Other(char),
    Text(&'s str),
    End,
}

/// A token with its byte range in the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spanned<'s> {
    pub token: Token<'s>,
    pub offset: usize,
    pub end: usize,
}

/// All tokens of a source, the last one being [`Token::End`].
pub(super) fn tokenize<'s>(file: &'s str, source: &'s str) -> Result<Vec<Spanned<'s>>, Error> {
    let mut lexer = Lexer { file, source, at: 0, parentheses: 0, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    file: &'s str,
    source: &'s str,
    at: usize,
    parentheses: usize,
    tokens: Vec<Spanned<'s>>,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// What ends a text or an action: its length, and whether white space around it goes.
struct Delimiter {
    length: usize,
    trims: bool,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn error(&self, offset: usize, message: impl Into<String>) -> Error {
        Error::at(self.file, self.source, offset, "", message)
    }

    fn push(&mut self, token: Token<'s>, offset: usize) {
        self.tokens.push(Spanned { token, offset, end: self.at });
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut trims_start = false;
        loop {
            let rest = self.rest();
            let Some(length) = rest.find("{{") else {
                self.text(rest, trims_start, false);
                self.at = self.source.len();
                self.push(Token::End, self.at);
                return Ok(());
            };
            let opened = self.at + length;
            let inside = rest.get(length + 2..).unwrap_or_default();
            let trims_end = inside.starts_with('-') && inside[1..].starts_with(is_blank);
            self.text(rest.get(..length).unwrap_or_default(), trims_start, trims_end);
            // The blank behind a trim marker belongs to the marker.
            self.at = opened + if trims_end { 4 } else { 2 };
            trims_start = self.action(opened)?;
        }
    }

    fn text(&mut self, text: &'s str, trims_start: bool, trims_end: bool) {
        let text = if trims_start { text.trim_start_matches(is_blank) } else { text };
        let text = if trims_end { text.trim_end_matches(is_blank) } else { text };
        if !text.is_empty() {
            self.push(Token::Text(text), self.at);
        }
    }

    /// Reads to the closing delimiter; returns whether it trims the text behind it.
    fn action(&mut self, opened: usize) -> Result<bool, Error> {
        if self.rest().starts_with("/*") {
            return self.comment(opened);
        }
        self.push(Token::Open, opened);
        self.parentheses = 0;
        loop {
            if let Some(close) = self.close() {
                if self.parentheses > 0 {
                    return Err(self.error(self.at, "unclosed left paren"));
                }
                let offset = self.at;
                self.at += close.length;
                self.push(Token::Close, offset);
                return Ok(close.trims);
            }
            if self.rest().is_empty() {
                return Err(self.error(opened, "unclosed action"));
            }
            self.token(opened)?;
        }
    }

    /// A comment fills its action.
    fn comment(&mut self, opened: usize) -> Result<bool, Error> {
        let length = self.rest().find("*/").ok_or_else(|| self.error(opened, "unclosed comment"))?;
        self.at += length + 2;
        let close = self.close();
        let close = close.ok_or_else(|| self.error(self.at, "comment ends before closing delimiter"))?;
        self.at += close.length;
        Ok(close.trims)
    }

    /// The closing delimiter, if it is next.
    fn close(&self) -> Option<Delimiter> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some(Delimiter { length: 2, trims: false });
        }
        let trims = rest.starts_with(is_blank) && rest[1..].starts_with("-}}");
        trims.then_some(Delimiter { length: 4, trims })
    }

    fn token(&mut self, opened: usize) -> Result<(), Error> {
        let offset = self.at;
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return Ok(()) };
        let (token, length) = match c {
            c if is_blank(c) => (Token::Space, self.blanks()),
            '|' => (Token::Pipe, 1),
            '(' => (Token::LeftParen, 1),
            ')' => (Token::RightParen, 1),
            '=' => (Token::Assign, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            ':' => return Err(self.error(offset, "expected :=")),
            '"' => self.quoted('"').ok_or_else(|| self.error(opened, "unterminated quoted string"))?,
            '\'' => self.quoted('\'').ok_or_else(|| self.error(opened, "unterminated character constant"))?,
            '`' => self.raw().ok_or_else(|| self.error(opened, "unterminated raw quoted string"))?,
            '$' => self.name(1)?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.name(1)?,
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            c if is_name(c) => self.name(0)?,
            c if c == ' ' || c.is_ascii_graphic() => (Token::Other(c), 1),
            c => return Err(self.error(offset, format!("unrecognized character in action: {c:?}"))),
        };
        match token {
            Token::LeftParen => self.parentheses += 1,
            Token::RightParen => {
                let left = self.parentheses.checked_sub(1);
                self.parentheses = left.ok_or_else(|| self.error(offset, "unexpected right paren"))?;
            }
            _ => {}
        }
        self.at += length;
        self.push(token, offset);
        Ok(())
    }

    /// The blanks that come next; the last one may belong to the closing delimiter.
    fn blanks(&self) -> usize {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(is_blank).len();
        if length > 1 && rest.get(length..).is_some_and(|rest| rest.starts_with("-}}")) {
            length - 1
        } else {
            length
        }
    }

    /// A name after `skip` characters that determine its kind; it must end where an operand may end.
    fn name(&self, skip: usize) -> Result<(Token<'s>, usize), Error> {
        let rest = self.rest();
        let name = &rest[skip..];
        let length = name.find(|c| !is_name(c)).unwrap_or(name.len());
        let (name, behind) = name.split_at(length);
        let ends = behind.is_empty()
            || behind.starts_with(is_blank)
            || behind.starts_with(['.', ',', '|', ':', ')', '('])
            || behind.starts_with("}}");
        if !ends {
            let c = behind.chars().next().unwrap_or_default();
            return Err(self.error(self.at + skip + length, format!("bad character {c:?}")));
        }
        let token = match rest.chars().next() {
            Some('$') => Token::Variable(name),
            Some('.') if name.is_empty() => Token::Dot,
            Some('.') => Token::Field(name),
            _ => Token::Identifier(name),
        };
        Ok((token, skip + length))
    }

    fn number(&self) -> Result<(Token<'s>, usize), Error> {
        let rest = self.rest();
        let mut scan = Scan { bytes: rest.as_bytes(), at: 0 };
        let is_name_next = |at: usize| rest.get(at..).is_some_and(|behind| behind.starts_with(is_name));
        scan.number();
        let mut is_fine = !is_name_next(scan.at);
        // A sign that follows makes it a complex number, such as `1+2i`.
        if is_fine && matches!(rest.as_bytes().get(scan.at), Some(b'+' | b'-')) {
            scan.number();
            is_fine = !is_name_next(scan.at) && rest.get(..scan.at).is_some_and(|text| text.ends_with('i'));
        }
        let text = rest.get(..scan.at).unwrap_or_default();
        if !is_fine {
            return Err(self.error(self.at, format!("bad number syntax: {text:?}")));
        }
        Ok((Token::Number(text), scan.at))
    }

    /// A text in quotes on one line, escapes unresolved.
    fn quoted(&self, quote: char) -> Option<(Token<'s>, usize)> {
        let rest = self.rest();
        let mut escaped = false;
        for (index, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => return None,
                '\\' if !escaped => escaped = true,
                c if c == quote && !escaped => {
                    let inner = rest.get(1..index)?;
                    let token = if quote == '"' { Token::Quoted(inner) } else { Token::Character(inner) };
                    return Some((token, index + 1));
                }
                _ => escaped = false,
            }
        }
        None
    }

    fn raw(&self) -> Option<(Token<'s>, usize)> {
        let rest = self.rest();
        let length = rest.get(1..)?.find('`')?;
        Some((Token::Raw(rest.get(1..=length)?), length + 2))
    }
}

/// Finds the end of a number.
struct Scan<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Scan<'_> {
    fn accept(&mut self, wanted: &[u8]) -> bool {
        let accepted = self.bytes.get(self.at).is_some_and(|byte| wanted.contains(byte));
        self.at += usize::from(accepted);
        accepted
    }

    fn run(&mut self, wanted: &[u8]) {
        while self.accept(wanted) {}
    }

    fn number(&mut self) {
        const DECIMAL: &[u8] = b"0123456789_";
        const HEXADECIMAL: &[u8] = b"0123456789abcdefABCDEF_";
        self.accept(b"+-");
        let mut digits = DECIMAL;
        if self.accept(b"0") {
            if self.accept(b"xX") {
                digits = HEXADECIMAL;
            } else if self.accept(b"oO") {
                digits = b"01234567_";
            } else if self.accept(b"bB") {
                digits = b"01_";
            }
        }
        self.run(digits);
        if self.accept(b".") {
            self.run(digits);
        }
        let has_exponent =
            (digits == DECIMAL && self.accept(b"eE")) || (digits == HEXADECIMAL && self.accept(b"pP"));
        if has_exponent {
            self.accept(b"+-");
            self.run(DECIMAL);
        }
        self.accept(b"i");
    }
}
