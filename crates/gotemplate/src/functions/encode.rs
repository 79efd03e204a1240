//! Encodings and checksums.

use sha2::{Digest as _, Sha256, Sha512};

use super::Type::{Any, String as Text};
use super::{Answer, Function, bytes, plain, variadic};
use crate::encoding;
use crate::exec::Failure;
use crate::format;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    plain("b64enc", &[Text], |a| Ok(Value::string(encoding::base64(bytes(a, 0))))),
    plain("b64dec", &[Text], |a| Ok(decoded(encoding::from_base64(bytes(a, 0))))),
    plain("b32enc", &[Text], |a| Ok(Value::string(encoding::base32(bytes(a, 0))))),
    plain("b32dec", &[Text], |a| Ok(decoded(encoding::from_base32(bytes(a, 0))))),
    plain("sha256sum", &[Text], |a| Ok(Value::string(encoding::hexadecimal(&Sha256::digest(bytes(a, 0)))))),
    plain("sha512sum", &[Text], |a| Ok(Value::string(encoding::hexadecimal(&Sha512::digest(bytes(a, 0)))))),
    plain("adler32sum", &[Text], |a| Ok(Value::string(encoding::adler32(bytes(a, 0)).to_string()))),
    variadic("html", &[], Any, |a| escaped(a, html)),
    variadic("js", &[], Any, |a| escaped(a, js)),
    variadic("urlquery", &[], Any, |a| Ok(Value::string(query_escape(&printed(a)?)))),
];

/// What does not decode becomes the message, as in Sprig.
fn decoded(result: Result<Vec<u8>, String>) -> Value {
    result.map_or_else(Value::string, Value::text)
}

/// The text of all arguments, escaped.
fn escaped(arguments: &[Value], escape: fn(&str) -> String) -> Answer {
    Ok(super::preserving_bytes_of_one([&printed(arguments)?], |[text]| escape(text)))
}

fn printed(arguments: &[Value]) -> Result<Vec<u8>, Failure> {
    Ok(match arguments {
        [only] => format::print(only)?,
        all => {
            let shown: Vec<Value> = all
                .iter()
                .map(|value| if value.is_nil() { Value::string("<no value>") } else { value.clone() })
                .collect();
            format::sprint(&shown)?
        }
    })
}

/// Escapes all but letters, digits, `-._~` and what else is allowed.
pub(super) fn escape_url(text: impl AsRef<[u8]>, allowed: impl Fn(char) -> bool) -> String {
    let mut escaped = String::new();
    for byte in text.as_ref() {
        let c = char::from(*byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || (c.is_ascii() && allowed(c)) {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A text as a part of a query.
fn query_escape(text: &[u8]) -> String {
    escape_url(text, |c| c == ' ').replace(' ', "+")
}

fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\0' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

fn js(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' | '>' | '&' | '=' => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_ascii() || encoding::is_mark(c) || format::is_printable(c) => escaped.push(c),
            c => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    escaped
}
