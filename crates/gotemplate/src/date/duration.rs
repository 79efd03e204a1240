//! Go's `time.Duration`: nanoseconds.

const SECOND: u64 = 1_000_000_000;

/// `Duration.String`, such as `1h2m3.5s`.
pub(crate) fn print(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    if magnitude == 0 {
        return "0s".to_owned();
    }
    let small = [(1_000, "ns", 1), (1_000_000, "\u{b5}s", 1_000), (SECOND, "ms", 1_000_000)];
    if let Some((_, unit, size)) = small.into_iter().find(|(limit, ..)| magnitude < *limit) {
        return format!("{sign}{}{unit}", decimal(magnitude, size));
    }
    let (minutes, rest) = (magnitude / (60 * SECOND), magnitude % (60 * SECOND));
    let seconds = decimal(rest, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A number of units with its fraction, without trailing zeros.
fn decimal(number: u64, unit: u64) -> String {
    let (whole, fraction) = (number / unit, number % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.to_string().len() - 1;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// `time.ParseDuration`, such as `-1.5h`, `300ms` or `1h2m`.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", crate::format::quote(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(length);
        let length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(length);
        rest = tail;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(invalid());
        }
        let size: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(invalid()),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total = whole.checked_mul(size).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        total += part(fraction, size);
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return Err(invalid());
        }
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// A decimal fraction of a unit; digits behind the nanosecond do not count.
fn part(fraction: &str, unit: i128) -> i128 {
    let digits = fraction.get(..fraction.len().min(18)).unwrap_or_default();
    match digits.parse::<i128>() {
        Ok(number) => number * unit / 10i128.pow(u32::try_from(digits.len()).unwrap_or_default()),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_and_parse_as_in_go() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (2_000_000, "2ms"),
            (1_500_000_000, "1.5s"),
            (-90_000_000_000, "-1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(print(nanoseconds), text);
            assert_eq!(parse(text), Ok(nanoseconds));
        }
        assert_eq!(parse("1.5h"), Ok(5_400_000_000_000));
        for wrong in ["", "1", "x", "1.2.3s", ".s", "3000000h", "1d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
