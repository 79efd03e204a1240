//! How Go prints values: `fmt.Sprint`, `%v`, `%q` and its number formats.

use crate::value::Value;

/// Deepest nesting that is printed.
const DEPTH_LIMIT: usize = 200;

/// A value as `{{ . }}` prints it.
#[must_use]
pub fn print(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    text
}

fn write(text: &mut String, value: &Value, depth: usize) {
    if depth > DEPTH_LIMIT {
        text.push('…');
        return;
    }
    match value {
        Value::Nil => text.push_str(if depth == 0 { "<no value>" } else { "<nil>" }),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => text.push_str(&value.to_string()),
        Value::Float(value) => text.push_str(&float(*value)),
        Value::String(value) => text.push_str(value),
        Value::List(list) => {
            text.push('[');
            for (index, value) in list.values().iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                write(text, value, depth + 1);
            }
            text.push(']');
        }
        Value::Map(map) => {
            text.push_str("map[");
            for (index, (key, value)) in map.entries().iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                text.push_str(key);
                text.push(':');
                write(text, value, depth + 1);
            }
            text.push(']');
        }
        Value::Object(object) => text.push_str(object.type_name()),
    }
}

/// A float as Go's `%v` prints it: shortest form, with an exponent below 1e-4 and from 1e6 on.
#[must_use]
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.into();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        format!("{value}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    }
}

/// A string in double quotes with Go's escapes (`strconv.Quote`).
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{b}' => quoted.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if (0x80..0xa0).contains(&(c as u32)) || c == '\u{feff}' || c == '\u{ad}' => {
                quoted.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Go's `fmt.Sprintf` for the verbs that charts use: v, s, d, q, t, f, e, g, x, X, o, b, c, %, with flags and widths.
#[must_use]
pub fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "+-# 0".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zeros = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                _ => spec.space = true,
            }
        }
        spec.width = digits(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        match arguments.get(next) {
            Some(argument) => text.push_str(&spec.pad(&spec.format(verb, argument))),
            None => text.push_str(&format!("%!{verb}(MISSING)")),
        }
        next += 1;
    }
    if next < arguments.len() {
        let rest: Vec<String> =
            arguments.iter().skip(next).map(|v| format!("{}={}", v.type_name(), nested(v))).collect();
        text.push_str(&format!("%!(EXTRA {})", rest.join(", ")));
    }
    text
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        number = Some((number.unwrap_or(0) * 10 + digit as usize).min(10_000));
    }
    number
}

/// The flags of a verb, one for each character that sets it.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "Go has these five independent flags")]
struct Spec {
    left: bool,
    zeros: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// A value inside another text, where nil is `<nil>`.
fn nested(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 1);
    text
}

impl Spec {
    fn format(&self, verb: char, value: &Value) -> String {
        match (verb, value) {
            ('v', Value::String(text)) if self.sharp => quote(text),
            ('v', Value::Int(number)) if self.plus => format!("{number:+}"),
            ('v', _) | ('t', Value::Bool(_)) | ('s', Value::List(_) | Value::Map(_)) => nested(value),
            ('s', Value::String(text)) => match self.precision {
                Some(length) => text.chars().take(length).collect(),
                None => text.to_string(),
            },
            ('q', Value::String(text)) => quote(text),
            ('d', Value::Int(number)) if self.plus => format!("{number:+}"),
            ('d', Value::Int(number)) if self.space && *number >= 0 => format!(" {number}"),
            ('d', Value::Int(number)) => number.to_string(),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('X', Value::Int(number)) => format!("{number:X}"),
            ('o', Value::Int(number)) => format!("{number:o}"),
            ('b', Value::Int(number)) => format!("{number:b}"),
            ('c', Value::Int(number)) => {
                u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
            }
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('f' | 'F', Value::Float(number)) => format!("{number:.*}", self.precision.unwrap_or(6)),
            ('e', Value::Float(number)) => exponent(*number, self.precision.unwrap_or(6)),
            ('g', Value::Float(number)) => float(*number),
            _ => format!("%!{verb}({}={})", value.type_name(), nested(value)),
        }
    }

    fn pad(&self, text: &str) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        match (self.left, self.zeros) {
            (true, _) => format!("{text}{}", " ".repeat(missing)),
            (false, true) => match text.strip_prefix('-') {
                Some(digits) => format!("-{}{digits}", "0".repeat(missing)),
                None => format!("{}{text}", "0".repeat(missing)),
            },
            (false, false) => format!("{}{text}", " ".repeat(missing)),
        }
    }
}

fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        for (number, text) in [
            (1.0, "1"),
            (0.5, "0.5"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (123_456.0, "123456"),
            (1e21, "1e+21"),
            (0.00001, "1e-05"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn printf_follows_go() {
        let s = Value::string;
        for (format, arguments, expected) in [
            ("%s-%s", vec![s("a"), s("b")], "a-b"),
            ("%d", vec![Value::Int(7)], "7"),
            ("%05d|%-4d|%4d", vec![Value::Int(-7), Value::Int(1), Value::Int(2)], "-0007|1   |   2"),
            ("%q", vec![s("a\"b\n")], "\"a\\\"b\\n\""),
            ("%v %v", vec![Value::Bool(true), Value::Nil], "true <nil>"),
            ("%s", vec![], "%!s(MISSING)"),
            ("x", vec![Value::Int(1)], "x%!(EXTRA int=1)"),
            ("%d", vec![s("a")], "%!d(string=a)"),
            ("%.2f", vec![Value::Float(1.0)], "1.00"),
            ("100%%", vec![], "100%"),
        ] {
            assert_eq!(sprintf(format, &arguments), expected, "{format}");
        }
    }
}
