//! Regular expressions as Go's package `regexp` understands them, on the crate `regex`.
//!
//! Both match in linear time and prefer the leftmost alternative. What differs is spelled differently before it is
//! compiled: Go's classes are ASCII, its brackets do not nest, and a brace that counts nothing is a brace.

use regex::{Captures, Match, Regex};

/// Go refuses to repeat more often.
const MOST_REPETITIONS: u32 = 1000;

/// The names of ASCII classes.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// The names of the groups. Go gives one name to several groups, which Rust refuses, so the expression has none.
    names: Vec<Option<String>>,
}

impl Pattern {
    /// Compiles a pattern; the error is one sentence.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let failed = |reason: String| format!("error parsing regexp: {reason}: `{pattern}`");
        let translator =
            Translator { rest: pattern, text: String::new(), names: vec![None], flags: String::new() };
        let (translated, names) = translator.translate().map_err(|reason| failed(reason.to_owned()))?;
        let regex = Regex::new(&translated).map_err(|error| {
            let text = error.to_string();
            failed(text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
        })?;
        Ok(Self { regex, names })
    }

    /// Whether it matches anywhere in a text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    pub(crate) fn find<'t>(&self, text: &'t str) -> Option<Match<'t>> {
        self.regex.find(text)
    }

    pub(crate) fn find_iter<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Match<'t>> {
        self.regex.find_iter(text)
    }

    pub(crate) fn captures_iter<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Captures<'t>> {
        self.regex.captures_iter(text)
    }

    /// Adds a replacement with its `$1`, `${name}` and `$$` resolved.
    pub(crate) fn expand(&self, captures: &Captures<'_>, replacement: &str, text: &mut String) {
        let mut rest = replacement;
        while let Some((before, behind)) = rest.split_once('$') {
            text.push_str(before);
            rest = behind;
            if let Some(behind) = rest.strip_prefix('$') {
                text.push('$');
                rest = behind;
            } else if let Some((name, behind)) = reference(rest) {
                text.push_str(self.group(captures, name));
                rest = behind;
            } else {
                text.push('$');
            }
        }
        text.push_str(rest);
    }

    /// What a group matched: by its number, or the first group of a name that matched.
    fn group<'t>(&self, captures: &Captures<'t>, name: &str) -> &'t str {
        let is_number =
            name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        let found = if is_number {
            name.parse().ok().and_then(|number| captures.get(number))
        } else {
            let mut numbered = self.names.iter().enumerate();
            numbered
                .find_map(|(number, known)| captures.get(number).filter(|_| known.as_deref() == Some(name)))
        };
        found.map_or("", |group| group.as_str())
    }
}

/// The name behind a dollar, with or without braces, and the rest.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (inner, has_brace) = text.strip_prefix('{').map_or((text, false), |inner| (inner, true));
    let is_name = |c: char| c.is_alphabetic() || c.is_numeric() || c == '_';
    let (name, rest) = inner.split_at(inner.find(|c| !is_name(c)).unwrap_or(inner.len()));
    let rest = if has_brace { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

struct Translator<'p> {
    rest: &'p str,
    text: String,
    names: Vec<Option<String>>,
    /// Flags that hold from the next thing on that is no repetition.
    flags: String,
}

type Translated = (String, Vec<Option<String>>);

