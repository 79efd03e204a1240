//! Base64, Base32 and checksums that need no library.

use std::borrow::Cow;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The alphabet of bcrypt's hashes.
#[cfg(feature = "crypto")]
const BCRYPT64: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Standard Base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    encode(bytes, BASE64, 6, 4)
}

/// Standard Base32 with padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    encode(bytes, BASE32, 5, 8)
}

/// Base64 as bcrypt has it: another alphabet and no padding.
#[cfg(feature = "crypto")]
pub(crate) fn bcrypt64(bytes: &[u8]) -> String {
    encode(bytes, BCRYPT64, 6, 1)
}

/// Reads standard Base64. Line breaks do not count, as in Go; the error is Go's, with the place that it names.
pub(crate) fn from_base64(text: &[u8]) -> Result<Vec<u8>, String> {
    decode_base64(text).map_err(|at| format!("illegal base64 data at input byte {at}"))
}

/// Reads standard Base32, likewise.
pub(crate) fn from_base32(text: &[u8]) -> Result<Vec<u8>, String> {
    decode_base32(text).map_err(|at| format!("illegal base32 data at input byte {at}"))
}

fn value_of(byte: u8, alphabet: &[u8]) -> Option<u64> {
    alphabet.iter().position(|known| *known == byte).map(|position| position as u64)
}

/// Adds the bytes that the digits of one block stand for.
fn push_block(bytes: &mut Vec<u8>, digits: &[u64], bits: usize) {
    let buffer = digits.iter().fold(0u64, |buffer, digit| buffer << bits | digit);
    let filled = digits.len() * bits;
    for index in 0..filled / 8 {
        bytes.push(u8::try_from(buffer >> (filled - 8 * (index + 1)) & 0xff).unwrap_or_default());
    }
}

fn decode_base64(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let mut digits = Vec::with_capacity(4);
    let mut rest =
        text.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\n' | b'\r')).peekable();
    while let Some((at, byte)) = rest.next() {
        match value_of(byte, BASE64) {
            Some(digit) => digits.push(digit),
            None if byte == b'=' && digits.len() >= 2 => {
                if digits.len() == 2 {
                    match rest.next() {
                        None => return Err(text.len()),
                        Some((_, b'=')) => {}
                        Some((next, _)) => return Err(next - 1),
                    }
                }
                push_block(&mut bytes, &digits, 6);
                return rest.next().map_or(Ok(bytes), |(at, _)| Err(at));
            }
            None => return Err(at),
        }
        if digits.len() == 4 {
            push_block(&mut bytes, &digits, 6);
            digits.clear();
        }
    }
    if digits.is_empty() { Ok(bytes) } else { Err(text.len() - digits.len()) }
}

fn decode_base32(text: &[u8]) -> Result<Vec<u8>, usize> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let mut digits = Vec::with_capacity(8);
    for (at, byte) in text.iter().enumerate() {
        let behind = text.len() - at - 1;
        if *byte == b'=' && digits.len() >= 2 && behind < 8 {
            let padding = text.get(at..).unwrap_or_default();
            let is_whole = padding.len() + digits.len() == 8 && padding.iter().all(|byte| *byte == b'=');
            if !is_whole || matches!(digits.len(), 3 | 6) {
                return Err(at);
            }
            push_block(&mut bytes, &digits, 5);
            return Ok(bytes);
        }
        digits.push(value_of(*byte, BASE32).ok_or(at)?);
        if digits.len() == 8 {
            push_block(&mut bytes, &digits, 5);
            digits.clear();
        }
    }
    if digits.is_empty() { Ok(bytes) } else { Err(text.len() - digits.len()) }
}

fn encode(bytes: &[u8], alphabet: &[u8], bits: u32, block: usize) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / bits as usize + block);
    let mask = (1u64 << bits) - 1;
    let (mut buffer, mut filled) = (0u64, 0);
    let mut push = |buffer: u64, shift: u32| {
        let digit = usize::try_from(buffer >> shift & mask).unwrap_or_default();
        text.push(char::from(alphabet[digit]));
    };
    for byte in bytes {
        buffer = (buffer << 8 | u64::from(*byte)) & 0xffff_ffff;
        filled += 8;
        while filled >= bits {
            filled -= bits;
            push(buffer, filled);
        }
    }
    if filled > 0 {
        push(buffer << (bits - filled), 0);
    }
    while !text.len().is_multiple_of(block) {
        text.push('=');
    }
    text
}

/// The checksum of zlib.
pub(crate) fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1, 0);
    for byte in bytes {
        a = (a + u32::from(*byte)) % MODULUS;
        b = (b + a) % MODULUS;
    }
    b << 16 | a
}

/// Text in which each invalid byte is replaced, as Go does; Rust replaces several at a time.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// The private characters that represent invalid bytes.
const MARKS: u32 = 0x10_ff00;

/// Whether a character represents an invalid byte.
pub(crate) fn is_mark(c: char) -> bool {
    u32::from(c) >= MARKS
}

/// Text in which a private character represents each invalid byte, so that [`unmarked`] can restore it.
pub(crate) fn marked(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(MARKS + u32::from(*byte))));
    }
    Cow::Owned(text)
}

/// The bytes that a text stands for, part of which [`marked`] has marked.
pub(crate) fn unmarked(text: &str, was_marked: bool) -> Vec<u8> {
    if !was_marked {
        return text.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c).checked_sub(MARKS).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for length in 0..40u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            assert_eq!(from_base64(base64(&bytes).as_bytes()), Ok(bytes.clone()));
            assert_eq!(from_base32(base32(&bytes).as_bytes()), Ok(bytes));
        }
        assert_eq!((base64(b"hello"), base32(b"hello")), ("aGVsbG8=".to_owned(), "NBSWY3DP".to_owned()));
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for wrong in ["a", "aGVsbG8", "aG!sbG8=", "=aaa", "a===", "aGVsbG8=aGVs"] {
            assert!(from_base64(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
