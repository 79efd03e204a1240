//! Durations in Go's format, on the command line and in the `Istio` resource: `1h30m`, `500ms`, `1.5s`.
//! Parses them; bounds are checked by the caller.

use std::time::Duration;

use thiserror::Error;

/// The remedy for a text that is not a duration.
const FORMAT: &str = "Use numbers with units, such as 90s, 1h30m or 500ms";
const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Maximum number of parsed digits after the decimal point: more than those of a nanosecond in hours.
const FRACTION_DIGITS: usize = 20;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// There is no number.
    #[error("the duration is empty. {FORMAT}")]
    Empty,
    /// A number has no unit.
    #[error("missing unit. {FORMAT}")]
    MissingUnit,
    /// A number has a unit that Go does not know.
    #[error("unknown unit {0:?}. {FORMAT}")]
    UnknownUnit(String),
    /// The text before a unit is not a number.
    #[error("invalid number {0:?}. {FORMAT}")]
    InvalidNumber(String),
    /// The duration is negative.
    #[error("the duration must not be negative")]
    Negative,
    /// The duration exceeds [`Duration::MAX`].
    #[error("the duration is too long")]
    TooLong,
}

/// Parses a duration in the format of Go's `time.ParseDuration`, except that it must not be negative.
pub fn parse(text: &str) -> Result<Duration, Error> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(Error::Negative);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(Error::Empty);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (component, after) = component(rest)?;
        total = total.checked_add(component).ok_or(Error::TooLong)?;
        rest = after;
    }
    Ok(total)
}

/// Splits the first number with its unit off.
fn component(text: &str) -> Result<(Duration, &str), Error> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(length);
    let nanos = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3600 * NANOS_PER_SECOND,
        "" => return Err(Error::MissingUnit),
        other => return Err(Error::UnknownUnit(other.to_owned())),
    };
    let total = times(number, nanos)?;
    let seconds = u64::try_from(total / NANOS_PER_SECOND).map_err(|_| Error::TooLong)?;
    let rest = u32::try_from(total % NANOS_PER_SECOND).map_err(|_| Error::TooLong)?;
    Ok((Duration::new(seconds, rest), after))
}

/// A decimal number of units, each of `nanos`, in whole nanoseconds. No floating point: every digit counts.
fn times(number: &str, nanos: u128) -> Result<u128, Error> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(Error::InvalidNumber(number.to_owned()));
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Error::TooLong)? };
    // More digits than these are below a nanosecond of any unit.
    let fraction = fraction.get(..FRACTION_DIGITS).unwrap_or(fraction);
    let (mut part, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes() {
        part = part * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let whole = whole.checked_mul(nanos).ok_or(Error::TooLong)?;
    whole.checked_add(part * nanos / scale).ok_or(Error::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("1s", 1_000),
            ("+2s", 2_000),
            ("1000s", 1_000_000),
            ("10h", 36_000_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("250ms", 250),
            ("5000us", 5),
            ("5000µs", 5),
            ("3000000ns", 3),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn every_digit_counts() {
        for (text, seconds, nanoseconds) in [
            ("0.1s", 0, 100_000_000),
            ("4503599627370497.5s", 4_503_599_627_370_497, 500_000_000),
            ("9007199254740993.000000001s", 9_007_199_254_740_993, 1),
            ("0.000000001h", 0, 3_600),
            ("1.9999999999999999999999s", 1, 999_999_999),
            ("33.3ns", 0, 33),
        ] {
            assert_eq!(parse(text), Ok(Duration::new(seconds, nanoseconds)), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_refused_with_a_reason() {
        for (text, error) in [
            ("", Error::Empty),
            ("+", Error::Empty),
            ("5", Error::MissingUnit),
            ("s", Error::InvalidNumber(String::new())),
            ("1.2.3s", Error::InvalidNumber("1.2.3".to_owned())),
            ("5x", Error::UnknownUnit("x".to_owned())),
            ("1h 30m", Error::UnknownUnit("h ".to_owned())),
            ("-1s", Error::Negative),
            ("99999999999999999999999h", Error::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
