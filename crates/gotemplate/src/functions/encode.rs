//! Encodings and checksums.

use sha1::Sha1;
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
    plain("sha1sum", &[Text], |a| Ok(Value::string(encoding::hexadecimal(&Sha1::digest(bytes(a, 0)))))),
    plain("sha256sum", &[Text], |a| Ok(Value::string(encoding::hexadecimal(&Sha256::digest(bytes(a, 0)))))),
    plain("sha512sum", &[Text], |a| Ok(Value::string(encoding::hexadecimal(&Sha512::digest(bytes(a, 0)))))),
    plain("adler32sum", &[Text], |a| Ok(Value::string(encoding::adler32(bytes(a, 0)).to_string()))),
    variadic("html", &[], Any, |a| escaped(a, html)),
    variadic("js", &[], Any, |a| escaped(a, js)),
    variadic("urlquery", &[], Any, |a| Ok(Value::string(super::urls::query_escape(&printed(a)?)))),
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
