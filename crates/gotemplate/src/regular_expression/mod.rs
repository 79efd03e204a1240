//! Regular expressions as Go's package `regexp` understands them, on the crate `regex`.
//!
//! Both match in linear time and prefer the leftmost alternative. What differs is spelled differently before it is
//! compiled: Go's classes are ASCII, its brackets do not nest, and a brace that counts nothing is a brace.

mod translate;

use regex::{Captures, Match, Regex, RegexBuilder};

use crate::limits::Limits;

/// Go refuses to repeat more often.
const MOST_REPETITIONS: u32 = 1000;

/// Why a text is not a pattern; the message is Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// The names of the groups. Go gives one name to several groups, which Rust refuses, so the expression has none.
    names: Vec<Option<String>>,
}

impl Pattern {
    /// Compiles a pattern; the error is one sentence.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        Self::parse_within(pattern, Limits::GENEROUS.pattern)
    }

    /// Compiles a pattern that takes at most so many bytes when it is compiled.
    pub(crate) fn parse_within(pattern: &str, bytes: usize) -> Result<Self, PatternError> {
        let failed = |reason: String| PatternError(format!("error parsing regexp: {reason}: `{pattern}`"));
        let (translated, names) =
            translate::translate(pattern).map_err(|reason| failed(reason.to_owned()))?;
        let regex = RegexBuilder::new(&translated).size_limit(bytes).build().map_err(|error| {
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
    #[test]
    fn flags_between_an_atom_and_its_repetition_change_how_it_repeats() {
        for (pattern, text, matched) in [
            ("a(?U)+", "aaa", "a"),
            ("a(?U)+?", "aaa", "aaa"),
            ("(?U)a+(?-U)a*", "aaa", "aaa"),
            ("(?U:a+)a?", "aaa", "aa"),
            ("a{1,2}(?m)?", "aa", "aa"),
            ("a{1,2}(?m)+?", "aaaa", "aa"),
            ("a(?i)+A", "aaaA", "aaaA"),
            ("b|a(?i)+", "aA", "a"),
            ("\\Qab\\E+", "abb", "abb"),
            ("(?ii-ii)a(?)+", "aaA", "aa"),
        ] {
            let found = Pattern::parse(pattern).unwrap().find(text).map(|found| found.as_str().to_owned());
            assert_eq!(found.as_deref(), Some(matched), "{pattern}");
        }
        for wrong in ["(?i)*", "a|(?i)*", "((?i)+)", "(?-)a", "(?i-)a", "(?i--s)a"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn repetitions_of_repetitions_count_together() {
        for fine in ["(a{100}){10}", "(a{1000}){0}", "(?:a{2}b{500}){2}", "(a{1000}|b){1}", "(a{2,}){500}"] {
            assert!(Pattern::parse(fine).is_ok(), "{fine}");
        }
        for wrong in ["(a{100}){11}", "((a{10}){10}b){11}", "(a|b{501}){2}", "a{2,1}", "(a{2,}){501}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
