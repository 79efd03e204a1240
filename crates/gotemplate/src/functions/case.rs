//! Upper and lower case.

use super::Type::String as Text;
use super::{Answer, Function, plain, text};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    plain("upper", &[Text], |a| Ok(Value::string(text(a, 0).chars().map(upper).collect::<String>()))),
    plain("lower", &[Text], |a| Ok(Value::string(text(a, 0).chars().map(lower).collect::<String>()))),
    plain("title", &[Text], title),
    plain("untitle", &[Text], untitle),
];

/// Go maps each character to one character; those that become several stay.
pub(super) fn upper(c: char) -> char {
    single(c, c.to_uppercase())
}

pub(super) fn lower(c: char) -> char {
    single(c, c.to_lowercase())
}

fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(mapped), None) => mapped,
        // A capital I with a dot has a lower case of two.
        (Some('i'), Some(_)) => 'i',
        _ => c,
    }
}

/// What separates words for `title`: everything but letters, digits and underscores, if it is ASCII or white space.
fn is_separator(c: char) -> bool {
    match c {
        c if c.is_ascii() => !(c.is_ascii_alphanumeric() || c == '_'),
        c if c.is_alphanumeric() => false,
        c => c.is_whitespace(),
    }
}

fn title(arguments: &[Value]) -> Answer {
    let mut before = ' ';
    let whole = text(arguments, 0);
    let titled = whole.chars().map(|c| {
        let mapped = if is_separator(before) { upper(c) } else { c };
        before = c;
        mapped
    });
    Ok(Value::string(titled.collect::<String>()))
}

fn untitle(arguments: &[Value]) -> Answer {
    let mut starts = true;
    let whole = text(arguments, 0);
    let mapped = whole.chars().map(|c| {
        let mapped = if starts && !c.is_whitespace() { lower(c) } else { c };
        starts = c.is_whitespace();
        mapped
    });
    Ok(Value::string(mapped.collect::<String>()))
}
