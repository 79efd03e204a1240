//! Go's syntax spelled in Rust's.

use super::MOST_REPETITIONS;

/// The names of ASCII classes.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// A pattern of Go's as one of Rust's without names, and the names of its groups.
pub(super) fn translate(pattern: &str) -> Result<(String, Vec<Option<String>>), &'static str> {
    let translator = Translator {
        rest: pattern,
        text: String::new(),
        names: vec![None],
        mode: Mode::default(),
        written: Flags::default(),
        open: Vec::new(),
        atom: None,
        most_copies: 1,
    };
    translator.translate()
}

struct Translator<'p> {
    rest: &'p str,
    text: String,
    names: Vec<Option<String>>,
    mode: Mode,
    /// Flags that hold in what was written. Those that changed are written before the next atom: between an atom and its
    /// repetition they would stand for something to repeat.
    written: Flags,
    open: Vec<Group>,
    /// What a repetition would repeat.
    atom: Option<Atom>,
    /// Of any atom of the current group.
    most_copies: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Flags {
    ignores_case: bool,
    multiple_lines: bool,
    dot_is_any: bool,
}

/// All flags of Go.
#[derive(Debug, Clone, Copy, Default)]
struct Mode {
    flags: Flags,
    /// Repetitions are lazy, and those with a question mark are not. Rust never sees this one, because in Go it counts at
    /// the repetition, which may stand behind the flag of an atom before it.
    is_lazy: bool,
}

impl Mode {
    fn set(&mut self, flag: char, value: bool) -> bool {
        match flag {
            'i' => self.flags.ignores_case = value,
            'm' => self.flags.multiple_lines = value,
            's' => self.flags.dot_is_any = value,
            'U' => self.is_lazy = value,
            _ => return false,
        }
        true
    }
}

/// A group whose end was not seen yet, with what holds again behind it.
struct Group {
    start: usize,
    mode: Mode,
    written: Flags,
    most_copies: u32,
}

#[derive(Debug, Clone, Copy)]
struct Atom {
    start: usize,
    is_repeated: bool,
    /// How often Go would write its innermost part.
    copies: u32,
}

/// An operator that repeats the atom before it.
struct Repetition {
    sign: String,
    /// How often Go would write the atom; nothing for an atom that is left out.
    copies: Option<u32>,
}

const INVALID_FLAGS: &str = "invalid or unsupported Perl syntax";

