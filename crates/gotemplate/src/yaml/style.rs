//! How a text can be written: what the emitter of libyaml finds out about it before it chooses a style.

use super::scalar::{Meaning, is_base60, resolve};

/// The style of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// Chooses the style of a text as Go's encoder and the emitter below it do.
pub(super) fn choose(text: &str, is_key: bool) -> Style {
    let traits = Traits::of(text);
    let is_text = matches!(resolve(text), Meaning::Text) && !is_base60(text);
    let wanted = if text.contains('\n') {
        Style::Literal
    } else if is_text {
        Style::Plain
    } else {
        Style::Double
    };
    match wanted {
        Style::Literal if is_key || !traits.block => Style::Double,
        Style::Plain if is_key && traits.multiline => Style::Double,
        Style::Plain if !traits.plain && !traits.single => Style::Double,
        Style::Plain if !traits.plain => Style::Single,
        style => style,
    }
}

/// Which styles a text allows.
#[expect(clippy::struct_excessive_bools, reason = "the emitter has these independent findings")]
struct Traits {
    multiline: bool,
    plain: bool,
    single: bool,
    block: bool,
}

impl Traits {
    /// One pass: most of what is written are short texts, and there are many of them.
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self { multiline: false, plain: true, single: true, block: false };
        }
        let (mut breaks, mut break_space, mut space_break, mut special) = (false, false, false, false);
        let mut indicates = starts_with_indicator(text);
        let mut before = None;
        for (at, c) in text.char_indices() {
            let breaks_here = is_break(c);
            breaks |= breaks_here;
            break_space |= c == ' ' && before.is_some_and(is_break);
            space_break |= breaks_here && before == Some(' ');
            special |= !is_printable(c);
            indicates |= match (c, before) {
                (_, None) => false,
                (':', _) => is_blank_or_end(text[at + 1..].chars().next()),
                ('#', before) => is_blank_or_end(before),
                _ => false,
            };
            before = Some(c);
        }
        let is_edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
        let edge = is_edge(before) || is_edge(text.chars().next());
        Self {
            multiline: breaks,
            plain: !(edge || breaks || special || indicates),
            single: !(break_space || space_break || special),
            block: !(before == Some(' ') || space_break || special),
        }
    }
}

fn is_blank_or_end(c: Option<char>) -> bool {
    c.is_none_or(|c| c == ' ' || c == '\t' || is_break(c))
}

/// Whether the start of the text would mean something to a parser.
fn starts_with_indicator(text: &str) -> bool {
    let mut chars = text.chars();
    match chars.next() {
        Some(
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`',
        ) => true,
        Some('?' | ':' | '-') => is_blank_or_end(chars.next()) || text.starts_with("---"),
        _ => text.starts_with("..."),
    }
}

pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What libyaml prints as it is: neither tabs nor characters outside the basic plane.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}
