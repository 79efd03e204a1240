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
}

type Printed = Result<(), ConversionError>;

impl Printer {
    pub(crate) fn new() -> Self {
        Self { text: Vec::new(), walk: Walk::new() }
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
            self.text.resize(self.text.len() + missing, b' ');
        } else {
            let filler = if flags.zero { b'0' } else { b' ' };
            self.text.resize(self.text.len() + missing, filler);
            self.push(bytes);
        }
    }

    /// Prints an operand of a print function.
    pub(crate) fn argument(&mut self, value: &Value, verb: char, flags: Flags) -> Printed {
        match (value, verb) {
            (Value::Nil | Value::NilElement, 'T' | 'v') => self.pad(b"<nil>", flags),
            (_, 'T') => self.pad(value.type_name().as_bytes(), flags),
            (Value::Nil | Value::NilElement, _) => self.push(format!("%!{verb}(<nil>)").as_bytes()),
            _ => self.value(value, verb, flags)?,
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, verb: char, flags: Flags) -> Printed {
        if self.text.len() > TEXT_LIMIT {
            return Err(ConversionError::TooLarge);
        }
        match value {
            Value::Nil | Value::NilElement if flags.syntax => self.push(b"interface {}(nil)"),
            Value::Nil | Value::NilElement => self.push(b"<nil>"),
            Value::Bool(flag) if matches!(verb, 't' | 'v') => self.pad(flag.to_string().as_bytes(), flags),
            Value::Bool(_) => self.bad(value, verb)?,
            Value::Int(number) | Value::Int64(number) => self.integer(value, *number, verb, flags)?,
            Value::Uint8(number) => {
                let flags = Flags { sharp: flags.sharp || flags.syntax, ..flags };
                let verb = if flags.syntax && verb == 'v' { 'x' } else { verb };
                self.integer(value, i64::from(*number), verb, flags)?;
            }
            Value::Float(number) => self.float(value, *number, verb, flags)?,
            Value::String(text) => self.string(value, text.as_bytes(), verb, flags)?,
            Value::Binary(bytes) => self.string(value, bytes, verb, flags)?,
            Value::Bytes(bytes) => match verb {
                's' | 'q' | 'x' | 'X' => self.string(value, bytes, verb, flags)?,
                _ => self.list(value, bytes.iter().map(|byte| Value::Uint8(*byte)), verb, flags)?,
            },
            Value::Duration(nanoseconds) if matches!(verb, 'v' | 's' | 'q' | 'x' | 'X') && !flags.syntax => {
                self.string(value, crate::date::duration(*nanoseconds).as_bytes(), verb, flags)?;
            }
            Value::Duration(nanoseconds) => self.integer(value, *nanoseconds, verb, flags)?,
            Value::Time(time) => self.string(value, time.print().as_bytes(), verb, flags)?,
            Value::List(list) if flags.syntax && list.is_nil() => {
                self.push(format!("{}(nil)", value.type_name()).as_bytes());
            }
            Value::List(list) => {
                let elements = list.values().clone();
                self.list(value, elements.into_iter(), verb, flags)?;
            }
            Value::Map(map) => self.map(value, map.entries(), verb, flags)?,
            Value::Object(object) => match (object.entries(), object.elements()) {
                (Some(entries), _) => self.map(value, entries, verb, flags)?,
                (None, Some(elements)) => self.list(value, elements.into_iter(), verb, flags)?,
                (None, None) => self.string(value, object.print().as_bytes(), verb, flags)?,
            },
        }
        Ok(())
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
    fn bad(&mut self, value: &Value, verb: char) -> Printed {
        self.push(format!("%!{verb}({}=", value.type_name()).as_bytes());
        self.nested(value, 'v', Flags::default())?;
        self.push(b")");
        Ok(())
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
            _ => return self.bad(value, verb),
        };
        let magnitude = digits(number.unsigned_abs(), base, verb == 'X');
        if flags.precision == Some(0) && number == 0 {
            self.pad(b"", Flags { zero: false, ..flags });
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
            (_, 8, 'O') => "0o",
            (true, 8, _) if !text.starts_with('0') => "0",
            (true, 16, 'X') => "0X",
            (true, 16, _) => "0x",
            _ => "",
        };
        text.insert_str(0, prefix);
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
        let text = match verb {
            'c' => encoded.to_owned(),
            'q' => quote_bytes(encoded.as_bytes(), '\'', flags.plus),
            _ if flags.sharp && is_printable(c) => format!("U+{number:04X} '{c}'"),
            _ => format!("U+{number:04X}"),
        };
        self.pad(text.as_bytes(), flags);
    }

    fn float(&mut self, value: &Value, number: f64, verb: char, flags: Flags) -> Printed {
        let (format, precision) = match verb {
            'v' => ('g', flags.precision),
            'e' | 'E' | 'f' | 'F' => (verb, Some(flags.precision.unwrap_or(6))),
            'g' | 'G' => (verb, flags.precision),
            _ => return self.bad(value, verb),
        };
        let mut text = float_with(number, format, precision);
        if !number.is_finite() {
            let text = text.strip_prefix('+').filter(|_| !flags.plus).unwrap_or(&text);
            self.pad(text.as_bytes(), Flags { zero: false, ..flags });
            return Ok(());
        }
        if flags.sharp && !text.contains('.') {
            let end = text.find(['e', 'E']).unwrap_or(text.len());
            let missing = match format {
                'g' | 'G' => precision.unwrap_or(6).saturating_sub(text[..end].trim_start_matches('-').len()),
                _ => 0,
            };
            text.insert_str(end, &format!(".{}", "0".repeat(missing)));
        }
        if !text.starts_with('-') && (flags.plus || flags.space) {
            text.insert(0, if flags.plus { '+' } else { ' ' });
        }
        let missing = flags.width.unwrap_or(0).saturating_sub(text.len());
        if flags.zero && !flags.minus && missing > 0 && text.starts_with(['-', '+', ' ']) {
            text.insert_str(1, &"0".repeat(missing));
        }
        self.pad(text.as_bytes(), flags);
        Ok(())
    }

    fn string(&mut self, value: &Value, bytes: &[u8], verb: char, flags: Flags) -> Printed {
        let cut = truncated(bytes, flags.precision);
        match verb {
            'v' if flags.syntax => self.pad(quote_bytes(cut, '"', false).as_bytes(), flags),
            'v' | 's' => self.pad(cut, flags),
            'q' if flags.sharp && can_backquote(cut) => {
                self.pad(&[b"`", cut, b"`"].concat(), flags);
            }
            'q' => self.pad(quote_bytes(cut, '"', flags.plus).as_bytes(), flags),
            'x' | 'X' => {
                let bytes = bytes.get(..flags.precision.unwrap_or(usize::MAX)).unwrap_or(bytes);
                self.pad(hexadecimal(bytes, verb == 'X', flags).as_bytes(), flags);
            }
            _ => return self.bad(value, verb),
        }
        Ok(())
    }
}

/// The first characters of a string.
fn truncated(bytes: &[u8], precision: Option<usize>) -> &[u8] {
    let Some(precision) = precision else { return bytes };
    let end = match std::str::from_utf8(bytes) {
        Ok(text) => text.char_indices().nth(precision).map_or(bytes.len(), |(index, _)| index),
        Err(_) => precision.min(bytes.len()),
    };
    bytes.get(..end).unwrap_or(bytes)
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
