//! The words of a text: their case, their initials, and what connects them.

use super::Type::String as Text;
use super::case::{lower, upper};
use super::{Answer, Function, bytes, plain, preserving_bytes_of_one, text};
use crate::encoding::is_mark;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    plain("swapcase", &[Text], swap_case),
    plain("initials", &[Text], initials),
    plain("camelcase", &[Text], |a| Ok(Value::string(pascal_case(&text(a, 0))))),
    plain("snakecase", &[Text], |a| {
        Ok(preserving_bytes_of_one([bytes(a, 0)], |[text]| separated(text, '_')))
    }),
    plain("kebabcase", &[Text], |a| {
        Ok(preserving_bytes_of_one([bytes(a, 0)], |[text]| separated(text, '-')))
    }),
];

fn swap_case(arguments: &[Value]) -> Answer {
    let swap = |c: char| match c {
        c if c.is_uppercase() => lower(c),
        c if c.is_lowercase() => upper(c),
        c => c,
    };
    Ok(Value::string(text(arguments, 0).chars().map(swap).collect::<String>()))
}

/// Go's library reads bytes and takes each for a character.
fn initials(arguments: &[Value]) -> Answer {
    let mut starts = true;
    let mut initials = String::new();
    for c in super::bytes(arguments, 0).iter().map(|byte| char::from(*byte)) {
        if c.is_whitespace() {
            starts = true;
        } else if starts {
            initials.push(c);
            starts = false;
        }
    }
    Ok(Value::string(initials))
}

fn is_connector(c: char) -> bool {
    c == '-' || c == '_' || c.is_whitespace()
}

/// Words without connectors, each with a capital; connectors at the ends and all but one of several stay.
fn pascal_case(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = String::new();
    let mut current = None;
    for c in chars.by_ref() {
        if !is_connector(c) {
            current = Some(c);
            break;
        }
        out.push(c);
    }
    let Some(first) = current else {
        // Go's library prints the last connector twice when there is nothing else.
        out.extend(text.chars().next_back());
        return out;
    };
    let mut first_is_upper = first.is_uppercase();
    let mut current = upper(first);
    for next in chars {
        let before = current;
        current = next;
        if is_connector(current) && is_connector(before) {
            out.push(before);
            continue;
        }
        if is_connector(before) {
            first_is_upper = current.is_uppercase();
            current = upper(current);
        } else {
            if first_is_upper {
                if current.is_uppercase() {
                    current = lower(current);
                } else {
                    first_is_upper = false;
                }
            }
            out.push(before);
        }
    }
    out.push(current);
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    None,
    Number,
    Upper,
    Letters,
    Connector,
    Punctuation,
    Other,
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() && (c.is_lowercase() || c.is_uppercase())
}

/// ASCII punctuation by Unicode, which does not count symbols such as `$` and `+`.
fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_punctuation() && !"$+<=>^`|~".contains(c)
    } else {
        !c.is_alphanumeric()
            && !c.is_whitespace()
            && !c.is_control()
            && ('\u{2010}'..='\u{2027}').contains(&c)
    }
}

/// The word that a text starts with, and the rest.
fn next_word(text: &str) -> (Word, &str, &str) {
    // Invalid bytes belong to the word that contains them.
    let Some((at, first)) = text.char_indices().find(|(_, c)| !is_mark(*c)) else {
        return (if text.is_empty() { Word::None } else { Word::Other }, text, "");
    };
    let start = at + first.len_utf8();
    let run = |belongs: &dyn Fn(char) -> bool| {
        let (mut end, mut c) = (start, first);
        while let Some((next, size)) = next_valid(text, end, c).filter(|(next, _)| belongs(*next)) {
            (end, c) = (end + size, next);
        }
        end
    };
    let lower_letters = |c: char| is_letter(c) && !c.is_uppercase();
    let (word, length) = if is_connector(first) {
        (Word::Connector, run(&is_connector))
    } else if is_punctuation(first) {
        (Word::Punctuation, run(&is_punctuation))
    } else if first.is_uppercase() {
        (Word::Upper, upper_word(text, start, first))
    } else if is_letter(first) {
        (Word::Letters, run(&lower_letters))
    } else if first.is_numeric() {
        (Word::Number, run(&char::is_numeric))
    } else {
        let other = |c: char| !(is_connector(c) || is_letter(c) || c.is_numeric() || is_punctuation(c));
        (Word::Other, run(&other))
    };
    let (taken, rest) = text.split_at(length);
    (word, taken, rest)
}

