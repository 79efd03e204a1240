//! Strings: printing, trimming, replacing, cutting.

use super::Type::{Any, Int, String as Text};
use super::{
    Answer, Function, any, bytes, check_length, count, from, integer, plain, preserving_bytes,
    preserving_bytes_of_one, text, variadic,
};
use crate::encoding;
use crate::exec::Failure;
use crate::format;
use crate::value::{Element, List, Map, MapType, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("print", &[], Any, |a| Ok(Value::text(format::sprint(a)?))),
    variadic("println", &[], Any, |a| Ok(Value::text(format::sprintln(a)?))),
    variadic("printf", &[Text], Any, |a| Ok(Value::text(format::sprintf(bytes(a, 0), from(a, 1))?))),
    plain("hello", &[], |_| Ok(Value::string("Hello!"))),
    variadic("quote", &[], Any, quote),
    variadic("squote", &[], Any, squote),
    variadic("cat", &[], Any, cat),
    plain("toString", &[Any], |a| Ok(Value::text(format::to_text(&any(a, 0))?))),
    plain("indent", &[Int, Text], |a| indent(a, "")),
    plain("nindent", &[Int, Text], |a| indent(a, "\n")),
    plain("trim", &[Text], |a| match std::str::from_utf8(bytes(a, 0)) {
        Ok(text) => Ok(Value::string(text.trim())),
        Err(_) => Ok(Value::text(bytes(a, 0).trim_ascii().to_vec())),
    }),
    plain("trimAll", &[Text, Text], trim_all),
    plain("trimall", &[Text, Text], trim_all),
    plain("trimPrefix", &[Text, Text], |a| {
        let whole = bytes(a, 1);
        Ok(Value::text(whole.strip_prefix(bytes(a, 0)).unwrap_or(whole).to_vec()))
    }),
    plain("trimSuffix", &[Text, Text], |a| {
        let whole = bytes(a, 1);
        Ok(Value::text(whole.strip_suffix(bytes(a, 0)).unwrap_or(whole).to_vec()))
    }),
    plain("nospace", &[Text], nospace),
    plain("replace", &[Text, Text, Text], replace),
    plain("repeat", &[Int, Text], repeat),
    plain("trunc", &[Int, Text], trunc),
    plain("substr", &[Int, Int, Text], substr),
    plain("abbrev", &[Int, Text], |a| abbreviate(0, integer(a, 0), bytes(a, 1))),
    plain("abbrevboth", &[Int, Int, Text], |a| abbreviate(integer(a, 0), integer(a, 1), bytes(a, 2))),
    plain("wrap", &[Int, Text], |a| wrap(integer(a, 0), "\n", bytes(a, 1), false)),
    plain("wrapWith", &[Int, Text, Text], |a| {
        let separator = text(a, 1);
        wrap(integer(a, 0), if separator.is_empty() { "\n" } else { &separator }, bytes(a, 2), true)
    }),
    plain("plural", &[Text, Text, Int], |a| Ok(any(a, usize::from(integer(a, 2) != 1)))),
    plain("contains", &[Text, Text], |a| Ok(Value::Bool(text(a, 1).contains(&*text(a, 0))))),
    plain("hasPrefix", &[Text, Text], |a| Ok(Value::Bool(bytes(a, 1).starts_with(bytes(a, 0))))),
    plain("hasSuffix", &[Text, Text], |a| Ok(Value::Bool(bytes(a, 1).ends_with(bytes(a, 0))))),
    plain("split", &[Text, Text], |a| Ok(keyed(pieces(bytes(a, 0), bytes(a, 1), None)))),
    plain("splitn", &[Text, Int, Text], |a| Ok(keyed(pieces(bytes(a, 0), bytes(a, 2), Some(integer(a, 1)))))),
    plain("splitList", &[Text, Text], |a| {
        Ok(Value::List(List::of(Element::String, pieces(bytes(a, 0), bytes(a, 1), None))))
    }),
    plain("join", &[Text, Any], join),
];

fn without_nil(values: &[Value]) -> impl Iterator<Item = &Value> {
    values.iter().filter(|value| !value.is_nil())
}

fn quote(arguments: &[Value]) -> Answer {
    let quoted =
        without_nil(arguments).map(|value| Ok(format::quote_bytes(&format::to_text(value)?, '"', false)));
    Ok(Value::string(quoted.collect::<Result<Vec<_>, Failure>>()?.join(" ")))
}

