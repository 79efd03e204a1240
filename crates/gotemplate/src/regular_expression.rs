//! Regular expressions as Go's package `regexp` understands them, on the crate `regex`.
//!
//! Both match in linear time and prefer the leftmost alternative. What differs is spelled differently before it is
//! compiled: Go's classes are ASCII, its brackets do not nest, and a brace that counts nothing is a brace.

use regex::Regex;

/// Go refuses to repeat more often.
const MOST_REPETITIONS: u32 = 1000;

/// The names of ASCII classes.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// Compiles a pattern; the error is one sentence.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let failed = |reason: String| format!("error parsing regexp: {reason}: `{pattern}`");
    let translated = Translator { rest: pattern, text: String::with_capacity(pattern.len() + 16) }
        .translate()
        .map_err(|reason| failed(reason.to_owned()))?;
    Regex::new(&translated).map_err(|error| {
        let text = error.to_string();
        failed(text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
    })
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern; the error is one sentence.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        compile(pattern).map(Self)
    }

    /// Whether it matches anywhere in a text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

struct Translator<'p> {
    rest: &'p str,
    text: String,
}

impl Translator<'_> {
    fn translate(mut self) -> Result<String, &'static str> {
        let mut after_repetition = false;
        while let Some(c) = self.next() {
            let mut repeats = matches!(c, '*' | '+' | '?');
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '{' => repeats = self.brace()?,
                '(' => self.group()?,
                c => self.text.push(c),
            }
            if repeats {
                // Rust would repeat the repetition.
                if after_repetition {
                    return Err("invalid nested repetition operator");
                }
                if self.take("?") {
                    self.text.push('?');
                }
            }
            after_repetition = repeats;
        }
        Ok(self.text)
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
        if self.take("?") {
            self.text.push('?');
            let flags: String =
                self.rest.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
            let is_name = self.rest.starts_with("P<") || self.rest.starts_with('<');
            // Rust knows more flags than Go.
            if !is_name && flags.chars().any(|c| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
                return Err("invalid or unsupported Perl syntax");
            }
        }
        Ok(())
    }

    /// A brace counts when it holds numbers; else it is a brace. Returns whether it counts.
    fn brace(&mut self) -> Result<bool, &'static str> {
        let inner = self.rest.split_once('}').map(|(inner, _)| inner);
        let count = inner.filter(|inner| {
            let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            !least.is_empty() && digits(least) && digits(most)
        });
        let Some(count) = count else {
            self.text.push_str("\\{");
            return Ok(false);
        };
        if count.split(',').any(|number| number.parse::<u32>().is_ok_and(|number| number > MOST_REPETITIONS))
        {
            return Err("invalid repeat count");
        }
        self.text.push('{');
        self.text.push_str(count);
        self.text.push('}');
        self.rest = self.rest.get(count.len() + 1..).unwrap_or_default();
        Ok(true)
    }

    fn escape(&mut self, in_class: bool) -> Result<(), &'static str> {
        let c = self.next().ok_or("trailing backslash at end of expression")?;
        let plain = |text: &str| if in_class { format!("[{text}]") } else { format!("(?-u:[{text}])") };
        let translated = match c {
            'd' => plain("0-9"),
            's' => plain("\\t\\n\\x0C\\r "),
            'w' => plain("0-9A-Za-z_"),
            'D' => "[^0-9]".to_owned(),
            'S' => "[^\\t\\n\\x0C\\r ]".to_owned(),
            'W' => "[^0-9A-Za-z_]".to_owned(),
            'b' | 'B' if in_class => return Err("invalid escape sequence"),
            'b' => "(?-u:\\b)".to_owned(),
            // Without Unicode this could match within a character, which Rust's texts do not allow.
            'B' => "\\B".to_owned(),
            'C' => return Err("invalid escape sequence"),
            'Q' if !in_class => {
                self.literal();
                return Ok(());
            }
            'A' | 'z' if !in_class => format!("\\{c}"),
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => format!("\\{c}"),
            // The braces behind these belong to them.
            'x' | 'p' | 'P' => match self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((name, rest)) => {
                    self.rest = rest;
                    format!("\\{c}{{{name}}}")
                }
                None => format!("\\{c}"),
            },
            '0'..='7' => self.octal(c)?,
            c if c.is_ascii_alphanumeric() => return Err("invalid escape sequence"),
            c => regex::escape(&c.to_string()),
        };
        self.text.push_str(&translated);
        Ok(())
    }

    /// A character by its octal code: only behind a zero, or with all three digits.
    fn octal(&mut self, first: char) -> Result<String, &'static str> {
        let mut digits = first.to_string();
        while digits.len() < 3 && self.rest.starts_with(|c: char| c.is_digit(8)) {
            digits.extend(self.next());
        }
        if first != '0' && digits.len() == 1 {
            return Err("invalid escape sequence");
        }
        let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
        Ok(format!("\\x{{{code:X}}}"))
    }

    /// What stands between `\Q` and `\E`.
    fn literal(&mut self) {
        let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
        self.text.push_str(&regex::escape(literal));
        self.rest = rest;
    }

    fn class(&mut self) -> Result<(), &'static str> {
        self.text.push('[');
        if self.take("^") {
            self.text.push('^');
        }
        let mut is_first = true;
        loop {
            // A bracket at the start is one of the characters.
            if !is_first && self.take("]") {
                self.text.push(']');
                return Ok(());
            }
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
            match self.next().ok_or("missing closing ]")? {
                '\\' => self.escape(true)?,
                // In Rust, these would nest or combine classes.
                c @ ('[' | ']' | '&' | '~') => {
                    self.text.push('\\');
                    self.text.push(c);
                }
                c => self.text.push(c),
            }
        }
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
            assert_eq!(compile(pattern).map(|regex| regex.is_match(text)), Ok(matched), "{pattern}");
        }
        for wrong in ["(", "a**", "[", "\\", "(?x)a", "a{1001}", "\\C", "\\8", "(?=a)", "\\Z", "[b-a]"] {
            assert!(compile(wrong).is_err(), "{wrong}");
        }
    }
}