/// The end of a word whose capital ends at `start`: several capitals, of which the last may start the next word, or one
/// capital with the letters behind it.
fn upper_word(text: &str, start: usize, first: char) -> usize {
    let (mut end, mut c, mut last) = (start, first, 0);
    while let Some((next, size)) = next_valid(text, end, c) {
        if !next.is_uppercase() {
            return match last {
                0 => lower_end(text, end, c),
                last if is_letter(next) => end - last,
                _ => end,
            };
        }
        (end, c, last) = (end + size, next, size);
    }
    end
}

/// The end of the letters behind a capital.
fn lower_end(text: &str, start: usize, capital: char) -> usize {
    let (mut end, mut c) = (start, capital);
    while let Some((next, size)) = next_valid(text, end, c) {
        if !is_letter(next) || next.is_uppercase() {
            break;
        }
        (end, c) = (end + size, next);
    }
    end
}

/// The first character behind a place that is text, and how far it reaches; without one, the previous character again.
fn next_valid(text: &str, end: usize, previous: char) -> Option<(char, usize)> {
    let rest = text.get(end..).filter(|rest| !rest.is_empty())?;
    let found = rest.char_indices().find(|(_, c)| !is_mark(*c));
    Some(found.map_or((previous, rest.len()), |(at, c)| (c, at + c.len_utf8())))
}

/// Words in lower case with a connector between them; digits belong to the word before, unless letters follow.
fn separated(text: &str, connector: char) -> String {
    let mut out = String::new();
    let (mut kind, mut word, mut rest) = next_word(text);
    while !rest.is_empty() {
        if kind != Word::Connector {
            push_lower(&mut out, kind, word, connector);
        }
        let (before, last) = (kind, word);
        (kind, word, rest) = next_word(rest);
        match before {
            Word::Number => {
                (kind, word, rest) = push_run(&mut out, (kind, word, rest), connector);
                if !matches!(kind, Word::None | Word::Punctuation | Word::Connector) {
                    out.push(connector);
                }
            }
            Word::Connector => push_lower(&mut out, before, last, connector),
            Word::Punctuation => {}
            _ if kind != Word::Number => {
                if !matches!(kind, Word::Connector | Word::Punctuation) {
                    out.push(connector);
                }
            }
            _ if rest.is_empty() => {}
            _ => {
                let digits = word;
                (kind, word, rest) = next_word(rest);
                if kind != Word::Letters {
                    push_lower(&mut out, Word::Number, digits, connector);
                    if !matches!(kind, Word::Connector | Word::Punctuation) {
                        out.push(connector);
                    }
                    continue;
                }
                out.push(connector);
                push_lower(&mut out, Word::Number, digits, connector);
                (kind, word, rest) = push_run(&mut out, (kind, word, rest), connector);
                if !matches!(kind, Word::None | Word::Connector | Word::Punctuation) {
                    out.push(connector);
                }
            }
        }
    }
    push_lower(&mut out, kind, word, connector);
    out
}

/// Adds letters and digits that belong together; returns what comes behind them.
fn push_run<'t>(
    out: &mut String,
    (mut kind, mut word, mut rest): (Word, &'t str, &'t str),
    connector: char,
) -> (Word, &'t str, &'t str) {
    while matches!(kind, Word::Letters | Word::Number) {
        push_lower(out, kind, word, connector);
        (kind, word, rest) = next_word(rest);
    }
    (kind, word, rest)
}

fn push_lower(out: &mut String, kind: Word, word: &str, connector: char) {
    if !matches!(kind, Word::Upper | Word::Connector) {
        out.push_str(word);
        return;
    }
    for c in word.chars() {
        out.push(match c {
            c if is_connector(c) => connector,
            c if is_mark(c) => char::REPLACEMENT_CHARACTER,
            c => lower(c),
        });
    }
}
