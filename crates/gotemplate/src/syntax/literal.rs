//! Strings, characters and numbers as Go writes them.

use super::ast::Number;
use crate::value::Value;

/// The value of a string between its double quotes; `None` for an escape that Go does not have.
pub(super) fn unquote(inner: &str) -> Option<Value> {
    if !inner.contains('\\') {
        return Some(Value::string(inner));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            escape(&mut bytes, &mut chars, '"')?;
        } else {
            push(&mut bytes, c);
        }
    }
    Some(Value::text(bytes))
}

/// The code of a character between its single quotes.
pub(super) fn character(inner: &str) -> Option<Number> {
    let mut chars = inner.chars();
    let c = chars.next()?;
    let code = if c == '\\' {
        let mut bytes = Vec::new();
        let code = escape(&mut bytes, &mut chars, '\'')?;
        i64::from(code)
    } else if matches!(c, '\'' | '\n') {
        return None;
    } else {
        i64::from(u32::from(c))
    };
    #[allow(clippy::cast_precision_loss)] // Characters have 21 bits.
    let float = Some(code as f64);
    let unsigned = u64::try_from(code).ok();
    chars.next().is_none().then_some(Number {
        integer: Some(code),
        unsigned,
        float,
        ideal: Some(Value::Int(code)),
    })
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Adds what an escape stands for, behind its backslash; returns its code.
fn escape(bytes: &mut Vec<u8>, chars: &mut std::str::Chars<'_>, quote: char) -> Option<u32> {
    let simple = |c| Some((c, true));
    let kind = chars.next()?;
    let (code, is_character) = match kind {
        'a' => simple(7),
        'b' => simple(8),
        'f' => simple(12),
        'n' => simple(10),
        'r' => simple(13),
        't' => simple(9),
        'v' => simple(11),
        '\\' => simple(u32::from('\\')),
        kind if kind == quote => simple(u32::from(kind)),
        'x' => digits(chars, "", 2, 16).map(|code| (code, false)),
        'u' => digits(chars, "", 4, 16).map(|code| (code, true)),
        'U' => digits(chars, "", 8, 16).map(|code| (code, true)),
        '0'..='7' => {
            digits(chars, &kind.to_string(), 2, 8).filter(|code| *code < 256).map(|code| (code, false))
        }
        _ => None,
    }?;
    if is_character {
        push(bytes, char::from_u32(code)?);
    } else {
        // `\x` and octal escapes are bytes, not characters.
        bytes.push(u8::try_from(code).ok()?);
    }
    Some(code)
}

/// A code of exactly `count` digits, after those that were read already.
fn digits(chars: &mut std::str::Chars<'_>, first: &str, count: usize, radix: u32) -> Option<u32> {
    let mut text = first.to_owned();
    for _ in 0..count {
        text.push(chars.next().filter(|c| c.is_digit(radix))?);
    }
    u32::from_str_radix(&text, radix).ok()
}

/// A number in Go's syntax.
pub(super) fn number(text: &str) -> Result<Number, String> {
    if let Some(inner) = text.strip_suffix('i')
        && let Some((real, imaginary)) = complex(inner)
    {
        let whole = if imaginary == 0.0 { from_float(real) } else { NOT_REAL };
        return Ok(Number { ideal: Some(Value::Complex(real, imaginary)), ..whole });
    }
    if let Some(integer) = integer(text) {
        #[allow(clippy::cast_precision_loss)] // Go converts in the same way.
        let float = integer as f64;
        let (unsigned, signed) = (u64::try_from(integer).ok(), i64::try_from(integer).ok());
        // Go reads no sign where it reads an unsigned number.
        let unsigned = unsigned.filter(|number| *number == 0 || !text.starts_with(['+', '-']));
        let ideal = if is_float_syntax(text) { Some(Value::Float(float)) } else { signed.map(Value::Int) };
        return Ok(Number { integer: signed, unsigned, float: Some(float), ideal });
    }
    let float = float(text).ok_or_else(|| format!("illegal number syntax: {text:?}"))?;
    if !text.contains(['.', 'e', 'E', 'p', 'P']) {
        return Err(format!("integer overflow: {text:?}"));
    }
    Ok(from_float(float))
}

const NOT_REAL: Number = Number { integer: None, unsigned: None, float: None, ideal: None };

/// A float, and the integers that it is if it has no fraction.
fn from_float(float: f64) -> Number {
    const LARGEST: f64 = 9_223_372_036_854_775_808.0;
    #[allow(clippy::cast_possible_truncation)] // It is whole and in range.
    let integer = (float.fract() == 0.0 && (-LARGEST..LARGEST).contains(&float)).then_some(float as i64);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Likewise.
    let unsigned = (float.fract() == 0.0 && (0.0..2.0 * LARGEST).contains(&float)).then_some(float as u64);
    Number { integer, unsigned, float: Some(float), ideal: Some(Value::Float(float)) }
}

/// The parts of a complex number without its `i`; the real one may be missing.
fn complex(text: &str) -> Option<(f64, f64)> {
    // A sign behind an exponent belongs to it.
    let is_split = |(at, c): &(usize, char)| {
        matches!(c, '+' | '-') && *at > 0 && !text[..*at].ends_with(['e', 'E', 'p', 'P'])
    };
    match text.char_indices().find(is_split) {
        Some((at, _)) => Some((float(&text[..at])?, float(&text[at..])?)),
        None => Some((0.0, float(text)?)),
    }
}

fn is_float_syntax(text: &str) -> bool {
    let is_hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    !is_hexadecimal && text.contains(['.', 'e', 'E', 'p', 'P'])
}

/// An integer with an optional sign and base prefix, and with underscores between digits, by `strconv.ParseInt` with base 0.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = digits.get(..2).map(str::to_ascii_lowercase);
    let (digits, radix) = match prefixed.as_deref() {
        Some("0x") => (digits.get(2..)?, 16),
        Some("0o") => (digits.get(2..)?, 8),
        Some("0b") => (digits.get(2..)?, 2),
        _ if digits.len() > 1 && digits.starts_with('0') => (digits.get(1..)?, 8),
        _ => (digits, 10),
    };
    let had_prefix = radix != 10;
    if !underscores_are_fine(digits, had_prefix) {
        return None;
    }
    let plain = digits.replace('_', "");
    if plain.is_empty() || plain.len() > 64 || !plain.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(&plain, radix).ok()?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    // Go tries an unsigned integer too, which has no sign.
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// Underscores stand between digits, or between a prefix and a digit.
fn underscores_are_fine(digits: &str, had_prefix: bool) -> bool {
    (had_prefix || !digits.starts_with('_')) && !digits.ends_with('_') && !digits.contains("__")
}

/// A decimal or hexadecimal float.
fn float(text: &str) -> Option<f64> {
    if text.contains('_') {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.trim_start_matches(['+', '-']);
    if let Some(digits) = unsigned.strip_prefix("0x") {
        let value = hexadecimal_float(digits)?;
        return Some(if lower.starts_with('-') { -value } else { value });
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    lower.parse().ok().filter(|float: &f64| float.is_finite())
}

/// A mantissa in base 16 with a binary exponent.
fn hexadecimal_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().ok()?;
    if whole.len() + fraction.len() > 13 || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    #[allow(clippy::cast_precision_loss)] // At most 52 bits.
    let value = digits as f64 * 2f64.powi(exponent - 4 * i32::try_from(fraction.len()).ok()?);
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_in_go() {
        for (text, ideal) in [
            ("1", Value::Int(1)),
            ("-7", Value::Int(-7)),
            ("+7", Value::Int(7)),
            ("0x1F", Value::Int(31)),
            ("0b101", Value::Int(5)),
            ("0o17", Value::Int(15)),
            ("017", Value::Int(15)),
            ("0x_1f", Value::Int(31)),
            ("1_000", Value::Int(1000)),
            ("1.5", Value::Float(1.5)),
            ("1e3", Value::Float(1000.0)),
            (".5", Value::Float(0.5)),
            ("0x1p4", Value::Float(16.0)),
            ("2i", Value::Complex(0.0, 2.0)),
            ("-1.5e+1-2i", Value::Complex(-15.0, -2.0)),
        ] {
            let read = number(text).unwrap_or_else(|error| panic!("{error}")).ideal.unwrap();
            assert_eq!(
                (read.type_name(), format!("{read:?}")),
                (ideal.type_name(), format!("{ideal:?}")),
                "{text}"
            );
        }
        for wrong in ["08", "1__0", "1_", "0x", "1e999", "99999999999999999999", "i"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn escapes_are_bytes_or_characters() {
        let bytes = |text: &str| unquote(text).and_then(|value| value.as_bytes().map(<[u8]>::to_vec));
        for (text, expected) in [
            ("a\\n\\\"", Some(&b"a\n\""[..])),
            ("\\xff", Some(b"\xff")),
            ("\\u00e4", Some("\u{e4}".as_bytes())),
            ("\\101", Some(b"A")),
            ("\\'", None),
            ("\\q", None),
            ("\\x4", None),
            ("\\ud800", None),
        ] {
            assert_eq!(bytes(text).as_deref(), expected, "{text}");
        }
        assert_eq!(character("a").and_then(|number| number.integer), Some(97));
        assert_eq!(character("\\n").and_then(|number| number.integer), Some(10));
        assert!(character("ab").is_none() && character("").is_none());
    }
}
