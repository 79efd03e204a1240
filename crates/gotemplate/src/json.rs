//! JSON as Go's `encoding/json` writes and reads it.

use serde_json::Value as Json;

use crate::value::{ConversionError, Value, Walk, json_date};

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// `<`, `>` and `&` are escaped.
    pub html: bool,
    /// Each element is on a line of its own, indented by two spaces.
    pub pretty: bool,
}

/// Writes a value.
pub(crate) fn write(value: &Value, style: Style) -> Result<String, ConversionError> {
    let mut writer = Writer { text: String::new(), style, depth: 0, walk: Walk::new() };
    writer.element(value)?;
    Ok(writer.text)
}

/// Reads a value; what follows it must be blank.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Value::from_json(&json))
}

struct Writer {
    text: String,
    style: Style,
    depth: usize,
    walk: Walk,
}

type Written = Result<(), ConversionError>;

impl Writer {
    fn element(&mut self, value: &Value) -> Written {
        self.walk.enter()?;
        let written = self.content(value);
        self.walk.leave();
        written
    }

    fn content(&mut self, value: &Value) -> Written {
        match value {
            Value::Nil | Value::NilElement => self.text.push_str("null"),
            Value::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Value::Int(number) | Value::Int64(number) | Value::Duration(number) => {
                self.text.push_str(&number.to_string());
            }
            Value::Uint8(number) => self.text.push_str(&number.to_string()),
            Value::Float(number) if number.is_finite() => self.text.push_str(&self::number(*number)),
            Value::Float(number) => return Err(ConversionError::NotANumber(crate::format::float(*number))),
            Value::Complex(..) => return Err(ConversionError::NotData(value.type_name())),
            Value::String(text) => self.quote(text.as_bytes()),
            Value::Binary(bytes) => self.quote(bytes),
            Value::Bytes(bytes) => self.quote(crate::encoding::base64(bytes).as_bytes()),
            Value::Time(time) => self.quote(json_date(time)?.as_bytes()),
            Value::List(list) if list.is_nil() => self.text.push_str("null"),
            Value::List(list) => {
                let elements = list.values().clone();
                self.collection('[', ']', elements, |writer, element| writer.element(&element))?;
            }
            Value::Map(map) if map.is_nil() => self.text.push_str("null"),
            Value::Map(map) => self.collection('{', '}', map.entries(), |writer, (key, element)| {
                writer.quote(key.as_bytes());
                writer.text.push_str(if writer.style.pretty { ": " } else { ":" });
                writer.element(&element)
            })?,
            Value::Object(object) => match object.data() {
                Some(data) => self.element(&data)?,
                None => return Err(ConversionError::NotData(object.type_name())),
            },
        }
        Ok(())
    }

    fn collection<T>(
        &mut self,
        open: char,
        close: char,
        elements: Vec<T>,
        write: impl Fn(&mut Self, T) -> Written,
    ) -> Written {
        let is_empty = elements.is_empty();
        self.text.push(open);
        self.depth += 1;
        for (index, element) in elements.into_iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.break_line();
            write(self, element)?;
        }
        self.depth -= 1;
        if !is_empty {
            self.break_line();
        }
        self.text.push(close);
        Ok(())
    }

    fn break_line(&mut self) {
        if self.style.pretty {
            self.text.push('\n');
            (0..self.depth).for_each(|_| self.text.push_str("  "));
        }
    }

    fn quote(&mut self, bytes: &[u8]) {
        self.text.push('"');
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|c| self.character(c));
            chunk.invalid().iter().for_each(|_| self.text.push_str("\\ufffd"));
        }
        self.text.push('"');
    }

    fn character(&mut self, c: char) {
        match c {
            '"' => self.text.push_str("\\\""),
            '\\' => self.text.push_str("\\\\"),
            '\u{8}' => self.text.push_str("\\b"),
            '\u{c}' => self.text.push_str("\\f"),
            '\n' => self.text.push_str("\\n"),
            '\r' => self.text.push_str("\\r"),
            '\t' => self.text.push_str("\\t"),
            '<' | '>' | '&' if self.style.html => self.text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if c < ' ' || matches!(c, '\u{2028}' | '\u{2029}') => {
                self.text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => self.text.push(c),
        }
    }
}

/// Floats have an exponent below 1e-6 and from 1e21 on, without leading zeros.
fn number(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        return crate::format::float_with(float, 'e', None).replace("e-0", "e-");
    }
    crate::format::float_with(float, 'f', None)
}
