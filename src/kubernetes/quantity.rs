//! Kubernetes quantities, such as `7910m` or `32Gi`, as numbers.
//! Parses only; quantities of users are passed on as they are written.

/// Parses a quantity in thousandths of its unit, rounded towards zero; `None` if it is not a quantity.
pub(crate) fn thousandths(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = scale(suffix)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(scale)? / divisor)
}

/// A quantity in the one notation that messages use: `1` for `1000m` and `1.0`, `1Gi` for `1024Mi`. Text that is not a
/// quantity stays.
pub(crate) fn canonical(text: &str) -> String {
    const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let Some(thousandths) = thousandths(text) else { return text.to_owned() };
    if thousandths % 1000 != 0 {
        return format!("{thousandths}m");
    }
    let whole = thousandths / 1000;
    let units = BINARY.map(|(suffix, bits)| (suffix, 1_i128 << bits));
    let units = units.into_iter().chain([("G", 1_000_000_000), ("M", 1_000_000)]);
    match { units }.find(|(_, unit)| whole != 0 && whole % unit == 0) {
        Some((suffix, unit)) => format!("{}{suffix}", whole / unit),
        None => whole.to_string(),
    }
}

/// The number of thousandths in one unit of a suffix.
fn scale(suffix: &str) -> Option<i128> {
    Some(match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        "Ei" => 1_000 << 60,
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_i128.checked_pow(exponent)?.checked_mul(1_000)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_quantities_have_one_notation() {
        for (texts, expected) in [
            (&["1", "1000m", "1.0", "1e0"][..], "1"),
            (&["20m", "0.02"], "20m"),
            (&["1Gi", "1024Mi", "1048576Ki", "1073741824"], "1Gi"),
            (&["128Mi"], "128Mi"),
            (&["1G", "1000M"], "1G"),
            (&["0", "0m"], "0"),
            (&["x"], "x"),
        ] {
            for text in texts {
                assert_eq!(canonical(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn quantities_are_read_by_value() {
        for (text, expected) in [
            ("8", Some(8_000)),
            ("7910m", Some(7_910)),
            ("0.5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("10G", Some(10_000_000_000_000)),
            ("32864212Ki", Some(33_652_953_088_000)),
            ("1e3", Some(1_000_000)),
            ("12E", Some(12_000_000_000_000_000_000_000)),
            ("", None),
            ("Gi", None),
            ("1x", None),
            ("1.2.3", None),
            ("-1", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
