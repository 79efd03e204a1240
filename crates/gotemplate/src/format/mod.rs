//! How Go prints values: `fmt.Sprint`, `fmt.Sprintf`, `strconv.Quote` and its number formats.
//!
//! Printing is bounded: a value that contains itself, or its parts again and again, is an error.

mod number;
mod printer;
mod quote;
mod sprintf;

pub(crate) use number::float;
pub(crate) use number::float_with;
pub(crate) use printer::{Flags, Printer};
pub(crate) use quote::{is_printable, quote, quote_bytes};
pub(crate) use sprintf::sprintf;

use crate::value::{ConversionError, Value};

/// Longest text that printing gives.
pub(crate) const TEXT_LIMIT: usize = 64 << 20;

/// A value as `{{ . }}` prints it.
pub(crate) fn print(value: &Value) -> Result<Vec<u8>, ConversionError> {
    match value {
        Value::Nil | Value::NilElement => Ok(b"<no value>".to_vec()),
        other => verbatim(other),
    }
}

/// A value by `%v`.
pub(crate) fn verbatim(value: &Value) -> Result<Vec<u8>, ConversionError> {
    // The two common kinds need no printer.
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Float(number) => Ok(float(*number).into_bytes()),
        _ => {
            let mut printer = Printer::new();
            printer.argument(value, 'v', Flags::default())?;
            Ok(printer.finish())
        }
    }
}

/// `fmt.Sprint`: a space between two operands when neither is a string.
pub(crate) fn sprint(values: &[Value]) -> Result<Vec<u8>, ConversionError> {
    let mut printer = Printer::new();
    let mut after_string = true;
    for value in values {
        let is_string = value.as_bytes().is_some();
        if !is_string && !after_string {
            printer.push(b" ");
        }
        printer.argument(value, 'v', Flags::default())?;
        after_string = is_string;
    }
    Ok(printer.finish())
}

/// `fmt.Sprintln`: a space between any two operands, and a newline.
pub(crate) fn sprintln(values: &[Value]) -> Result<Vec<u8>, ConversionError> {
    let mut printer = Printer::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            printer.push(b" ");
        }
        printer.argument(value, 'v', Flags::default())?;
    }
    printer.push(b"\n");
    Ok(printer.finish())
}

/// Sprig's `toString`: like `%v`, but bytes are text.
pub(crate) fn to_text(value: &Value) -> Result<Vec<u8>, ConversionError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.to_vec()),
        other => verbatim(other),
    }
}

/// A value for error messages and tests.
pub(crate) fn debug(value: &Value) -> String {
    verbatim(value)
        .map_or_else(|_| value.type_name().to_owned(), |text| crate::encoding::lossy(&text).into_owned())
}
