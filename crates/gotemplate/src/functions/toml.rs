//! TOML, as Helm's `toToml` writes it: the simple values of a table first, then its tables, keys in order.

use super::Type::{Any, String as Text};
use super::structured::as_map;
use super::{Function, any, plain, text};
use crate::encoding;
use crate::exec::Failure;
use crate::value::{ConversionError, Map, Value, Walk};

pub(super) const FUNCTIONS: &[Function] = &[
    plain("toToml", &[Any], |a| Ok(write(&not_nil(a)?).unwrap_or_else(Value::string))),
    plain("mustToToml", &[Any], |a| Ok(write(&not_nil(a)?)?)),
    plain("fromToml", &[Text], |a| Ok(as_map(read(&text(a, 0)), ""))),
];

/// Go's library for TOML panics at nil, and Helm does not recover.
fn not_nil(arguments: &[Value]) -> Result<Value, Failure> {
    match any(arguments, 0) {
        Value::Nil => Err("reflect: call of reflect.Value.Type on zero Value".into()),
        value => Ok(value),
    }
}

/// Writes a map; the error is a sentence.
fn write(value: &Value) -> Result<Value, String> {
    let mut writer = Writer { text: String::new() };
    match value {
        Value::Map(map) => writer.table(&[], map, &mut Walk::new())?,
        value if is_table(value) => {
            return Err("toml: top-level values must be Go maps or structs".to_owned());
        }
        Value::Complex(..) => return Err("unsupported type for key '': complex128".to_owned()),
        // What has no keys is written as it would be behind one.
        scalar => writer.inline(scalar, &mut Walk::new())?,
    }
    Ok(Value::text(encoding::unmarked(&writer.text, true)))
}

/// Reads a document.
fn read(text: &str) -> Result<Value, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    Ok(read_table(&table))
}

fn read_table(table: &toml::Table) -> Value {
    Value::Map(table.iter().map(|(key, value)| (key.as_str().into(), read_value(value))).collect())
}

fn read_value(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::string(text),
        toml::Value::Integer(number) => Value::Int64(*number),
        toml::Value::Float(number) => Value::Float(*number),
        toml::Value::Boolean(value) => Value::Bool(*value),
        toml::Value::Datetime(date) => date_value(&date.to_string()),
        toml::Value::Array(values) => Value::list(values.iter().map(read_value).collect()),
        toml::Value::Table(table) => read_table(table),
    }
}

/// A date as Go has it, or as its text where it has no zone.
fn date_value(text: &str) -> Value {
    crate::date::Time::parse("2006-01-02T15:04:05.999999999Z07:00", text)
        .map_or_else(|_| Value::string(text), |time| Value::Time(time.into()))
}

struct Writer {
    text: String,
}

type Written = Result<(), Failed>;

/// Why a value has no TOML form.
struct Failed(String);

impl From<ConversionError> for Failed {
    fn from(error: ConversionError) -> Self {
        Self(error.to_string())
    }
}

impl From<Failed> for String {
    fn from(failed: Failed) -> Self {
        failed.0
    }
}

/// Whether a value is written under a heading of its own.
fn is_table(value: &Value) -> bool {
    match value {
        Value::Map(_) => true,
        Value::List(list) => {
            !list.is_empty() && list.values().iter().all(|value| matches!(value, Value::Map(_)))
        }
        _ => false,
    }
}

impl Writer {
    fn table(&mut self, path: &[String], map: &Map, walk: &mut Walk) -> Written {
        walk.below(|walk| {
            // Each level of tables is indented by two spaces more.
            let indent = "  ".repeat(path.len());
            for (key, value) in
                map.entries().into_iter().filter(|(_, value)| !value.is_nil() && !is_table(value))
            {
                self.text.push_str(&format!("{indent}{} = ", name(&key)));
                self.inline(&value, walk)?;
                self.text.push('\n');
            }
            for (key, value) in map.entries().into_iter().filter(|(_, value)| is_table(value)) {
                let mut below = path.to_vec();
                below.push(name(&key));
                self.below(&below, &value, walk)?;
            }
            Ok(())
        })
    }

    fn below(&mut self, path: &[String], value: &Value, walk: &mut Walk) -> Written {
        let heading = path.join(".");
        let indent = "  ".repeat(path.len() - 1);
        match value {
            Value::Map(map) => {
                if path.len() == 1 && !self.text.is_empty() {
                    self.text.push('\n');
                }
                self.text.push_str(&format!("{indent}[{heading}]\n"));
                self.table(path, map, walk)
            }
            Value::List(list) => {
                for element in list.values().iter() {
                    if let Value::Map(map) = element {
                        if !self.text.is_empty() {
                            self.text.push('\n');
                        }
                        self.text.push_str(&format!("{indent}[[{heading}]]\n"));
                        self.table(path, map, walk)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn inline(&mut self, value: &Value, walk: &mut Walk) -> Written {
        walk.below(|walk| {
            match value {
                Value::Bool(value) => self.push(&value.to_string()),
                Value::Float(number) => self.push(&float(*number)),
                Value::Time(time) => self.push(&time.rfc3339()),
                Value::Duration(nanoseconds) => self.push(&quoted(&crate::date::duration(*nanoseconds))),
                Value::Object(object) if object.data().is_some() => {
                    self.inline(&object.data().unwrap_or_default(), walk)?;
                }
                Value::List(list) => self.inline_list(&list.values(), walk)?,
                Value::Map(map) => self.inline_table(map, walk)?,
                other => match (other.as_integer(), other.as_bytes()) {
                    (Some(number), _) => self.push(&number.to_string()),
                    (None, Some(bytes)) => self.push(&quoted(&encoding::marked(bytes))),
                    (None, None) => {
                        return Err(Failed(format!("toml: unsupported type: {}", other.type_name())));
                    }
                },
            }
            Ok(())
        })
    }

    fn inline_list(&mut self, elements: &[Value], walk: &mut Walk) -> Written {
        self.push("[");
        for (index, element) in elements.iter().enumerate() {
            if element.is_nil() {
                return Err(Failed("toml: cannot encode array with nil element".to_owned()));
            }
            self.push(if index > 0 { ", " } else { "" });
            self.inline(element, walk)?;
        }
        self.push("]");
        Ok(())
    }

    fn inline_table(&mut self, map: &Map, walk: &mut Walk) -> Written {
        self.push("{");
        let entries = map.entries().into_iter().filter(|(_, value)| !value.is_nil());
        for (index, (key, element)) in entries.enumerate() {
            self.push(if index > 0 { ", " } else { "" });
            self.push(&format!("{} = ", name(&key)));
            self.inline(&element, walk)?;
        }
        self.push("}");
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = crate::format::float_with(
        number,
        if number.fract() == 0.0 && number.abs() < 1e21 { 'f' } else { 'g' },
        None,
    );
    if text.contains(['.', 'e']) { text } else { text + ".0" }
}

/// A key, in quotes where it needs them.
fn name(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{8}' => quoted.push_str("\\b"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\u{c}' => quoted.push_str("\\f"),
            '\r' => quoted.push_str("\\r"),
            c if c < ' ' || c == '\u{7f}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
