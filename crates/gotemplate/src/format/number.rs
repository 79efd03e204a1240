//! Numbers by the rules of Go's `strconv.FormatFloat` and `fmt`.

/// A float as Go's `%v` prints it: shortest form, with an exponent below 1e-4 and from 1e6 on.
#[must_use]
pub(crate) fn float(value: f64) -> String {
    float_with(value, 'g', None)
}

/// `strconv.FormatFloat` for the formats b, e, E, f, F, g, G, x and X; `None` is the shortest form that reads back the same.
pub(crate) fn float_with(value: f64, format: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let upper = format.is_ascii_uppercase();
    let text = match format.to_ascii_lowercase() {
        'e' => scientific(value, precision),
        'f' => match precision {
            Some(precision) => fixed(value, precision),
            None => format!("{value}"),
        },
        'x' => hexadecimal(value, precision),
        'b' => return binary(value),
        _ => general(value, precision),
    };
    if upper { text.to_uppercase() } else { text }
}

/// No float has more digits behind its point; Rust prints no more than 65535.
const MOST_DIGITS: usize = 1100;

fn fixed(value: f64, precision: usize) -> String {
    let zeros = precision.saturating_sub(MOST_DIGITS);
    format!("{value:.*}{}", precision.min(MOST_DIGITS), "0".repeat(zeros))
}

fn scientific(value: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{value:.*e}", precision.min(MOST_DIGITS)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = split(&text);
    let zeros = precision.unwrap_or(0).saturating_sub(MOST_DIGITS);
    with_exponent(&format!("{mantissa}{}", "0".repeat(zeros)), exponent)
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn split(text: &str) -> (&str, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa, exponent.parse().unwrap_or_default())
}

/// `%g`: as few digits as needed, an exponent when the number is very small or has more digits than the precision.
fn general(value: f64, precision: Option<usize>) -> String {
    let wanted = precision.map(|precision| precision.max(1));
    let text = match wanted {
        Some(digits) => format!("{value:.*e}", (digits - 1).min(MOST_DIGITS)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = split(&text);
    let mantissa = without_zeros(mantissa);
    let digits = i32::try_from(mantissa.bytes().filter(u8::is_ascii_digit).count()).unwrap_or(i32::MAX);
    let limit = match wanted.and_then(|wanted| i32::try_from(wanted).ok()) {
        // For the shortest form Go takes 6, whatever the number of digits.
        None => 6,
        Some(wanted) if wanted > digits && digits > exponent => digits,
        Some(wanted) => wanted,
    };
    if exponent < -4 || exponent >= limit {
        return with_exponent(mantissa, exponent);
    }
    let decimals = usize::try_from((digits - 1 - exponent).max(0)).unwrap_or_default();
    match wanted {
        None => format!("{value}"),
        Some(_) => fixed(value, decimals),
    }
}

/// The fraction of a float and its exponent of two; the fraction is an integer.
fn parts(value: f64) -> (u64, i32) {
    const FRACTION: u32 = 52;
    const BIAS: i32 = 1023;
    let bits = value.to_bits();
    let fraction = bits & ((1 << FRACTION) - 1);
    let exponent = i32::try_from(bits >> FRACTION & 0x7ff).unwrap_or_default();
    match exponent {
        0 => (fraction, 1 - BIAS),
        _ => (fraction | 1 << FRACTION, exponent - BIAS),
    }
}

/// A decimal fraction with an exponent of two.
fn binary(value: f64) -> String {
    let (fraction, exponent) = parts(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{fraction}p{:+}", exponent - 52)
}

/// A hexadecimal fraction with an exponent of two.
fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    /// The leading digit stands here, fifteen digits of four bits below it.
    const LEAD: u32 = 60;
    let (mut fraction, mut exponent) = parts(value);
    fraction <<= 8;
    if fraction == 0 {
        exponent = 0;
    } else {
        let shift = fraction.leading_zeros() - (63 - LEAD);
        fraction <<= shift;
        exponent -= i32::try_from(shift).unwrap_or_default();
    }
    if let Some(digits) =
        precision.and_then(|digits| u32::try_from(digits).ok()).filter(|digits| *digits < 15)
    {
        let dropped = LEAD - 4 * digits;
        let rest = fraction & ((1 << dropped) - 1);
        fraction >>= dropped;
        // Halves go to the even neighbour.
        if rest > 1 << (dropped - 1) || rest == 1 << (dropped - 1) && fraction & 1 == 1 {
            fraction += 1;
        }
        fraction <<= dropped;
        if fraction >> (LEAD + 1) != 0 {
            fraction >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:015x}", fraction & ((1 << LEAD) - 1));
    let shown = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(precision) => {
            let zeros = "0".repeat(precision.saturating_sub(digits.len()));
            (digits + &zeros).get(..precision).unwrap_or_default().to_owned()
        }
    };
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let point = if shown.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}0x{}{point}{shown}p{exponent_sign}{:02}", fraction >> LEAD, exponent.abs())
}

fn without_zeros(mantissa: &str) -> &str {
    if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa }
}

/// The digits of an unsigned number in a base up to 16.
pub(super) fn digits(mut number: u64, base: u64, upper: bool) -> String {
    let alphabet: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut reversed = Vec::new();
    loop {
        let digit = usize::try_from(number % base).unwrap_or_default();
        reversed.push(char::from(alphabet[digit]));
        number /= base;
        if number == 0 {
            break;
        }
    }
    reversed.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        for (number, text) in [
            (1.0, "1"),
            (0.0, "0"),
            (-0.0, "-0"),
            (0.5, "0.5"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (123_456.0, "123456"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn a_precision_bounds_the_digits() {
        for (format, precision, text) in [
            ('f', 2, "1234.57"),
            ('e', 3, "1.235e+03"),
            ('g', 3, "1.23e+03"),
            ('g', 5, "1234.6"),
            ('G', 2, "1.2E+03"),
            ('x', 2, "0x1.35p+10"),
            ('X', 0, "0X1P+10"),
        ] {
            assert_eq!(float_with(1234.5678, format, Some(precision)), text);
        }
        assert_eq!(float_with(0.5, 'f', Some(100_000)), format!("0.5{}", "0".repeat(99_999)));
        assert_eq!(float_with(0.5, 'e', Some(100_000)), format!("5.{}e-01", "0".repeat(100_000)));
        assert_eq!(float_with(100_000.0, 'g', Some(3)), "1e+05");
        assert_eq!(float_with(100.0, 'g', Some(10)), "100");
    }
}
