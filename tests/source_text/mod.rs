//! Finds the texts of a Rust source: string literals and comments, with what they are used for. It reads characters and
//! knows just enough of the language to tell the two from code.

/// Macros that log or print, by the name that the snapshot shows.
const LOG_MACROS: [(&str, &str); 7] = [
    ("trace!", "trace"),
    ("debug!", "debug"),
    ("info!", "info"),
    ("warn!", "warn"),
    ("error!", "log error"),
    ("eprintln!", "print"),
    ("eprint!", "print"),
];

/// Bytes of code in which the beginning of a call is searched.
const LONGEST_CALL: usize = 2000;

/// What a text is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// The text of an error (`#[error("…")]`).
    Error,
    /// The message of a log line or of output on a terminal.
    Log(&'static str),
    /// Another string literal.
    Text,
    /// Comments on adjacent lines.
    Comment,
}

/// One text of a source.
#[derive(Debug)]
pub struct Piece {
    pub kind: PieceKind,
    pub text: String,
    /// First line, from 1.
    pub line: usize,
}

/// All texts of a source, in order.
pub fn pieces(source: &str) -> Vec<Piece> {
    let mut reader =
        Reader { rest: source, line: 1, code: String::new(), pieces: Vec::new(), comment_end: 0 };
    while !reader.rest.is_empty() {
        reader.step();
    }
    reader.pieces
}

struct Reader<'s> {
    rest: &'s str,
    line: usize,
    /// The code so far, without texts.
    code: String,
    pieces: Vec<Piece>,
    /// Line after the last comment.
    comment_end: usize,
}

impl Reader<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            return self.comment();
        }
        if let Some((content, length)) = raw_string(self.rest).or_else(|| string(self.rest)) {
            let kind = kind_of_literal(&self.code);
            self.pieces.push(Piece { kind, text: content, line: self.line });
            self.code.push('"');
            return self.skip(length);
        }
        let length =
            char_literal(self.rest).unwrap_or_else(|| self.rest.chars().next().map_or(1, char::len_utf8));
        if length == 1 || !self.rest.starts_with('\'') {
            self.code.push_str(&self.rest[..length]);
        }
        self.skip(length);
    }

    fn comment(&mut self) {
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        let text = self.rest[..length].trim_start_matches(['/', '!']).trim();
        match self.pieces.last_mut() {
            Some(last) if last.kind == PieceKind::Comment && self.comment_end == self.line => {
                last.text = format!("{} {text}", last.text);
            }
            _ => self.pieces.push(Piece { kind: PieceKind::Comment, text: text.to_owned(), line: self.line }),
        }
        self.comment_end = self.line + 1;
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

/// A literal such as `"…"` at the beginning: its content and its length.
fn string(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix('"')?;
    let mut content = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((content, at + 2)),
            '\\' => match characters.next()?.1 {
                // The line goes on after the white space of the next one.
                '\n' => {
                    let rest = characters.as_str();
                    let spaces = rest.len() - rest.trim_start().len();
                    for _ in rest[..spaces].chars() {
                        let _ = characters.next();
                    }
                }
                'n' => content.push(' '),
                escaped => content.push(escaped),
            },
            other => content.push(other),
        }
    }
    None
}

/// A literal such as `r#"…"#` at the beginning: its content and its length.
fn raw_string(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix('r')?;
    let hashes = inner.len() - inner.trim_start_matches('#').len();
    let content = inner[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = content.find(&end)?;
    Some((content[..length].to_owned(), 1 + hashes + 1 + length + end.len()))
}

/// The length of a literal such as `'x'` at the beginning, which a lifetime is not.
fn char_literal(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let mut characters = inner.char_indices();
    match characters.next()?.1 {
        '\\' => {
            characters.next()?;
            Some(characters.find(|(_, character)| *character == '\'')?.0 + 2)
        }
        _ => match characters.next()? {
            (at, '\'') => Some(at + 2),
            _ => None,
        },
    }
}

/// What a literal after `code` is used for.
fn kind_of_literal(code: &str) -> PieceKind {
    if code.trim_end().ends_with("#[error(") {
        return PieceKind::Error;
    }
    let start = code.len().saturating_sub(LONGEST_CALL);
    let code = (start..=code.len()).find_map(|start| code.get(start..)).unwrap_or_default();
    let mut depth = 0;
    for (at, character) in code.char_indices().rev() {
        match character {
            ')' | ']' | '}' => depth += 1,
            '(' if depth == 0 => return kind_in_call(&code[..at], &code[at + 1..]),
            '(' | '[' | '{' if depth > 0 => depth -= 1,
            '[' | '{' | ';' if depth == 0 => return PieceKind::Text,
            _ => {}
        }
    }
    PieceKind::Text
}

/// The kind of a literal among the `arguments` of a call. The message is the first literal that is an argument.
fn kind_in_call(called: &str, arguments: &str) -> PieceKind {
    let name =
        called.rsplit(|letter: char| !letter.is_alphanumeric() && letter != '!' && letter != '_').next();
    let level = LOG_MACROS.iter().find(|(macro_name, _)| name == Some(*macro_name));
    let is_argument = arguments.trim().is_empty() || arguments.trim_end().ends_with(',');
    let mut depth = 0;
    let is_first = !arguments.chars().any(|character| {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        character == '"' && depth == 0
    });
    match level {
        Some((_, level)) if is_argument && is_first => PieceKind::Log(level),
        _ => PieceKind::Text,
    }
}
