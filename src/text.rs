//! Text from outside (admission webhooks, annotations, values, pods): whether it is safe to show in a log line, an Event,
//! or a status, and how to make it so.
//!
//! Pure. One set of unsafe characters holds for everything that is shown, stored, or rendered.

/// Ends a text that was truncated.
const ELLIPSIS: char = '…';

/// What a character without a visible form is replaced with.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// The first `limit` items and how many more there are: `a, b, c and 4 more`.
#[must_use]
pub fn list_limited<I>(items: I, limit: usize) -> String
where
    I: IntoIterator<Item: std::fmt::Display>,
{
    let mut items = items.into_iter();
    let named: Vec<String> = items.by_ref().take(limit).map(|item| item.to_string()).collect();
    match items.count() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `text` without control characters, at most `max_bytes` bytes long.
///
/// Line breaks and tabs become spaces; every other character that [`is_unsafe`] becomes U+FFFD. A text that is longer
/// than `max_bytes` after that is cut between two characters and ends in `…`; if `max_bytes` has no room even for
/// that (three bytes), the result is empty. The work is bounded by `max_bytes`, not by the length of `text`, and a
/// result is not changed by a second call.
#[must_use]
pub fn sanitized(text: &str, max_bytes: usize) -> String {
    let room = max_bytes.saturating_sub(ELLIPSIS.len_utf8());
    let mut result = String::with_capacity(text.len().min(max_bytes));
    // Where to cut if the text turns out to be too long.
    let mut cut = 0;
    for character in text.chars().map(safe) {
        if result.len() + character.len_utf8() > max_bytes {
            result.truncate(cut);
            if max_bytes >= ELLIPSIS.len_utf8() {
                result.push(ELLIPSIS);
            }
            return result;
        }
        result.push(character);
        if result.len() <= room {
            cut = result.len();
        }
    }
    result
}

/// The character that is shown in place of `character`: itself, unless it is unsafe.
#[must_use]
pub fn safe(character: char) -> char {
    match character {
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        other if is_unsafe(other) => REPLACEMENT,
        other => other,
    }
}

/// Whether a terminal or a browser acts on a character instead of showing it: controls (C0, DEL, C1), line and
/// paragraph separators, and format characters, among them those that override the direction of writing. With these a
/// text can forge a line or show a name that it does not contain.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            // Tags: a copy of ASCII that nothing shows.
            | '\u{e0000}'..='\u{e007f}')
}

/// Whether `text` is one line without unsafe characters.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.contains(is_unsafe)
}

/// Whether `text` has no unsafe characters except line breaks and tabs.
#[must_use]
pub fn is_plain_block(text: &str) -> bool {
    !text.contains(|character| is_unsafe(character) && !matches!(character, '\n' | '\t'))
}

/// At most `max_chars` characters of `text`, followed by `…` if there are more, with unsafe characters written as escapes
/// such as `\u{a}`.
///
/// For names and values of an author, of which the author has to see what is wrong; [`sanitized`] hides it.
#[must_use]
pub fn escaped(text: &str, max_chars: usize) -> String {
    let mut shown = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(max_chars) {
        if is_unsafe(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    if characters.next().is_some() {
        shown.push(ELLIPSIS);
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_list_is_cut_and_counted() {
        for (items, expected) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a, b, c"),
            (&["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
            (&[], ""),
        ] {
            assert_eq!(list_limited(items, 3), expected);
        }
    }

    #[test]
    fn text_becomes_one_line_of_visible_characters() {
        for (text, expected) in [
            ("", ""),
            ("pods \"a\" is forbidden", "pods \"a\" is forbidden"),
            ("Zürich 東京 🚀", "Zürich 東京 🚀"),
            ("one\ntwo\r\nthree\tfour", "one two  three four"),
            ("one\u{2028}two\u{2029}three\u{85}four", "one two three four"),
            ("\u{1b}[31mred\u{7}\0\u{7f}\u{9b}", "�[31mred����"),
            ("user\u{202e}nimda\u{2066}x\u{200f}", "user�nimda�x�"),
            ("in\u{200b}visible\u{feff}\u{e0041}", "in�visible��"),
        ] {
            assert_eq!(sanitized(text, 100), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for (text, max, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("aü東🚀z", 11, "aü東🚀z"),
            ("aü東🚀z", 10, "aü東…"),
            ("aü東🚀z", 8, "aü…"),
            ("aü東🚀z", 5, "a…"),
            ("abcd", 3, "…"),
            ("abc", 2, ""),
            ("ab", 2, "ab"),
            ("a", 0, ""),
            // A replacement is longer than what it replaces.
            ("\0\0\0", 8, "�…"),
        ] {
            assert_eq!(sanitized(text, max), expected, "{text:?} in {max}");
        }
    }

    #[test]
    fn unsafe_characters_are_escaped_and_long_texts_shortened() {
        assert_eq!(escaped("a\nb\u{202e}c", 10), "a\\u{a}b\\u{202e}c");
        assert_eq!(escaped("abcd", 4), "abcd");
        assert_eq!(escaped("abcde", 4), "abcd…");
    }

    #[test]
    fn plain_text_has_no_unsafe_characters() {
        for (text, line, block) in [
            ("Zürich", true, true),
            ("a\tb\nc", false, true),
            ("a\rb", false, false),
            ("a\u{200b}b", false, false),
            ("a\u{202e}b", false, false),
            ("a\u{2028}b", false, false),
            ("a\u{85}b", false, false),
        ] {
            assert_eq!((is_plain(text), is_plain_block(text)), (line, block), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_result_is_bounded_safe_and_stable(
            text in proptest::collection::vec(any::<char>(), 0..60),
            max in 0_usize..80,
        ) {
            let text = String::from_iter(text);
            let once = sanitized(&text, max);
            prop_assert!(once.len() <= max);
            prop_assert!(!once.chars().any(is_unsafe));
            prop_assert_eq!(&sanitized(&once, max), &once);
            let whole = sanitized(&text, usize::MAX);
            prop_assert_eq!(once == whole, whole.len() <= max);
            prop_assert!(once == whole || max < ELLIPSIS.len_utf8() || once.ends_with(ELLIPSIS));
        }
    }
}
