//! Durations as Go programs write them, on the command line and in the `Istio` resource: `1h30m`, `500ms`, `1.5s`.
//! Reads them; what a duration may be is the business of its reader.

use std::time::Duration;

const NANOS_PER_SECOND: f64 = 1e9;

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
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => NANOS_PER_SECOND,
        "m" => 60.0 * NANOS_PER_SECOND,
        "h" => 3600.0 * NANOS_PER_SECOND,
        "" => return Err(advice("a unit is missing")),
        other => return Err(advice(&format!("{other:?} is no unit"))),
    };
    let number: f64 = number.parse().map_err(|_| advice(&format!("{number:?} is no number")))?;
    let seconds = number * nanos / NANOS_PER_SECOND;
    Ok((Duration::try_from_secs_f64(seconds).map_err(|_| too_long())?, after))
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
    fn what_is_no_duration_is_refused_with_the_reason() {
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
