//! What a value on the allow-list holds.

use std::fmt;

use serde_json::Value;

use super::structures::StructureKind;
use super::texts::TextKind;

/// What a value holds.
#[derive(Clone, Debug)]
pub(super) enum ValueKind {
    /// `true` or `false`.
    Bool,
    /// The same, or its text: the value of an environment variable.
    Flag,
    /// A whole number.
    Integer { least: i64, most: i64 },
    /// The same, or its text: the value of an environment variable.
    Count { least: i64, most: i64 },
    /// A number, from 0.
    Number { most: i64 },
    /// The same, or its text: the value of an environment variable.
    Decimal { most: i64 },
    /// A number of pods or a part of them.
    PercentOrInteger,
    /// A port.
    Port,
    /// A duration as Go writes it, such as `1m30s`.
    Duration,
    /// A duration as protocol buffers write it, such as `1.5s`.
    Seconds,
    /// One of these texts.
    OneOf(Vec<&'static str>),
    /// A text.
    Text(&'static TextKind),
    /// A map or list that is judged as a whole.
    Structure(&'static StructureKind),
}

impl ValueKind {
    /// Reads what stands after the path in `allowed_values.txt`; `None` if there is no such kind.
    pub fn parse(text: &'static str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let name = words.next()?;
        let mut bound = || words.next()?.parse().ok();
        Some(match name {
            "bool" => Self::Bool,
            "flag" => Self::Flag,
            "integer" => Self::Integer { least: bound()?, most: bound()? },
            "count" => Self::Count { least: bound()?, most: bound()? },
            "number" if bound()? == 0 => Self::Number { most: bound()? },
            "decimal" if bound()? == 0 => Self::Decimal { most: bound()? },
            "percent-or-integer" => Self::PercentOrInteger,
            "port" => Self::Port,
            "duration" => Self::Duration,
            "seconds" => Self::Seconds,
            "one-of" => Self::OneOf(words.map(|word| if word == "\"\"" { "" } else { word }).collect()),
            _ => match TextKind::named(name) {
                Some(kind) => Self::Text(kind),
                None => Self::Structure(StructureKind::named(name)?),
            },
        })
    }

    /// Whether `value` is of this kind.
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool | Self::Flag, Value::Bool(_)) => true,
            (Self::Flag, Value::String(text)) => ["true", "false", "1", "0"].contains(&text.as_str()),
            (Self::Integer { least, most } | Self::Count { least, most }, Value::Number(number)) => {
                number.as_i64().is_some_and(|number| (*least..=*most).contains(&number))
            }
            (Self::Count { least, most }, Value::String(text)) => {
                whole(text).is_some_and(|number| (*least..=*most).contains(&number))
            }
            (Self::Number { most } | Self::Decimal { most }, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| is_up_to(number, *most))
            }
            (Self::Decimal { most }, Value::String(text)) => {
                is_decimal(text) && text.parse().is_ok_and(|number| is_up_to(number, *most))
            }
            (Self::PercentOrInteger, Value::Number(number)) => {
                number.as_i64().is_some_and(|n| (0..=10_000).contains(&n))
            }
            (Self::PercentOrInteger, Value::String(text)) => {
                whole(text.strip_suffix('%').unwrap_or(text)).is_some_and(|n| (0..=10_000).contains(&n))
            }
            (Self::Port, Value::Number(number)) => number.as_u64().is_some_and(|n| (1..=65_535).contains(&n)),
            (Self::Duration, Value::String(text)) => is_go_duration(text),
            (Self::Seconds, Value::String(text)) => {
                text.len() <= 32 && text.strip_suffix('s').is_some_and(is_decimal)
            }
            (Self::OneOf(texts), Value::String(text)) => texts.contains(&text.as_str()),
            (Self::OneOf(texts), Value::Bool(value)) => {
                texts.contains(&if *value { "true" } else { "false" })
            }
            (Self::Text(kind), Value::String(text)) => kind.accepts(text),
            // A single port, as YAML reads it.
            (Self::Text(kind), Value::Number(number)) if kind.name == "ports" => {
                kind.accepts(&number.to_string())
            }
            (Self::Structure(kind), value) => kind.accepts(value),
            _ => false,
        }
    }
}

/// A whole number without a sign, of at most nine digits.
fn whole(text: &str) -> Option<i64> {
    let is_whole = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| text.parse().ok()).flatten()
}

#[expect(clippy::cast_precision_loss, reason = "bounds are small")]
fn is_up_to(number: f64, most: i64) -> bool {
    (0.0..=most as f64).contains(&number)
}

/// Digits with at most one point among them.
fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 31 && is_digits(whole) && is_digits(fraction)
}

fn is_go_duration(text: &str) -> bool {
    text.len() <= 64 && (text == "0" || (text.starts_with(|c: char| c.is_ascii_digit()) && is_units(text)))
}

/// Numbers with a unit each.
fn is_units(mut text: &str) -> bool {
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let unit = ["ns", "us", "ms", "s", "m", "h"].iter().find(|unit| {
            rest.strip_prefix(**unit).is_some_and(|next| !next.starts_with(|c: char| c.is_ascii_alphabetic()))
        });
        let (true, Some(unit)) = (is_decimal(number), unit) else { return false };
        text = &rest[unit.len()..];
    }
    true
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool | Self::Flag => f.write_str("true or false"),
            Self::Integer { least, most } | Self::Count { least, most } => {
                write!(f, "an integer from {least} to {most}")
            }
            Self::Number { most } | Self::Decimal { most } => write!(f, "a number from 0 to {most}"),
            Self::PercentOrInteger => f.write_str("a number of pods, or a percentage such as 25%"),
            Self::Port => f.write_str("a port from 1 to 65535"),
            Self::Duration => f.write_str("a duration such as 1m30s"),
            Self::Seconds => f.write_str("a duration in seconds, such as 1.5s"),
            Self::OneOf(texts) => {
                let texts: Vec<_> =
                    texts.iter().map(|text| if text.is_empty() { "\"\"" } else { text }).collect();
                match &texts[..] {
                    [only] => f.write_str(only),
                    texts => write!(f, "one of {}", texts.join(", ")),
                }
            }
            Self::Text(kind) => f.write_str(kind.description),
            Self::Structure(kind) => f.write_str(kind.description),
        }
    }
}
