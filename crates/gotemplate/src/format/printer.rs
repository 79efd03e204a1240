//! Prints one value by a verb and its flags, as Go's `fmt` does.

use super::number::{digits, float_with};
use super::quote::quote_bytes;
use super::{TEXT_LIMIT, is_printable};
use crate::value::{ConversionError, Value, Walk};

/// The flags of a verb.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "Go has these independent flags")]
pub(crate) struct Flags {
    pub minus: bool,
    pub zero: bool,
    pub plus: bool,
    pub sharp: bool,
    pub space: bool,
    /// `%#v`: Go's syntax.
    pub syntax: bool,
    pub width: Option<usize>,
    pub precision: Option<usize>,
}

/// A text in the making.
pub(crate) struct Printer {
    text: Vec<u8>,
    walk: Walk,
    /// Whether the mismatch of a verb and a value is being reported.
    in_bad_verb: bool,
}

type Printed = Result<(), ConversionError>;

impl Printer {
    pub(crate) fn new() -> Self {
        Self { text: Vec::new(), walk: Walk::new(), in_bad_verb: false }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.text
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn pad(&mut self, bytes: &[u8], flags: Flags) {
        let length = bytes.utf8_chunks().map(|c| c.valid().chars().count() + c.invalid().len()).sum();
        let missing = flags.width.unwrap_or(0).saturating_sub(length);
        if flags.minus {
            self.push(bytes);
            self.fill(missing, flags);
        } else {
            self.fill(missing, flags);
            self.push(bytes);
        }
    }

    /// Adds what a text lacks of its width; zeros stand only on its left.
    fn fill(&mut self, missing: usize, flags: Flags) {
        let filler = if flags.zero && !flags.minus { b'0' } else { b' ' };
        self.text.resize(self.text.len() + missing, filler);
    }

    /// Prints an operand of a print function.
    pub(crate) fn argument(&mut self, value: &Value, verb: char, flags: Flags) -> Printed {
        match (value, verb) {
            (Value::Nil | Value::NilElement, 'T' | 'v') => self.pad(b"<nil>", flags),
            (_, 'T') => self.pad(truncated(value.type_name().as_bytes(), flags.precision), flags),
            (Value::Nil | Value::NilElement, _) => self.push(format!("%!{verb}(<nil>)").as_bytes()),
            _ => self.value(value, verb, flags)?,
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, verb: char, flags: Flags) -> Printed {
        if self.text.len() > TEXT_LIMIT {
            return Err(ConversionError::TooLarge);
        }
        // Values with methods print themselves, unless a mismatch of the verb is reported.
        let prints_itself = matches!(verb, 'v' | 's' | 'q' | 'x' | 'X') && !flags.syntax && !self.in_bad_verb;
        if verb == 'w' && !self.in_bad_verb && is_compound(value) {
            return self.bad_verb(value, verb, flags);
        }
        match value {
            Value::Nil | Value::NilElement if flags.syntax => self.push(b"interface {}(nil)"),
            Value::Nil | Value::NilElement => self.push(b"<nil>"),
            Value::Bool(flag) if matches!(verb, 't' | 'v') => self.pad(flag.to_string().as_bytes(), flags),
            Value::Bool(_) => self.bad_verb(value, verb, flags)?,
            Value::Int(number) | Value::Int64(number) => self.integer(value, *number, verb, flags)?,
            Value::Uint8(byte) => self.byte(value, *byte, verb, flags)?,
            Value::Float(number) => match float_verb(verb) {
                Some(verb) => self.float(*number, verb, flags),
                None => self.bad_verb(value, verb, flags)?,
            },
            Value::Complex(real, imaginary) => match float_verb(verb) {
                Some(verb) => self.complex(*real, *imaginary, verb, flags),
                None => self.bad_verb(value, verb, flags)?,
            },
            Value::String(text) => self.string(value, text.as_bytes(), verb, flags)?,
            Value::Binary(bytes) => self.string(value, bytes, verb, flags)?,
            Value::Bytes(bytes) => match verb {
                's' | 'q' | 'x' | 'X' => self.string(value, bytes, verb, flags)?,
                _ => self.list(value, bytes.iter().map(|byte| Value::Uint8(*byte)), verb, flags)?,
            },
            Value::Duration(nanoseconds) if prints_itself => {
                self.string(value, crate::date::duration(*nanoseconds).as_bytes(), verb, flags)?;
            }
            Value::Duration(nanoseconds) => self.integer(value, *nanoseconds, verb, flags)?,
            Value::Time(time) => self.string(value, time.print().as_bytes(), verb, flags)?,
            Value::List(list) if flags.syntax && list.is_nil() => self.nil_of_type(value),
            Value::List(list) => {
                let elements = list.values().clone();
                self.list(value, elements.into_iter(), verb, flags)?;
            }
            Value::Map(map) if flags.syntax && map.is_nil() => self.nil_of_type(value),
            Value::Map(map) => self.map(value, map.entries(), verb, flags)?,
            Value::Object(object) => match (object.entries(), object.elements()) {
                (Some(entries), _) => self.map(value, entries, verb, flags)?,
                (None, Some(elements)) => self.list(value, elements.into_iter(), verb, flags)?,
                (None, None) => self.string(value, object.print().as_bytes(), verb, flags)?,
            },
        }
        Ok(())
    }

    fn byte(&mut self, value: &Value, byte: u8, verb: char, flags: Flags) -> Printed {
        let verb = if flags.syntax && verb == 'v' { 'x' } else { verb };
        let flags = Flags { sharp: flags.sharp || flags.syntax, ..flags };
        self.integer(value, i64::from(byte), verb, flags)
    }

    fn nil_of_type(&mut self, value: &Value) {
        self.push(format!("{}(nil)", value.type_name()).as_bytes());
    }

    fn nested(&mut self, value: &Value, verb: char, flags: Flags) -> Printed {
        self.walk.enter()?;
        let result = self.value(value, verb, flags);
        self.walk.leave();
        result
    }

    fn list(
        &mut self,
        list: &Value,
        elements: impl Iterator<Item = Value>,
        verb: char,
        flags: Flags,
    ) -> Printed {
        if flags.syntax {
            self.push(list.type_name().as_bytes());
        }
        self.push(if flags.syntax { b"{" } else { b"[" });
        for (index, element) in elements.enumerate() {
            if index > 0 {
                self.push(if flags.syntax { b", " } else { b" " });
            }
            self.nested(&element, verb, flags)?;
        }
        self.push(if flags.syntax { b"}" } else { b"]" });
        Ok(())
    }

    fn map(
        &mut self,
        map: &Value,
        entries: Vec<(std::rc::Rc<str>, Value)>,
        verb: char,
        flags: Flags,
    ) -> Printed {
        if flags.syntax {
            self.push(map.type_name().as_bytes());
        }
        self.push(if flags.syntax { b"{" } else { b"map[" });
        for (index, (key, element)) in entries.into_iter().enumerate() {
            if index > 0 {
                self.push(if flags.syntax { b", " } else { b" " });
            }
            self.nested(&Value::String(key), verb, flags)?;
            self.push(b":");
            self.nested(&element, verb, flags)?;
        }
        self.push(if flags.syntax { b"}" } else { b"]" });
        Ok(())
    }

    /// What Go prints for a verb that does not fit the value.
    fn bad_verb(&mut self, value: &Value, verb: char, flags: Flags) -> Printed {
        self.push(format!("%!{verb}({}=", value.type_name()).as_bytes());
        self.in_bad_verb = true;
        let result = self.nested(value, 'v', flags);
        self.in_bad_verb = false;
        self.push(b")");
        result
    }

    fn integer(&mut self, value: &Value, number: i64, verb: char, flags: Flags) -> Printed {
        let base = match verb {
            'v' | 'd' => 10,
            'b' => 2,
            'o' | 'O' => 8,
            'x' | 'X' => 16,
            'c' | 'q' | 'U' => {
                self.character(number, verb, flags);
                return Ok(());
            }
            _ => return self.bad_verb(value, verb, flags),
        };
        let magnitude = digits(number.unsigned_abs(), base, verb == 'X');
        if flags.precision == Some(0) && number == 0 {
            self.fill(flags.width.unwrap_or(0), Flags { zero: false, ..flags });
            return Ok(());
        }
        let signed = number < 0 || flags.plus || flags.space;
        let least = match (flags.precision, flags.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if flags.zero && !flags.minus => width - usize::from(signed && width > 0),
            _ => 0,
        };
        let mut text = format!("{}{magnitude}", "0".repeat(least.saturating_sub(magnitude.len())));
        let prefix = match (flags.sharp, base, verb) {
            (true, 2, _) => "0b",
            (true, 8, _) if !text.starts_with('0') => "0",
            (true, 16, 'X') => "0X",
            (true, 16, _) => "0x",
            _ => "",
        };
        text.insert_str(0, prefix);
        if verb == 'O' {
            text.insert_str(0, "0o");
        }
        if number < 0 {
            text.insert(0, '-');
        } else if flags.plus {
            text.insert(0, '+');
        } else if flags.space {
            text.insert(0, ' ');
        }
        self.pad(text.as_bytes(), Flags { zero: false, ..flags });
        Ok(())
    }

    fn character(&mut self, number: i64, verb: char, flags: Flags) {
        let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        let mut buffer = [0; 4];
        let encoded = c.encode_utf8(&mut buffer);
        match verb {
            'c' => self.pad(encoded.as_bytes(), flags),
            'q' => self.pad(quote_bytes(encoded.as_bytes(), '\'', flags.plus).as_bytes(), flags),
            _ => {
                let digits = flags.precision.unwrap_or(0).max(4);
                let code = format!("{number:X}");
                let mut text = format!("U+{}{code}", "0".repeat(digits.saturating_sub(code.len())));
                if flags.sharp
                    && u32::try_from(number).is_ok_and(|code| char::from_u32(code).is_some_and(is_printable))
                {
                    text.push_str(&format!(" '{c}'"));
                }
                self.pad(text.as_bytes(), Flags { zero: false, ..flags });
            }
        }
    }

    fn float(&mut self, number: f64, verb: char, flags: Flags) {
        let default = if matches!(verb, 'e' | 'E' | 'f') { Some(6) } else { None };
        let precision = flags.precision.or(default);
        let printed = float_with(number, verb, precision);
        let (sign, digits) = match printed.strip_prefix(['-', '+']) {
            Some(digits) if printed.starts_with('-') => ('-', digits),
            Some(digits) => ('+', digits),
            None => ('+', printed.as_str()),
        };
        let sign = if sign == '+' && flags.space && !flags.plus { ' ' } else { sign };
        // These have no digits, so nothing is filled up with zeros.
        if !number.is_finite() {
            let shows_sign = !number.is_nan() || flags.space || flags.plus;
            let text = if shows_sign { format!("{sign}{digits}") } else { digits.to_owned() };
            self.pad(text.as_bytes(), Flags { zero: false, ..flags });
            return;
        }
        let digits =
            if flags.sharp && verb != 'b' { pointed(digits, verb, precision) } else { digits.to_owned() };
        if !flags.plus && sign == '+' {
            self.pad(digits.as_bytes(), flags);
            return;
        }
        let missing = flags.width.unwrap_or(0).saturating_sub(digits.len() + 1);
        if flags.zero && !flags.minus && missing > 0 {
            self.push(format!("{sign}{}{digits}", "0".repeat(missing)).as_bytes());
        } else {
            self.pad(format!("{sign}{digits}").as_bytes(), flags);
        }
    }

    /// The imaginary part always has a sign.
    fn complex(&mut self, real: f64, imaginary: f64, verb: char, flags: Flags) {
        self.push(b"(");
        self.float(real, verb, flags);
        self.float(imaginary, verb, Flags { plus: true, ..flags });
        self.push(b"i)");
    }

    fn string(&mut self, value: &Value, bytes: &[u8], verb: char, flags: Flags) -> Printed {
        let cut = truncated(bytes, flags.precision);
        match verb {
            'q' | 'v' if verb == 'q' || flags.syntax => {
                if flags.sharp && can_backquote(cut) {
                    self.pad(&[b"`", cut, b"`"].concat(), flags);
                } else {
                    self.pad(quote_bytes(cut, '"', flags.plus).as_bytes(), flags);
                }
            }
            'v' | 's' => self.pad(cut, flags),
            'x' | 'X' => {
                let bytes = bytes.get(..flags.precision.unwrap_or(usize::MAX)).unwrap_or(bytes);
                self.pad(hexadecimal(bytes, verb == 'X', flags).as_bytes(), flags);
            }
            _ => return self.bad_verb(value, verb, flags),
        }
        Ok(())
    }
}

/// Whether a value is none of the types that Go prints without looking for their methods.
fn is_compound(value: &Value) -> bool {
    matches!(value, Value::List(_) | Value::Map(_) | Value::Object(_) | Value::Duration(_) | Value::Time(_))
}

/// The format of a float that a verb stands for.
fn float_verb(verb: char) -> Option<char> {
    match verb {
        'v' => Some('g'),
        'F' => Some('f'),
        'b' | 'e' | 'E' | 'f' | 'g' | 'G' | 'x' | 'X' => Some(verb),
        _ => None,
    }
}

/// A number with its point, and with the zeros that only `#` shows.
fn pointed(number: &str, verb: char, precision: Option<usize>) -> String {
    let is_hexadecimal = matches!(verb, 'x' | 'X');
    let exponent = |c: char| matches!(c, 'p' | 'P') || !is_hexadecimal && matches!(c, 'e' | 'E');
    let (mantissa, tail) = number.split_at(number.find(exponent).unwrap_or(number.len()));
    let wanted = if matches!(verb, 'g' | 'G' | 'x') { precision.unwrap_or(6) } else { 0 };
    // Go counts the `x` of a hexadecimal prefix as a digit.
    let shown = mantissa.trim_start_matches(['0', '.']).chars().filter(|c| *c != '.').count();
    let has_point = mantissa.contains('.');
    let shown = shown + usize::from(!has_point && mantissa == "0");
    let point = if has_point { "" } else { "." };
    format!("{mantissa}{point}{}{tail}", "0".repeat(wanted.saturating_sub(shown)))
}

/// The first characters of a string.
fn truncated(bytes: &[u8], precision: Option<usize>) -> &[u8] {
    let Some(precision) = precision else { return bytes };
    let (mut end, mut left) = (0, precision);
    for chunk in bytes.utf8_chunks() {
        // Each invalid byte counts as a character.
        let sizes = chunk.valid().chars().map(char::len_utf8).chain(chunk.invalid().iter().map(|_| 1));
        for size in sizes {
            let Some(less) = left.checked_sub(1) else { return bytes.get(..end).unwrap_or(bytes) };
            left = less;
            end += size;
        }
    }
    bytes
}

fn can_backquote(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.chars().all(|c| c != '`' && c != '\u{feff}' && c != '\u{7f}' && (c >= ' ' || c == '\t'))
    })
}

fn hexadecimal(bytes: &[u8], upper: bool, flags: Flags) -> String {
    let prefix = match (flags.sharp, upper) {
        (false, _) => "",
        (true, true) => "0X",
        (true, false) => "0x",
    };
    let pair = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    let pairs: Vec<String> = bytes.iter().map(pair).collect();
    match (bytes.is_empty(), flags.space) {
        (true, _) => String::new(),
        (false, true) => pairs.iter().map(|pair| format!("{prefix}{pair}")).collect::<Vec<_>>().join(" "),
        (false, false) => format!("{prefix}{}", pairs.concat()),
    }
}