fn squote(arguments: &[Value]) -> Answer {
    let mut all = Vec::new();
    for (index, value) in without_nil(arguments).enumerate() {
        let text = format::verbatim(value)?;
        all.extend_from_slice(if index > 0 { b" '" } else { b"'" });
        all.extend_from_slice(&text);
        all.push(b'\'');
    }
    Ok(Value::text(all))
}

/// Values with a space between them.
fn cat(arguments: &[Value]) -> Answer {
    let mut all = Vec::new();
    for (index, value) in without_nil(arguments).enumerate() {
        if index > 0 {
            all.push(b' ');
        }
        all.extend_from_slice(&format::verbatim(value)?);
    }
    Ok(Value::text(all))
}

/// Puts spaces before every line, empty ones too.
fn indent(arguments: &[Value], before: &str) -> Answer {
    let (spaces, whole) = (count(arguments, 0)?, bytes(arguments, 1));
    let lines = whole.split(|byte| *byte == b'\n').count();
    check_length(lines.saturating_mul(spaces).saturating_add(whole.len()))?;
    let pad = vec![b' '; spaces];
    let mut text = Vec::with_capacity(whole.len() + lines * spaces + 1);
    text.extend_from_slice(before.as_bytes());
    text.extend_from_slice(&pad);
    for byte in whole {
        text.push(*byte);
        if *byte == b'\n' {
            text.extend_from_slice(&pad);
        }
    }
    Ok(Value::text(text))
}

fn trim_all(arguments: &[Value]) -> Answer {
    Ok(preserving_bytes_of_one([bytes(arguments, 0), bytes(arguments, 1)], |[cut, whole]| {
        let cut: Vec<char> = cut.chars().collect();
        whole.trim_matches(cut.as_slice()).to_owned()
    }))
}

/// Go's library reads bytes and takes each for a character.
fn nospace(arguments: &[Value]) -> Answer {
    let whole = bytes(arguments, 0);
    let is_space = |byte: u8| char::from(byte).is_whitespace();
    if !whole.iter().any(|byte| is_space(*byte)) {
        return Ok(any(arguments, 0));
    }
    let kept: String = whole.iter().filter(|byte| !is_space(**byte)).map(|byte| char::from(*byte)).collect();
    Ok(Value::string(kept))
}

fn replace(arguments: &[Value]) -> Answer {
    let (old, new, whole) = (bytes(arguments, 0), bytes(arguments, 1), bytes(arguments, 2));
    let matches = if old.is_empty() { whole.len() + 1 } else { whole.len() / old.len() };
    if matches.saturating_mul(new.len()) > super::LARGEST_TEXT {
        let count = encoding::marked(whole).matches(&*encoding::marked(old)).count();
        check_length(count.saturating_mul(new.len()))?;
    }
    Ok(preserving_bytes_of_one([old, new, whole], |[old, new, whole]| whole.replace(old, new)))
}

fn repeat(arguments: &[Value]) -> Answer {
    let (count, piece) = (count(arguments, 0)?, bytes(arguments, 1));
    check_length(piece.len().saturating_mul(count))?;
    Ok(Value::text(piece.repeat(count)))
}

/// Cuts to a number of bytes, from the end when it is negative.
fn trunc(arguments: &[Value]) -> Answer {
    let (length, whole) = (integer(arguments, 0), bytes(arguments, 1));
    let limit = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
    let cut = match length {
        0.. => whole.get(..limit),
        _ => whole.len().checked_sub(limit).and_then(|start| whole.get(start..)),
    };
    Ok(Value::text(cut.unwrap_or(whole).to_vec()))
}

fn substr(arguments: &[Value]) -> Answer {
    let (start, end, whole) = (integer(arguments, 0), integer(arguments, 1), bytes(arguments, 2));
    let position = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let cut = match (start, end) {
        (..0, _) if end < 0 => None,
        (..0, _) => whole.get(..position(end)),
        _ if end < 0 || position(end) > whole.len() => whole.get(position(start)..),
        _ => whole.get(position(start)..position(end)),
    };
    cut.map(|cut| Value::text(cut.to_vec())).ok_or_else(|| "slice bounds out of range".into())
}

