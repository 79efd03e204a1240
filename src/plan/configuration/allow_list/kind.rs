//! What a value on the allow-list holds.
//!
//! Pure. The kinds are the vocabulary of `allowed_values.txt`.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::structures::StructureKind;
use super::texts::TextKind;
use crate::duration;
use crate::plan::shapes::is_port;

/// Longest duration as a text, in bytes.
const MAX_DURATION_TEXT: usize = 64;

/// What a value holds.
#[derive(Clone, Debug)]
pub(super) enum ValueKind {
    /// `true` or `false`.
    Bool,
    /// The same, or its text: the value of an environment variable.
    BoolOrText,
    /// A whole number.
    Integer { least: i64, most: i64 },
    /// The same, or its text: the value of an environment variable.
    IntegerOrText { least: i64, most: i64 },
    /// A number, from 0.
    Number { most: i64 },
    /// The same, or its text: the value of an environment variable.
    NumberOrText { most: i64 },
    /// A number of pods or a part of them.
    PercentOrInteger,
    /// A port.
    Port,
    /// A duration as Go writes it, such as `1m30s`. Istio reads those of the mesh configuration this way, too.
    Duration { least: Duration, most: Duration },
    /// One of these texts.
    OneOf { texts: Vec<&'static str>, is_removable: bool },
    /// A text.
    Text(&'static TextKind),
    /// A map or list that is checked as a whole.
    Structure(&'static StructureKind),
}

impl ValueKind {
    /// Reads what stands after the path in `allowed_values.txt`; `None` if there is no such kind, or a word too many.
    pub fn parse(text: &'static str) -> Option<Self> {
        let words: Vec<&'static str> = text.split_whitespace().collect();
        let number = |text: &str| text.parse::<i64>().ok();
        let one_of = |texts: &[&'static str], is_removable| Self::OneOf {
            texts: texts.iter().map(|text| if *text == "\"\"" { "" } else { text }).collect(),
            is_removable,
        };
        Some(match &words[..] {
            ["bool"] => Self::Bool,
            ["flag"] => Self::BoolOrText,
            ["integer", least, most] => Self::Integer { least: number(least)?, most: number(most)? },
            ["count", least, most] => Self::IntegerOrText { least: number(least)?, most: number(most)? },
            ["number", most] => Self::Number { most: number(most)? },
            ["decimal", most] => Self::NumberOrText { most: number(most)? },
            ["percent-or-integer"] => Self::PercentOrInteger,
            ["port"] => Self::Port,
            ["duration"] => Self::Duration { least: Duration::ZERO, most: Duration::MAX },
            ["duration", least, most] => {
                Self::Duration { least: duration::parse(least).ok()?, most: duration::parse(most).ok()? }
            }
            ["one-of", texts @ ..] if !texts.is_empty() => one_of(texts, true),
            // Null would leave the choice to Istio, whose own default may not be among these.
            ["only", texts @ ..] if !texts.is_empty() => one_of(texts, false),
            [name] => match TextKind::named(name) {
                Some(kind) => Self::Text(kind),
                None => Self::Structure(StructureKind::named(name)?),
            },
            _ => return None,
        })
    }

    /// Whether null may remove the value.
    pub fn is_removable(&self) -> bool {
        !matches!(self, Self::OneOf { is_removable: false, .. })
    }

    /// Whether `value` is of this kind.
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool | Self::BoolOrText, Value::Bool(_)) => true,
            (Self::BoolOrText, Value::String(text)) => ["true", "false", "1", "0"].contains(&text.as_str()),
            (Self::Integer { least, most } | Self::IntegerOrText { least, most }, Value::Number(number)) => {
                number.as_i64().is_some_and(|number| (*least..=*most).contains(&number))
            }
            (Self::IntegerOrText { least, most }, Value::String(text)) => {
                whole(text).is_some_and(|number| (*least..=*most).contains(&number))
            }
            (Self::Number { most } | Self::NumberOrText { most }, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| is_up_to(number, *most))
            }
            (Self::NumberOrText { most }, Value::String(text)) => {
                is_decimal(text) && text.parse().is_ok_and(|number| is_up_to(number, *most))
            }
            (Self::PercentOrInteger, Value::Number(number)) => {
                number.as_i64().is_some_and(|n| (0..=10_000).contains(&n))
            }
            (Self::PercentOrInteger, Value::String(text)) => {
                whole(text.strip_suffix('%').unwrap_or(text)).is_some_and(|n| (0..=10_000).contains(&n))
            }
            (Self::Port, Value::Number(_)) => value.is_u64() && is_port(value),
            (Self::Duration { least, most }, Value::String(text)) => {
                let duration = (text.len() <= MAX_DURATION_TEXT && text.is_ascii() && !text.starts_with('+'))
                    .then(|| duration::parse(text).ok());
                duration.flatten().is_some_and(|duration| (*least..=*most).contains(&duration))
            }
            (Self::OneOf { texts, .. }, Value::String(text)) => texts.contains(&text.as_str()),
            (Self::OneOf { texts, .. }, Value::Bool(value)) => {
                texts.contains(&if *value { "true" } else { "false" })
            }
            (Self::Text(kind), Value::String(text)) => kind.accepts(text),
            // A single port, as YAML reads it.
            (Self::Text(kind), Value::Number(number)) if kind.takes_numbers => {
                kind.accepts(&number.to_string())
            }
            (Self::Structure(kind), value) => kind.check(value).is_ok(),
            _ => false,
        }
    }

    /// Whether `value` has the JSON type of this kind, so that only the bounds of the list exclude it.
    pub fn is_type_of(&self, value: &Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Integer { .. } | Self::Number { .. } | Self::Port => value.is_number(),
            Self::Structure(_) => value.is_object() || value.is_array(),
            _ => !value.is_object() && !value.is_array(),
        }
    }

    /// Why `value` is not of this kind, as a clause.
    pub fn explain(&self, value: &Value) -> String {
        let reason = match (self, value) {
            (Self::Text(kind), Value::String(text)) => kind.explain(text),
            (Self::Structure(kind), value) => kind.check(value).err(),
            _ => None,
        };
        reason.unwrap_or_else(|| format!("must be {self}"))
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

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool | Self::BoolOrText => f.write_str("true or false"),
            Self::Integer { least, most } | Self::IntegerOrText { least, most } => {
                write!(f, "an integer from {least} to {most}")
            }
            Self::Number { most } | Self::NumberOrText { most } => write!(f, "a number from 0 to {most}"),
            Self::PercentOrInteger => f.write_str("a number of pods, or a percentage such as 25%"),
            Self::Port => f.write_str("a port from 1 to 65535"),
            Self::Duration { least, most } if least.is_zero() && *most == Duration::MAX => {
                f.write_str("a duration such as 1.5s, 100ms, or 1m")
            }
            Self::Duration { least, most } => {
                write!(f, "a duration from {}s to {}s, such as 10m", least.as_secs(), most.as_secs())
            }
            Self::OneOf { texts, .. } => {
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
