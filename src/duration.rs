//! Durations as Go programs write them, on the command line and in the `Istio` resource: `1h30m`, `500ms`, `1.5s`.
//! Reads them; what a duration may be is the business of its reader.

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Digits after the point that are read: those of a nanosecond in an hour, and then some.
const FRACTION_DIGITS: usize = 20;

/// Parses a duration in the syntax of Go's `time.ParseDuration`, except that it must not be negative.
///
/// The error is a sentence for a person at a terminal, for clap to print beside the flag.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err("it must not be negative".to_owned());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(advice("it is empty"));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (component, after) = component(rest)?;
        total = total.checked_add(component).ok_or_else(too_long)?;
        rest = after;
    }
    Ok(total)
}

/// Splits one number with its unit off the front.
fn component(text: &str) -> Result<(Duration, &str), String> {
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
        "" => return Err(advice("a unit is missing")),
        other => return Err(advice(&format!("{other:?} is no unit"))),
    };
    let total = times(number, nanos)?;
    let seconds = u64::try_from(total / NANOS_PER_SECOND).map_err(|_| too_long())?;
    let rest = u32::try_from(total % NANOS_PER_SECOND).map_err(|_| too_long())?;
    Ok((Duration::new(seconds, rest), after))
}

/// A decimal number of units, each of `nanos`, in whole nanoseconds. No floating point: every digit counts.
fn times(number: &str, nanos: u128) -> Result<u128, String> {
    let no_number = || advice(&format!("{number:?} is no number"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(no_number());
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
    // More digits than these are below a nanosecond of any unit.
    let fraction = fraction.get(..FRACTION_DIGITS).unwrap_or(fraction);
    let (mut part, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes() {
        part = part * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let whole = whole.checked_mul(nanos).ok_or_else(too_long)?;
    whole.checked_add(part * nanos / scale).ok_or_else(too_long)
}

fn advice(problem: &str) -> String {
    format!("{problem}; write a duration as numbers with units, such as 90s, 1h30m or 500ms")
}

fn too_long() -> String {
    "it is too long".to_owned()
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
        for (text, reason) in [
            ("", "it is empty"),
            ("+", "it is empty"),
            ("5", "a unit is missing"),
            ("s", "is no number"),
            ("1.2.3s", "is no number"),
            ("5x", "\"x\" is no unit"),
            ("1h 30m", "\"h \" is no unit"),
            ("-1s", "negative"),
            ("99999999999999999999999h", "too long"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
