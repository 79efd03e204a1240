//! What a plain scalar means.

use crate::syntax::integer;

/// The meaning of a plain scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    /// A date, which Helm reads as text but does not write without quotes.
    Timestamp,
    Text,
}

pub(super) fn resolve(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return Meaning::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Meaning::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') if is_decimal(text) => text.parse().map_or(Meaning::Text, Meaning::Float),
        Some(b'0'..=b'9' | b'+' | b'-') => number(text),
        _ => Meaning::Text,
    }
}

fn number(text: &str) -> Meaning {
    if is_timestamp(text) {
        return Meaning::Timestamp;
    }
    let plain = text.replace('_', "");
    if let Some(integer) = integer(&plain) {
        return Meaning::Integer(integer);
    }
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    if is_decimal(digits) {
        return plain
            .parse()
            .ok()
            .filter(|float: &f64| float.is_finite())
            .map_or(Meaning::Text, Meaning::Float);
    }
    Meaning::Text
}

/// `[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?`, or the same with nothing before the point and something behind it.
fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    !(whole.is_empty() && fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && exponent_is_fine
}

/// A date, or a date with a time of day.
fn is_timestamp(text: &str) -> bool {
    let is_year =
        text.len() > 4 && text.as_bytes()[..4].iter().all(u8::is_ascii_digit) && text.as_bytes()[4] == b'-';
    is_year
        && [
            "2006-1-2T15:4:5.999999999Z07:00",
            "2006-1-2t15:4:5.999999999Z07:00",
            "2006-1-2 15:4:5.999999999",
            "2006-1-2",
        ]
        .iter()
        .any(|layout| crate::date::Time::parse(layout, text).is_ok())
}

/// Whether a text looks like a number in base 60, which Go reads as text but writes in quotes.
pub(super) fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = match unsigned.rsplit_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (unsigned, ""),
    };
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let sixty = |text: &str| match text.as_bytes() {
        [a] => a.is_ascii_digit(),
        [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
        _ => false,
    };
    whole.contains(':')
        && first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && digits(fraction)
        && parts.all(sixty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_go_reads() {
        for (text, meaning) in [
            ("~", Meaning::Null),
            ("y", Meaning::Bool(true)),
            ("Off", Meaning::Bool(false)),
            ("yEs", Meaning::Text),
            ("0777", Meaning::Integer(511)),
            ("0o17", Meaning::Integer(15)),
            ("0x1F", Meaning::Integer(31)),
            ("-0b11", Meaning::Integer(-3)),
            ("1_000", Meaning::Integer(1000)),
            ("18446744073709551615", Meaning::Integer(18_446_744_073_709_551_615)),
            ("18446744073709551616", Meaning::Float(18_446_744_073_709_551_616.0)),
            ("08", Meaning::Float(8.0)),
            ("1.", Meaning::Float(1.0)),
            (".5", Meaning::Float(0.5)),
            ("+1e3", Meaning::Float(1000.0)),
            (".", Meaning::Text),
            ("1e", Meaning::Text),
            ("1.2.3", Meaning::Text),
            ("2001-01-01", Meaning::Timestamp),
            ("2001-13-01", Meaning::Text),
            ("190:20:30", Meaning::Text),
            ("<<", Meaning::Text),
        ] {
            assert_eq!(resolve(text), meaning, "{text}");
        }
        assert!(is_base60("190:20:30.5") && is_base60("1:2") && !is_base60("1:60") && !is_base60("a:1"));
    }
}
