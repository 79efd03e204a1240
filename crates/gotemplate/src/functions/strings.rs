//! Strings.

use super::{Answer, Plain, any, size, text};
use crate::format;
use crate::value::{Map, Value};

pub(super) fn find(name: &str) -> Option<Plain> {
    Some(match name {
        "print" => |a| Ok(Value::string(print(a))),
        "println" => |a| Ok(Value::string(format!("{}\n", joined(a, " ")))),
        "printf" => |a| Ok(Value::string(format::sprintf(&text(a, 0)?, a.get(1..).unwrap_or_default()))),
        "quote" => |a| Ok(Value::string(quoted(a, format::quote))),
        "squote" => |a| Ok(Value::string(quoted(a, |text| format!("'{text}'")))),
        "cat" => |a| Ok(Value::string(joined(&without_nil(a), " "))),
        "indent" => |a| Ok(Value::string(indent(size(a, 0)?, &text(a, 1)?))),
        "nindent" => |a| Ok(Value::string(format!("\n{}", indent(size(a, 0)?, &text(a, 1)?)))),
        "trim" => |a| Ok(Value::string(text(a, 0)?.trim())),
        "trimAll" => {
            |a| Ok(Value::string(text(a, 1)?.trim_matches(&*text(a, 0)?.chars().collect::<Vec<_>>())))
        }
        "trimPrefix" => {
            |a| Ok(Value::string(text(a, 1)?.strip_prefix(&*text(a, 0)?).unwrap_or(&text(a, 1)?)))
        }
        "trimSuffix" => {
            |a| Ok(Value::string(text(a, 1)?.strip_suffix(&*text(a, 0)?).unwrap_or(&text(a, 1)?)))
        }
        "upper" => |a| Ok(Value::string(text(a, 0)?.to_uppercase())),
        "lower" => |a| Ok(Value::string(text(a, 0)?.to_lowercase())),
        "replace" => |a| Ok(Value::string(text(a, 2)?.replace(&text(a, 0)?, &text(a, 1)?))),
        "repeat" => repeat,
        "trunc" => trunc,
        "contains" => |a| Ok(Value::Bool(text(a, 1)?.contains(&text(a, 0)?))),
        "hasPrefix" => |a| Ok(Value::Bool(text(a, 1)?.starts_with(&text(a, 0)?))),
        "hasSuffix" => |a| Ok(Value::Bool(text(a, 1)?.ends_with(&text(a, 0)?))),
        "split" => split,
        "splitList" => |a| Ok(Value::list(pieces(&text(a, 0)?, &text(a, 1)?))),
        "join" => join,
        "regexMatch" => regex_match,
        _ => return None,
    })
}

/// `fmt.Sprint`: a space between two operands when neither is a string.
fn print(arguments: &[Value]) -> String {
    let mut printed = String::new();
    for (index, value) in arguments.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| arguments.get(before));
        if before.is_some_and(|before| before.as_str().is_none() && value.as_str().is_none()) {
            printed.push(' ');
        }
        printed.push_str(&shown(value));
    }
    printed
}

/// A value inside a text, where nil is `<nil>`.
fn shown(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        other => format::print(other),
    }
}

fn joined(values: &[Value], separator: &str) -> String {
    values.iter().map(shown).collect::<Vec<_>>().join(separator)
}

fn without_nil(values: &[Value]) -> Vec<Value> {
    values.iter().filter(|value| !matches!(value, Value::Nil)).cloned().collect()
}

fn quoted(arguments: &[Value], quote: impl Fn(&str) -> String) -> String {
    without_nil(arguments).iter().map(|value| quote(&format::print(value))).collect::<Vec<_>>().join(" ")
}

/// Puts spaces before every line, empty ones too.
fn indent(spaces: usize, text: &str) -> String {
    let pad = " ".repeat(spaces);
    format!("{pad}{}", text.replace('\n', &format!("\n{pad}")))
}

fn repeat(arguments: &[Value]) -> Answer {
    const LARGEST: usize = 16 << 20;
    let (count, piece) = (size(arguments, 0)?, text(arguments, 1)?);
    if piece.len().saturating_mul(count) > LARGEST {
        return Err("the repeated text is larger than any manifest should be".into());
    }
    Ok(Value::string(piece.repeat(count)))
}

/// Cuts to a number of bytes, from the end when it is negative.
fn trunc(arguments: &[Value]) -> Answer {
    let (length, whole) = (super::integer(arguments, 0)?, text(arguments, 1)?);
    let limit = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
    if whole.len() <= limit {
        return Ok(Value::string(whole));
    }
    let bytes = whole.as_bytes();
    let cut = if length >= 0 { bytes.get(..limit) } else { bytes.get(bytes.len() - limit..) };
    Ok(Value::string(String::from_utf8_lossy(cut.unwrap_or_default())))
}

fn pieces(separator: &str, whole: &str) -> Vec<Value> {
    if separator.is_empty() {
        return whole.chars().map(|c| Value::string(c.to_string())).collect();
    }
    whole.split(separator).map(Value::string).collect()
}

/// The pieces as a map with keys `_0`, `_1`, …
fn split(arguments: &[Value]) -> Answer {
    let pieces = pieces(&text(arguments, 0)?, &text(arguments, 1)?);
    let keyed = pieces.into_iter().enumerate().map(|(index, piece)| (format!("_{index}").into(), piece));
    Ok(Value::Map(keyed.collect::<Map>()))
}

fn join(arguments: &[Value]) -> Answer {
    let separator = text(arguments, 0)?;
    let joined = match any(arguments, 1)? {
        Value::List(list) => joined(&without_nil(&list.values()), &separator),
        other => shown(other),
    };
    Ok(Value::string(joined))
}

/// A pattern that does not compile matches nothing, as in Sprig.
fn regex_match(arguments: &[Value]) -> Answer {
    let (pattern, whole) = (text(arguments, 0)?, text(arguments, 1)?);
    Ok(Value::Bool(regex_lite::Regex::new(&pattern).is_ok_and(|regex| regex.is_match(&whole))))
}