impl Translator<'_> {
    fn translate(mut self) -> Result<Translated, &'static str> {
        let mut after_repetition = false;
        while let Some(c) = self.next() {
            let repetition = match c {
                '*' | '+' | '?' => Some(c.to_string()),
                '{' => self.count()?,
                _ => None,
            };
            if let Some(repetition) = repetition {
                // Rust would repeat the repetition.
                if after_repetition {
                    return Err("invalid nested repetition operator");
                }
                self.text.push_str(&repetition);
                if self.take("?") {
                    self.text.push('?');
                }
                after_repetition = true;
                continue;
            }
            after_repetition = false;
            self.set_flags();
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '{' => self.text.push_str("\\{"),
                '(' => self.group()?,
                c => self.text.push(c),
            }
        }
        self.set_flags();
        Ok((self.text, self.names))
    }

    /// Flags without a group stand for nothing that could be repeated: in Go, a repetition behind them repeats what is
    /// before them.
    fn set_flags(&mut self) {
        let flags = std::mem::take(&mut self.flags);
        self.text.push_str(&flags);
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

    fn group(&mut self) -> Result<(), &'static str> {
        self.text.push('(');
        if !self.take("?") {
            self.names.push(None);
            return Ok(());
        }
        if self.take("P<") || self.take("<") {
            let (name, rest) = self.rest.split_once('>').ok_or("invalid named capture")?;
            if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
                return Err("invalid named capture");
            }
            self.names.push(Some(name.to_owned()));
            self.rest = rest;
            return Ok(());
        }
        self.flags()
    }

    /// Flags behind `(?`, for a group or for what follows.
    fn flags(&mut self) -> Result<(), &'static str> {
        const INVALID: &str = "invalid or unsupported Perl syntax";
        let end = self.rest.find([':', ')']).ok_or(INVALID)?;
        let (flags, rest) = self.rest.split_at(end);
        // Rust knows more flags than Go.
        if flags.chars().any(|c| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
            return Err(INVALID);
        }
        self.rest = rest;
        let opens_group = self.take(":");
        if opens_group {
            self.text.push_str(&format!("?{flags}:"));
            return Ok(());
        }
        self.take(")");
        // The parenthesis was written already.
        self.text.pop();
        if !flags.is_empty() {
            self.flags.push_str(&format!("(?{flags})"));
        }
        Ok(())
    }

    /// A brace counts when it holds numbers; else it is a brace.
    fn count(&mut self) -> Result<Option<String>, &'static str> {
        let inner = self.rest.split_once('}').map(|(inner, _)| inner);
        let count = inner.filter(|inner| {
            let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let is_short = |text: &str| text == "0" || !text.starts_with('0');
            !least.is_empty() && digits(least) && digits(most) && is_short(least) && is_short(most)
        });
        let Some(count) = count else { return Ok(None) };
        let is_large = |number: &str| number.parse::<u32>().map_or(true, |number| number > MOST_REPETITIONS);
        if count.split(',').any(|number| !number.is_empty() && is_large(number)) {
            return Err("invalid repeat count");
        }
        self.rest = self.rest.get(count.len() + 1..).unwrap_or_default();
        Ok(Some(format!("{{{count}}}")))
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
            Some('Q') => {
                self.next();
                self.literal();
                return Ok(());
            }
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
        self.text.push_str(&regex::escape(literal));
        self.rest = rest;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text, matched) in [
            ("^a{2}$", "aa", true),
            ("^a{,2}$", "a{,2}", true),
            ("^a{$", "a{", true),
            ("^[[a]$", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[a&&b]+$", "a&b", true),
            ("^[[:alpha:]]+$", "ab", true),
            ("^\\w+$", "\u{e4}", false),
            ("^\\d$", "\u{663}", false),
            ("^[\\w.-]+$", "a-b.c", true),
            ("^[^\\s]+$", "ab", true),
            ("^\\Qa.b\\E$", "a.b", true),
            ("(?i)^AB$", "ab", true),
            ("^\\pL+$", "\u{e4}", true),
            ("\\bfoo\\b", "a foo b", true),
            ("^(?P<x>a)\\.$", "a.", true),
            ("^\\101$", "A", true),
            ("^\\/$", "/", true),
        ] {
            assert_eq!(Pattern::parse(pattern).map(|regex| regex.is_match(text)), Ok(matched), "{pattern}");
        }
        for wrong in ["(", "a**", "[", "\\", "(?x)a", "a{1001}", "\\C", "\\8", "(?=a)", "\\Z", "[b-a]"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_several_groups_of_one_name_the_first_that_matched_counts() {
        let pattern = Pattern::parse("(?P<x>a)|(?P<x>b)").unwrap();
        let expanded = |text: &str, replacement: &str| {
            let mut expanded = String::new();
            let captures = pattern.captures_iter(text).next().unwrap();
            pattern.expand(&captures, replacement, &mut expanded);
            expanded
        };
        assert_eq!(expanded("b", "<${x}$x$2$1$$>${x"), "<bbb$>${x");
        assert_eq!(expanded("a", "$01$0$xy$"), "a$");
    }
}