impl Translator<'_> {
    fn translate(mut self) -> Result<(String, Vec<Option<String>>), &'static str> {
        let mut after_repetition = false;
        while let Some(c) = self.next() {
            let repetition = match c {
                '*' | '+' | '?' => Some(Repetition { sign: c.to_string(), copies: Some(1) }),
                '{' => self.count()?,
                _ => None,
            };
            if let Some(repetition) = repetition {
                if after_repetition {
                    return Err("invalid nested repetition operator");
                }
                self.repeat(&repetition)?;
                after_repetition = true;
                continue;
            }
            after_repetition = false;
            match c {
                '(' => self.group()?,
                ')' => self.end_group()?,
                '|' => self.alternative(),
                '\\' if self.take("Q") => self.literal(),
                '\\' => {
                    self.start_atom();
                    self.escape()?;
                }
                '[' => {
                    self.start_atom();
                    self.class()?;
                }
                '{' => self.atom("\\{"),
                c => self.atom(c.encode_utf8(&mut [0; 4])),
            }
        }
        if self.open.is_empty() { Ok((self.text, self.names)) } else { Err("missing closing )") }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn atom(&mut self, text: &str) {
        self.start_atom();
        self.text.push_str(text);
    }

    fn start_atom(&mut self) {
        self.end_atom();
        self.write_flags();
        self.atom = Some(Atom { start: self.text.len(), is_repeated: false, copies: 1 });
    }

    fn end_atom(&mut self) {
        let copies = self.atom.take().map_or(1, |atom| atom.copies);
        self.most_copies = self.most_copies.max(copies);
    }

    fn write_flags(&mut self) {
        let mut changes = [String::new(), String::new()];
        for (name, wanted, written) in [
            ('i', self.mode.flags.ignores_case, self.written.ignores_case),
            ('m', self.mode.flags.multiple_lines, self.written.multiple_lines),
            ('s', self.mode.flags.dot_is_any, self.written.dot_is_any),
        ] {
            if wanted != written {
                changes[usize::from(written)].push(name);
            }
        }
        self.written = self.mode.flags;
        match changes {
            [on, off] if on.is_empty() && off.is_empty() => {}
            [on, off] if off.is_empty() => self.text.push_str(&format!("(?{on})")),
            [on, off] => self.text.push_str(&format!("(?{on}-{off})")),
        }
    }

    fn alternative(&mut self) {
        self.end_atom();
        self.text.push('|');
    }

    fn repeat(&mut self, repetition: &Repetition) -> Result<(), &'static str> {
        let atom = self.atom.as_mut().ok_or("missing argument to repetition operator")?;
        atom.copies = repetition.copies.map_or(1, |copies| atom.copies * copies);
        if atom.copies > MOST_REPETITIONS {
            return Err("invalid repeat count");
        }
        // Flags stood in between.
        if std::mem::replace(&mut atom.is_repeated, true) {
            self.text.insert_str(atom.start, "(?:");
            self.text.push(')');
        }
        self.text.push_str(&repetition.sign);
        if self.take("?") != self.mode.is_lazy {
            self.text.push('?');
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), &'static str> {
        if !self.take("?") {
            self.names.push(None);
            self.start_group("(");
            return Ok(());
        }
        if self.take("P<") || self.take("<") {
            let (name, rest) = self.rest.split_once('>').ok_or("invalid named capture")?;
            if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
                return Err("invalid named capture");
            }
            self.names.push(Some(name.to_owned()));
            self.rest = rest;
            self.start_group("(");
            return Ok(());
        }
        self.flags()
    }

    fn start_group(&mut self, sign: &str) {
        self.start_atom();
        self.open.push(Group {
            start: self.text.len(),
            mode: self.mode,
            written: self.written,
            most_copies: self.most_copies,
        });
        self.text.push_str(sign);
        self.atom = None;
        self.most_copies = 1;
    }

    fn end_group(&mut self) -> Result<(), &'static str> {
        let group = self.open.pop().ok_or("unexpected )")?;
        self.end_atom();
        self.text.push(')');
        self.atom = Some(Atom { start: group.start, is_repeated: false, copies: self.most_copies });
        self.most_copies = group.most_copies;
        self.mode = group.mode;
        self.written = group.written;
        Ok(())
    }

    /// Flags behind `(?`, for a group or for what follows.
    fn flags(&mut self) -> Result<(), &'static str> {
        let mut mode = self.mode;
        // Whether flags are set, and whether one came since the sign.
        let (mut value, mut has_flag) = (true, false);
        loop {
            match self.next() {
                Some('-') if value => (value, has_flag) = (false, false),
                Some(':' | ')') if !value && !has_flag => return Err(INVALID_FLAGS),
                Some(':') => {
                    self.start_group("(?:");
                    self.mode = mode;
                    return Ok(());
                }
                Some(')') => {
                    self.mode = mode;
                    return Ok(());
                }
                Some(flag) if mode.set(flag, value) => has_flag = true,
                _ => return Err(INVALID_FLAGS),
            }
        }
    }

    /// A brace counts when it holds numbers; else it is a brace.
    fn count(&mut self) -> Result<Option<Repetition>, &'static str> {
        let inner = self.rest.split_once('}').map(|(inner, _)| inner);
        let count = inner.filter(|inner| {
            let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let is_short = |text: &str| text == "0" || !text.starts_with('0');
            !least.is_empty() && digits(least) && digits(most) && is_short(least) && is_short(most)
        });
        let Some(count) = count else { return Ok(None) };
        self.rest = self.rest.get(count.len() + 1..).unwrap_or_default();
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= MOST_REPETITIONS);
        let (least, most) = count.split_once(',').unwrap_or((count, count));
        let least = number(least).ok_or("invalid repeat count")?;
        let most = if most.is_empty() { None } else { Some(number(most).ok_or("invalid repeat count")?) };
        let copies = match most {
            // What is never there is not written at all.
            Some(0) => None,
            Some(most) => Some(most),
            None => Some(least.max(1)),
        };
        if most.is_some_and(|most| most < least) {
            return Err("invalid repeat count");
        }
        Ok(Some(Repetition { sign: format!("{{{count}}}"), copies }))
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        if let Some(class) = self.named_class(false)? {
            self.text.push_str(&class);
            return Ok(());
        }
        let translated = match self.rest.chars().next() {
            Some('b') => "(?-u:\\b)",
            // Without Unicode this could match within a character, which Rust's texts do not allow.
            Some('B') => "\\B",
            Some('A') => "\\A",
            Some('z') => "\\z",
            _ => {
                let c = self.escaped()?;
                self.text.push_str(&literal(c));
                return Ok(());
            }
        };
        self.next();
        self.text.push_str(translated);
        Ok(())
    }

    /// A class behind its backslash, such as `\d` or `\pL`, if it is one.
    fn named_class(&mut self, in_class: bool) -> Result<Option<String>, &'static str> {
        let plain = |text: &str| if in_class { format!("[{text}]") } else { format!("(?-u:[{text}])") };
        let class = match self.rest.chars().next() {
            Some('d') => plain("0-9"),
            Some('s') => plain("\\t\\n\\x0C\\r "),
            Some('w') => plain("0-9A-Za-z_"),
            Some('D') => "[^0-9]".to_owned(),
            Some('S') => "[^\\t\\n\\x0C\\r ]".to_owned(),
            Some('W') => "[^0-9A-Za-z_]".to_owned(),
            Some(sign @ ('p' | 'P')) => {
                self.next();
                return self.property(sign == 'P').map(Some);
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(class))
    }

    /// A class of Unicode: one letter, or a name in braces that `^` may negate.
    fn property(&mut self, negated: bool) -> Result<String, &'static str> {
        const INVALID: &str = "invalid character class range";
        let name = if let Some(rest) = self.rest.strip_prefix('{') {
            let (name, rest) = rest.split_once('}').ok_or(INVALID)?;
            self.rest = rest;
            name
        } else {
            let end = self.rest.chars().next().map(char::len_utf8).ok_or(INVALID)?;
            let (name, rest) = self.rest.split_at(end);
            self.rest = rest;
            name
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        // Rust knows further properties, which are set apart by these.
        if name.is_empty() || name.contains(['=', ':', '!']) {
            return Err(INVALID);
        }
        Ok(format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }))
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<char, &'static str> {
        const INVALID: &str = "invalid escape sequence";
        let c = self.next().ok_or("trailing backslash at end of expression")?;
        match c {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'x' => self.hexadecimal().ok_or(INVALID),
            '0'..='7' => self.octal(c).ok_or(INVALID),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(INVALID),
        }
    }

    /// Two hexadecimal digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<char> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => (self.rest.get(..2)?, self.rest.get(2..)?),
        };
        self.rest = rest;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u32::from_str_radix(&format!("0{}", digits.trim_start_matches('0')), 16).ok().and_then(char::from_u32)
    }

    /// A character by its octal code: only behind a zero, or with at least two digits.
    fn octal(&mut self, first: char) -> Option<char> {
        let mut digits = first.to_string();
        while digits.len() < 3 && self.rest.starts_with(|c: char| c.is_digit(8)) {
            digits.extend(self.next());
        }
        if first != '0' && digits.len() == 1 {
            return None;
        }
        u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32)
    }

    /// What stands between `\Q` and `\E`.
    fn literal(&mut self) {
        let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
        self.rest = rest;
        literal.chars().for_each(|c| self.atom(&self::literal(c)));
    }

    fn class(&mut self) -> Result<(), &'static str> {
        const MISSING: &str = "missing closing ]";
        self.text.push('[');
        if self.take("^") {
            self.text.push('^');
        }
        let mut is_first = true;
        // A bracket at the start is one of the characters.
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if self.rest.starts_with("[:")
                && let Some((name, rest)) = self.rest.split_once(":]")
            {
                if !CLASSES.contains(&name.trim_start_matches("[:").trim_start_matches('^')) {
                    return Err("invalid character class range");
                }
                self.text.push_str(name);
                self.text.push_str(":]");
                self.rest = rest;
                continue;
            }
            let mut class = None;
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, rest);
                class = self.named_class(true)?;
                if class.is_none() {
                    self.rest = before;
                }
            }
            match class {
                Some(class) => self.text.push_str(&class),
                None => self.range(MISSING)?,
            }
        }
        self.next().ok_or(MISSING)?;
        self.text.push(']');
        Ok(())
    }

    /// A character of a class, or a range of them. A hyphen before the end is one of the characters.
    fn range(&mut self, missing: &'static str) -> Result<(), &'static str> {
        let first = self.class_character(missing)?;
        self.text.push_str(&literal(first));
        if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
            self.next();
            let last = self.class_character(missing)?;
            if last < first {
                return Err("invalid character class range");
            }
            self.text.push('-');
            self.text.push_str(&literal(last));
        }
        Ok(())
    }

    fn class_character(&mut self, missing: &'static str) -> Result<char, &'static str> {
        match self.next().ok_or(missing)? {
            '\\' => self.escaped(),
            c => Ok(c),
        }
    }
}

/// A character that means itself, outside and inside of a class: Rust's brackets nest, and some signs combine classes.
fn literal(c: char) -> String {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        c.to_string()
    } else {
        format!("\\x{{{:X}}}", u32::from(c))
    }
}
