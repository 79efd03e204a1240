//! Checks whether a text is a regular expression of RE2, the library with which Envoy matches statistics.
//!
//! Pure. Follows the syntax that RE2 documents (github.com/google/re2/wiki/Syntax), and never matches. Rust's `regex`
//! crate accepts another language: it lacks `\Q…\E` and adds set operations.

use std::collections::BTreeSet;

/// The most repetitions that RE2 allows, nested ones multiplied.
const MAX_REPETITIONS: u32 = 1000;
/// The deepest nesting of groups that RE2 allows.
const MAX_DEPTH: u32 = 1000;

/// Checks an expression.
///
/// # Errors
/// What is wrong with it, as a clause.
pub(super) fn check(expression: &str) -> Result<(), String> {
    let mut parser = Parser { rest: expression, names: BTreeSet::new(), depth: 0 };
    parser.alternatives()?;
    if parser.rest.is_empty() { Ok(()) } else { Err("an opening parenthesis is missing".to_owned()) }
}

struct Parser<'a> {
    rest: &'a str,
    names: BTreeSet<&'a str>,
    depth: u32,
}

impl Parser<'_> {
    /// Reads alternatives up to a closing parenthesis or the end. Returns how often they can repeat something inside,
    /// nested repetitions multiplied.
    fn alternatives(&mut self) -> Result<u32, String> {
        let mut weight = 1;
        // The weight of what a repetition operator would apply to, and whether one has been applied already.
        let mut operand: Option<(u32, bool)> = None;
        while let Some(next) = self.rest.chars().next().filter(|next| *next != ')') {
            operand = match next {
                '|' => {
                    self.advance(next);
                    None
                }
                '*' | '+' | '?' => {
                    self.advance(next);
                    Some((self.repeat(operand, 1)?, true))
                }
                '{' => {
                    if let Some(count) = self.counted_repetition()? {
                        Some((self.repeat(operand, count)?, true))
                    } else {
                        self.advance(next);
                        Some((1, false))
                    }
                }
                '(' => self.group()?.map_or(operand, |weight| Some((weight, false))),
                _ => {
                    self.single(next)?;
                    Some((1, false))
                }
            };
            weight = weight.max(operand.map_or(1, |(weight, _)| weight));
        }
        Ok(weight)
    }

    fn repeat(&mut self, operand: Option<(u32, bool)>, count: u32) -> Result<u32, String> {
        let weight = match operand {
            None => return Err("a repetition has nothing to repeat".to_owned()),
            Some((_, true)) => return Err("a repetition follows another one".to_owned()),
            Some((weight, false)) => weight.saturating_mul(count.max(1)),
        };
        if weight > MAX_REPETITIONS {
            return Err(format!("it has more than {MAX_REPETITIONS} repetitions"));
        }
        self.accept('?');
        Ok(weight)
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`. Anything else that begins with a brace stands for itself.
    fn counted_repetition(&mut self) -> Result<Option<u32>, String> {
        let Some((inside, after)) = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return Ok(None);
        };
        let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(least) || !(most.is_empty() || is_number(most)) {
            return Ok(None);
        }
        let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let (least, most) = (count(least), if most.is_empty() { count(least) } else { count(most) });
        if least > most || most > MAX_REPETITIONS {
            return Err(format!("{{{inside}}} is not a valid number of repetitions"));
        }
        self.rest = after;
        Ok(Some(most))
    }

    /// Reads a group. `None` if it only sets flags.
    fn group(&mut self) -> Result<Option<u32>, String> {
        self.advance('(');
        if self.accept('?') && self.group_head()? == GroupHead::FlagsOnly {
            return Ok(None);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("groups are nested too deeply".to_owned());
        }
        let weight = self.alternatives()?;
        self.depth -= 1;
        if self.accept(')') { Ok(Some(weight)) } else { Err("a parenthesis is not closed".to_owned()) }
    }

    fn group_head(&mut self) -> Result<GroupHead, String> {
        if let Some(rest) = self.rest.strip_prefix("P<").or_else(|| self.rest.strip_prefix('<')) {
            let Some((name, after)) = rest.split_once('>') else {
                return Err("the name of a group does not end".to_owned());
            };
            let valid =
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !valid || !self.names.insert(name) {
                return Err(format!("{name:?} is not a valid name of a group, or the name of two groups"));
            }
            self.rest = after;
            return Ok(GroupHead::Group);
        }
        self.flags()
    }

    fn flags(&mut self) -> Result<GroupHead, String> {
        let end = self.rest.find([':', ')']).ok_or("a group is not closed")?;
        let (flags, after) = self.rest.split_at(end);
        let (set, cleared) = flags.split_once('-').unwrap_or((flags, "i"));
        let known = |flags: &str| flags.bytes().all(|flag| b"imsU".contains(&flag));
        let is_group = after.starts_with(':');
        if !known(set) || !known(cleared) || cleared.is_empty() {
            return Err(format!("(?{flags} is not a group that RE2 supports"));
        }
        self.rest = &after[1..];
        Ok(if is_group { GroupHead::Group } else { GroupHead::FlagsOnly })
    }

    /// Reads what matches one character or one place: an escape, a class, or a character.
    fn single(&mut self, next: char) -> Result<(), String> {
        match next {
            '[' => self.class(),
            '\\' => self.escape(),
            _ => {
                self.advance(next);
                Ok(())
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        if let Some(quoted) = self.rest.strip_prefix(r"\Q") {
            self.rest = quoted.split_once(r"\E").map_or("", |(_, after)| after);
            return Ok(());
        }
        if let Some(rest) =
            self.rest.strip_prefix(r"\").and_then(|rest| rest.strip_prefix(['A', 'z', 'b', 'B', 'C']))
        {
            self.rest = rest;
            return Ok(());
        }
        if self.class_escape()? { Ok(()) } else { self.character_escape().map(|_| ()) }
    }

    /// Reads `\d`, `\pN`, `\p{Name}` and their like. False if there is none.
    fn class_escape(&mut self) -> Result<bool, String> {
        let Some(rest) = self.rest.strip_prefix('\\') else { return Ok(false) };
        if let Some(after) = rest.strip_prefix(['d', 'D', 's', 'S', 'w', 'W']) {
            self.rest = after;
            return Ok(true);
        }
        let Some(property) = rest.strip_prefix(['p', 'P']) else { return Ok(false) };
        self.rest = if let Some(braced) = property.strip_prefix('{') {
            let (name, after) = braced.split_once('}').unwrap_or_default();
            let name = name.strip_prefix('^').unwrap_or(name);
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
                return Err(r"\p{ needs the name of a Unicode class and a closing brace".to_owned());
            }
            after
        } else {
            property
                .strip_prefix(['C', 'L', 'M', 'N', 'P', 'S', 'Z'])
                .ok_or(r"\p needs the name of a Unicode class")?
        };
        Ok(true)
    }

    /// Reads an escape that stands for one character.
    fn character_escape(&mut self) -> Result<char, String> {
        self.advance('\\');
        let Some(next) = self.rest.chars().next() else { return Err("it ends in a backslash".to_owned()) };
        self.advance(next);
        match next {
            'a' => Ok('\x07'),
            'f' => Ok('\x0C'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0B'),
            'x' => self.hexadecimal(),
            '0'..='7' => self.octal(next),
            _ if next.is_ascii() && !next.is_ascii_alphanumeric() => Ok(next),
            _ => Err(format!(r"\{next} is not an escape that RE2 supports")),
        }
    }

    fn hexadecimal(&mut self) -> Result<char, String> {
        let (digits, after) = if let Some(braced) = self.rest.strip_prefix('{') {
            braced.split_once('}').unwrap_or_default()
        } else {
            self.rest.split_at_checked(2).unwrap_or_default()
        };
        self.rest = after;
        let digits = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32)
            .ok_or_else(|| r"\x needs the number of a character, two digits or digits in braces".to_owned())
    }

    /// Reads up to three octal digits. A single digit other than zero would be a back-reference, which RE2 lacks.
    fn octal(&mut self, first: char) -> Result<char, String> {
        let is_octal = |c: char| c.is_digit(8);
        if first != '0' && !self.rest.starts_with(is_octal) {
            return Err(format!(r"\{first} is a back-reference, which RE2 does not support"));
        }
        let mut number = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8)) else { break };
            number = number * 8 + digit;
            self.rest = &self.rest[1..];
        }
        char::from_u32(number).ok_or_else(|| "an octal escape is not a character".to_owned())
    }

    fn class(&mut self) -> Result<(), String> {
        self.advance('[');
        self.accept('^');
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.rest.is_empty() {
                return Err("a bracket is not closed".to_owned());
            }
            if !self.named_class()? && !self.class_escape()? {
                self.range()?;
            }
        }
        self.advance(']');
        Ok(())
    }

    /// Reads `[:alpha:]` and its like inside a class. False if there is none.
    fn named_class(&mut self) -> Result<bool, String> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        let Some((name, after)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("[:{name}:] is not a class that RE2 supports"));
        }
        self.rest = after;
        Ok(true)
    }

    fn range(&mut self) -> Result<(), String> {
        let low = self.class_character()?;
        let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
        if is_range {
            self.advance('-');
            let high = self.class_character()?;
            if high < low {
                return Err(format!("the range {low}-{high} is reversed"));
            }
        }
        Ok(())
    }

    fn class_character(&mut self) -> Result<char, String> {
        match self.rest.chars().next() {
            None => Err("a bracket is not closed".to_owned()),
            Some('\\') => self.character_escape(),
            Some(next) => {
                self.advance(next);
                Ok(next)
            }
        }
    }

    fn accept(&mut self, expected: char) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Skips a character that is known to come next.
    fn advance(&mut self, next: char) {
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
    }
}

#[derive(PartialEq, Eq)]
enum GroupHead {
    Group,
    FlagsOnly,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expressions_of_re2_are_accepted() {
        for expression in [
            "",
            ".*outlier_detection.*",
            r"cluster\..*",
            "a|b||",
            "(a)(?:b)(?P<n>c)(?<m>d)",
            "(?i)a",
            "(?i-s:a)",
            "(?U)a+?",
            r"\Q(not a group\E",
            "^*$",
            "a{2,3}?",
            "a{,3}",
            "a{x",
            "{",
            "}",
            "]",
            "[]a]",
            "[^]a]",
            "[a-]",
            "[-a]",
            "[[]",
            "[a-b-c]",
            "[a&&b]",
            r"[\d\p{Greek}[:^alpha:]]",
            r"\pN\PL\p{^Lu}",
            "(?)",
            r"\A\z\b\B\C",
            r"\x41\x{10FFFF}\07\12",
            r"\.\-\/\~",
            "a{1000}",
            "(a{10}){100}",
            "é+",
        ] {
            assert_eq!(check(expression), Ok(()), "{expression}");
        }
    }

    #[test]
    fn expressions_that_re2_does_not_have_are_refused() {
        for expression in [
            "(",
            ")",
            "a)",
            "(a",
            "*",
            "a|*",
            "(+)",
            "a**",
            "a+*",
            "a{2}{3}",
            "a{1001}",
            "a{3,2}",
            "(a{100}){11}",
            "[",
            "[a",
            "[]",
            "[b-a]",
            "[[:nope:]]",
            r"a\",
            r"\1",
            r"\8",
            r"\Z",
            r"\G",
            r"\y",
            r"\é",
            r"\p",
            r"\p{",
            r"\p{}",
            r"\x4",
            r"\x{110000}",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            "(?P=n)",
            "(?P<a>.)(?P<a>.)",
            "(?P<a-b>.)",
            "(?x)a",
            r"\pX",
            "(?i-)a",
            "(?#a)",
        ] {
            assert!(check(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_crash() {
        assert!(check(&"(".repeat(100_000)).is_err());
        assert_eq!(check(&format!("{}{}", "(".repeat(900), ")".repeat(900))), Ok(()));
    }

    proptest! {
        #[test]
        fn any_text_is_checked_without_a_panic(text in r"[\\\[\](){}|*+?^$.:\-<>=!a-zA-Z0-9,é]{0,24}") {
            let _ = check(&text);
        }

        #[test]
        fn a_quoted_text_is_an_expression(text in r"[^\\]{0,24}") {
            prop_assert_eq!(check(&format!(r"\Q{text}\E")), Ok(()));
        }
    }
}