/// Shortens a text to a width, with dots where something is left out.
fn abbreviate(offset: i64, width: i64, whole: &[u8]) -> Answer {
    let (Ok(width), Ok(offset)) = (usize::try_from(width), usize::try_from(offset.max(0))) else {
        return Ok(Value::text(whole.to_vec()));
    };
    if width < 4 || offset > 0 && width < 7 || whole.len() <= width {
        return Ok(Value::text(whole.to_vec()));
    }
    Ok(Value::text(abbreviated(whole, offset, width)))
}

fn abbreviated(whole: &[u8], offset: usize, width: usize) -> Vec<u8> {
    let offset = offset.min(whole.len());
    let offset = if whole.len() - offset < width - 3 { whole.len() - (width - 3) } else { offset };
    if offset <= 4 {
        return [&whole[..width - 3], b"..."].concat();
    }
    if width < 7 {
        return Vec::new();
    }
    if offset + width - 3 < whole.len() {
        let rest = &whole[offset..];
        let rest = if rest.len() <= width - 3 { rest.to_vec() } else { abbreviated(rest, 0, width - 3) };
        return [b"...".to_vec(), rest].concat();
    }
    [b"...", &whole[whole.len() - (width - 3)..]].concat()
}

/// Breaks lines at spaces; words that are too long are cut or stay whole.
fn wrap(width: i64, separator: &str, whole: &[u8], cuts: bool) -> Answer {
    let width = usize::try_from(width.max(1)).unwrap_or(1);
    check_length((whole.len() / width + 1).saturating_mul(separator.len()).saturating_add(whole.len()))?;
    let mut wrapped = Vec::new();
    let mut rest = whole;
    while rest.len() > width {
        if rest[0] == b' ' {
            rest = &rest[1..];
            continue;
        }
        let space = rest[..=width].iter().rposition(|byte| *byte == b' ');
        let behind = || rest[width..].iter().position(|byte| *byte == b' ').map(|at| at + width);
        let space = if cuts { space } else { space.or_else(behind) };
        match space {
            Some(at) => {
                wrapped.extend_from_slice(&rest[..at]);
                wrapped.extend_from_slice(separator.as_bytes());
                rest = &rest[at + 1..];
            }
            None if cuts => {
                wrapped.extend_from_slice(&rest[..width]);
                wrapped.extend_from_slice(separator.as_bytes());
                rest = &rest[width..];
            }
            None => {
                wrapped.extend_from_slice(rest);
                rest = &[];
            }
        }
    }
    wrapped.extend_from_slice(rest);
    Ok(Value::text(wrapped))
}

/// `strings.SplitN`: all pieces, or at most so many.
fn pieces(separator: &[u8], whole: &[u8], limit: Option<i64>) -> Vec<Value> {
    preserving_bytes([separator, whole], |[separator, whole]| text_pieces(separator, whole, limit))
}

fn text_pieces(separator: &str, whole: &str, limit: Option<i64>) -> Vec<String> {
    let limit = match limit {
        None | Some(..0) => usize::MAX,
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    if limit == 0 {
        return Vec::new();
    }
    if !separator.is_empty() {
        return whole.splitn(limit, separator).map(str::to_owned).collect();
    }
    // Nothing separates every two characters.
    let mut pieces: Vec<String> = Vec::new();
    for (index, c) in whole.char_indices() {
        if pieces.len() + 1 == limit {
            pieces.push(whole.get(index..).unwrap_or_default().to_owned());
            break;
        }
        pieces.push(c.to_string());
    }
    pieces
}

/// The pieces as a map with keys `_0`, `_1`, …
fn keyed(pieces: Vec<Value>) -> Value {
    let entries = pieces.into_iter().enumerate().map(|(index, piece)| (format!("_{index}").into(), piece));
    Value::Map(Map::of(MapType::String, entries))
}

/// The texts of a list's elements, or of a single value.
pub(super) fn texts(value: &Value) -> Result<Vec<Vec<u8>>, Failure> {
    match value.elements() {
        Some(elements) => without_nil(&elements).map(|value| Ok(format::to_text(value)?)).collect(),
        None if value.is_nil() => Ok(Vec::new()),
        None => Ok(vec![format::to_text(value)?]),
    }
}

fn join(arguments: &[Value]) -> Answer {
    let texts = texts(&any(arguments, 1))?;
    let separator = bytes(arguments, 0);
    let length = texts.iter().map(|text| text.len() + separator.len()).sum();
    check_length(length)?;
    Ok(Value::text(texts.join(separator)))
}
