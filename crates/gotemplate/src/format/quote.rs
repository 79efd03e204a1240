//! Strings in quotes, by Go's `strconv.Quote`.

use std::fmt::Write as _;

/// Whether Go's `strconv.IsPrint` shows the character as it is: letters, marks, numbers, punctuation, symbols and the
/// ASCII space.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The standard library escapes what is not printable. A mark at the start of a text is escaped too, hence the letter.
    let mut text = String::from("a");
    text.push(c);
    let mut escaped = text.escape_debug().skip(1);
    escaped.next() == Some(c)
}

/// A string in double quotes with Go's escapes.
#[must_use]
pub(crate) fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes(), '"', false)
}

/// Quotes a string whose bytes need not be UTF-8; `ascii` escapes everything else.
pub(crate) fn quote_bytes(bytes: &[u8], quote: char, ascii: bool) -> String {
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push(quote);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            escape(&mut quoted, c, quote, ascii);
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push(quote);
    quoted
}

fn escape(quoted: &mut String, c: char, quote: char, ascii: bool) {
    let code = u32::from(c);
    let _ = match c {
        c if c == quote || c == '\\' => write!(quoted, "\\{c}"),
        '\u{7}' => write!(quoted, "\\a"),
        '\u{8}' => write!(quoted, "\\b"),
        '\u{c}' => write!(quoted, "\\f"),
        '\n' => write!(quoted, "\\n"),
        '\r' => write!(quoted, "\\r"),
        '\t' => write!(quoted, "\\t"),
        '\u{b}' => write!(quoted, "\\v"),
        c if (!ascii || c.is_ascii()) && is_printable(c) => write!(quoted, "{c}"),
        _ if code < 0x20 || code == 0x7f => write!(quoted, "\\x{code:02x}"),
        _ if code < 0x10000 => write!(quoted, "\\u{code:04x}"),
        _ => write!(quoted, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        for (bytes, quoted) in [
            (&b"a\"b\\c\n\t"[..], "\"a\\\"b\\\\c\\n\\t\""),
            (b"\x00\x7f", "\"\\x00\\x7f\""),
            (b"a\xffb", "\"a\\xffb\""),
            (
                "\u{e4}\u{301}\u{a0}\u{200b}\u{e000}\u{10ffff}".as_bytes(),
                "\"\u{e4}\u{301}\\u00a0\\u200b\\ue000\\U0010ffff\"",
            ),
        ] {
            assert_eq!(quote_bytes(bytes, '"', false), quoted);
        }
        assert_eq!(quote_bytes("\u{e4}".as_bytes(), '\'', true), "'\\u00e4'");
    }
}
