//! The texts of scalars: their lines are folded, their escapes resolved.

use super::{Cow, Error, Scanner, Spanned, Token, ends_word, is_blank, is_break};

/// White space and line breaks between two words of a scalar.
#[derive(Default)]
struct Gap {
    blanks: String,
    first_break: Option<char>,
    breaks: String,
}

impl Gap {
    fn is_empty(&self) -> bool {
        self.blanks.is_empty() && self.first_break.is_none()
    }

    /// What the gap is in the text: blanks stay, one line break is a blank, of several the first goes.
    fn fold(&mut self, text: &mut String) {
        match self.first_break.take() {
            None => text.push_str(&self.blanks),
            Some('\n') if self.breaks.is_empty() => text.push(' '),
            Some('\n') => text.push_str(&self.breaks),
            Some(other) => {
                text.push(other);
                text.push_str(&self.breaks);
            }
        }
        self.blanks.clear();
        self.breaks.clear();
    }
}

impl<'t> Scanner<'t> {
    fn scalar(&self, text: Cow<'t, str>, is_plain: bool, line: usize, column: usize) -> Spanned<'t> {
        debug_assert!(line <= self.line);
        Spanned { token: Token::Scalar { text, is_plain }, line, column }
    }

    /// Reads blanks and line breaks into a gap.
    fn gap(&mut self, gap: &mut Gap, least_column: usize, tabs_are_blanks: bool) -> Result<(), Error> {
        loop {
            match self.char() {
                Some(c) if is_blank(c) => {
                    let starts_line = gap.first_break.is_some();
                    if starts_line && c == '\t' && !tabs_are_blanks && self.column < least_column {
                        return Err(self.error("found a tab character that violates indentation"));
                    }
                    if !starts_line {
                        gap.blanks.push(c);
                    }
                    self.skip();
                }
                Some(c) if is_break(c) => {
                    let c = self.skip_break();
                    if gap.first_break.is_none() {
                        gap.blanks.clear();
                        gap.first_break = Some(c);
                    } else {
                        gap.breaks.push(c);
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    pub(super) fn fetch_plain(&mut self) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        let (start, line, column) = (self.at, self.line, self.column);
        let least_column = usize::try_from(self.indent + 1).unwrap_or_default();
        let mut end = start;
        // Only a text of several lines differs from what stands in the source.
        let mut folded: Option<String> = None;
        let mut gap = Gap::default();
        while self.document_indicator().is_none() && self.char() != Some('#') {
            let word = self.at;
            while self.is_in_plain_word() {
                self.skip();
            }
            if self.at > word {
                let words = self.source.get(word..self.at).unwrap_or_default();
                if gap.first_break.is_some() || folded.is_some() {
                    let text = folded
                        .get_or_insert_with(|| self.source.get(start..end).unwrap_or_default().to_owned());
                    gap.fold(text);
                    text.push_str(words);
                }
                gap = Gap::default();
                end = self.at;
            }
            if !self.is_at_blank() && !self.is_at_break() {
                break;
            }
            self.gap(&mut gap, least_column, false)?;
            if self.flow_level == 0 && self.column < least_column {
                break;
            }
        }
        if gap.first_break.is_some() {
            self.key_allowed = true;
        }
        let text = match folded {
            Some(text) => Cow::Owned(text),
            None => Cow::Borrowed(self.source.get(start..end).unwrap_or_default()),
        };
        let token = self.scalar(text, true, line, column);
        self.tokens.push_back(token);
        Ok(())
    }

    fn is_in_plain_word(&self) -> bool {
        match self.char() {
            None => false,
            Some(c) if is_blank(c) || is_break(c) => false,
            Some(':') => !ends_word(self.second()),
            Some(',' | '?' | '[' | ']' | '{' | '}') => self.flow_level == 0,
            Some(_) => true,
        }
    }

    pub(super) fn fetch_quoted(&mut self, quote: char) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        let (line, column) = (self.line, self.column);
        self.skip();
        let mut text = String::new();
        loop {
            if self.document_indicator().is_some() {
                return Err(self.error("found unexpected document indicator"));
            }
            let is_joined = self.quoted_word(quote, &mut text)?;
            match self.char() {
                None => return Err(self.error("found unexpected end of stream")),
                Some(c) if c == quote => break,
                _ => {}
            }
            if is_joined {
                self.joined_break(&mut text);
                continue;
            }
            let mut gap = Gap::default();
            self.gap(&mut gap, 0, true)?;
            if !gap.is_empty() {
                gap.fold(&mut text);
            }
        }
        self.skip();
        let token = self.scalar(Cow::Owned(text), false, line, column);
        self.tokens.push_back(token);
        Ok(())
    }

    /// Reads up to white space or the closing quote; whether an escaped line break ended it.
    fn quoted_word(&mut self, quote: char, text: &mut String) -> Result<bool, Error> {
        while let Some(c) = self.char().filter(|c| !is_blank(*c) && !is_break(*c)) {
            if c == quote {
                if quote != '\'' || self.second() != Some('\'') {
                    break;
                }
                text.push('\'');
                self.skip();
                self.skip();
            } else if c == '\\' && quote == '"' {
                self.skip();
                if self.is_at_break() {
                    self.skip_break();
                    return Ok(true);
                }
                let escaped = self.escape()?;
                text.push(escaped);
            } else {
                text.push(c);
                self.skip();
            }
        }
        Ok(false)
    }

    /// Behind an escaped line break, blanks do not count, and further breaks do.
    fn joined_break(&mut self, text: &mut String) {
        self.skip_blanks();
        while self.is_at_break() {
            let c = self.skip_break();
            text.push(c);
            self.skip_blanks();
        }
    }

    fn skip_blanks(&mut self) {
        while self.is_at_blank() {
            self.skip();
        }
    }

    /// The character that stands behind a backslash.
    fn escape(&mut self) -> Result<char, Error> {
        let code = self.char().ok_or_else(|| self.error("found unexpected end of stream"))?;
        let (c, digits) = match code {
            '0' => ('\0', 0),
            'a' => ('\u{7}', 0),
            'b' => ('\u{8}', 0),
            't' | '\t' => ('\t', 0),
            'n' => ('\n', 0),
            'v' => ('\u{b}', 0),
            'f' => ('\u{c}', 0),
            'r' => ('\r', 0),
            'e' => ('\u{1b}', 0),
            ' ' | '"' | '\'' | '\\' => (code, 0),
            'N' => ('\u{85}', 0),
            '_' => ('\u{a0}', 0),
            'L' => ('\u{2028}', 0),
            'P' => ('\u{2029}', 0),
            'x' => ('\0', 2),
            'u' => ('\0', 4),
            'U' => ('\0', 8),
            _ => return Err(self.error("found unknown escape character")),
        };
        self.skip();
        if digits == 0 {
            return Ok(c);
        }
        let text = self.rest().get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = text.and_then(|text| u32::from_str_radix(text, 16).ok());
        let number = number.ok_or_else(|| self.error("did not find expected hexdecimal number"))?;
        let c = char::from_u32(number);
        let c = c.ok_or_else(|| self.error("found invalid Unicode character escape code"))?;
        (0..digits).for_each(|_| self.skip());
        Ok(c)
    }

    pub(super) fn fetch_block_scalar(&mut self, is_literal: bool) -> Result<(), Error> {
        self.remove_key()?;
        self.key_allowed = true;
        let (line, column) = (self.line, self.column);
        self.skip();
        let (keeps, increment) = self.block_header()?;
        let mut indent = match increment {
            0 => 0,
            increment => usize::try_from(self.indent).unwrap_or_default() + increment,
        };
        let (mut text, mut breaks) = (String::new(), String::new());
        self.block_breaks(&mut indent, &mut breaks)?;
        let mut last_break = None;
        let mut after_blank = false;
        while self.column == indent && self.char().is_some() {
            let starts_blank = self.is_at_blank();
            match last_break.take() {
                // A folded line break is a blank, unless one of the lines is indented further.
                Some('\n') if !is_literal && !after_blank && !starts_blank => {
                    text.push_str(if breaks.is_empty() { " " } else { "" });
                }
                Some(c) => text.push(c),
                None => {}
            }
            text.push_str(&breaks);
            breaks.clear();
            after_blank = starts_blank;
            let start = self.at;
            self.skip_line();
            text.push_str(self.source.get(start..self.at).unwrap_or_default());
            if self.is_at_break() {
                last_break = Some(self.skip_break());
            }
            self.block_breaks(&mut indent, &mut breaks)?;
        }
        if keeps != Some(false) {
            text.extend(last_break);
        }
        if keeps == Some(true) {
            text.push_str(&breaks);
        }
        let token = self.scalar(Cow::Owned(text), false, line, column);
        self.tokens.push_back(token);
        Ok(())
    }

    /// What stands behind `|` or `>`: whether the last line breaks are kept, and how far the text is indented.
    fn block_header(&mut self) -> Result<(Option<bool>, usize), Error> {
        let (mut keeps, mut increment) = (None, 0);
        for _ in 0..2 {
            match self.char() {
                Some(c @ ('+' | '-')) if keeps.is_none() => keeps = Some(c == '+'),
                Some('0') if increment == 0 => {
                    return Err(self.error("found an indentation indicator equal to 0"));
                }
                Some(c) if c.is_ascii_digit() && increment == 0 => {
                    increment = c.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).unwrap_or(1);
                }
                _ => break,
            }
            self.skip();
        }
        while self.is_at_blank() {
            self.skip();
        }
        if self.char() == Some('#') {
            self.skip_line();
        }
        if self.is_at_break() {
            self.skip_break();
        } else if self.char().is_some() {
            return Err(self.error("did not find expected comment or line break"));
        }
        Ok((keeps, increment))
    }

    /// Reads empty lines up to the next one with text; an indentation of 0 is found out from it.
    fn block_breaks(&mut self, indent: &mut usize, breaks: &mut String) -> Result<(), Error> {
        let mut deepest = 0;
        loop {
            while (*indent == 0 || self.column < *indent) && self.char() == Some(' ') {
                self.skip();
            }
            deepest = deepest.max(self.column);
            if (*indent == 0 || self.column < *indent) && self.char() == Some('\t') {
                return Err(self.error("found a tab character where an indentation space is expected"));
            }
            if !self.is_at_break() {
                break;
            }
            let c = self.skip_break();
            breaks.push(c);
        }
        if *indent == 0 {
            *indent = deepest.max(usize::try_from(self.indent + 1).unwrap_or_default()).max(1);
        }
        Ok(())
    }
}
