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
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let (Some(first), Some(last)) = (chars.first().copied(), chars.last().copied()) else {
            return Self { multiline: false, plain: true, single: true, block: false };
        };
        let pairs = || chars.iter().zip(chars.iter().skip(1));
        let breaks = chars.iter().any(|c| is_break(*c));
        let break_space = pairs().any(|(a, b)| is_break(*a) && *b == ' ');
        let space_break = pairs().any(|(a, b)| *a == ' ' && is_break(*b));
        let special = chars.iter().any(|c| !is_printable(*c));
        let edge = [first, last].iter().any(|c| *c == ' ' || is_break(*c));
        Self {
            multiline: breaks,
            plain: !(edge || breaks || break_space || space_break || special || has_indicators(text, &chars)),
            single: !(break_space || space_break || special),
            block: !(last == ' ' || space_break || special),
        }
    }
}

/// Whether something in the text would mean something to a parser.
fn has_indicators(text: &str, chars: &[char]) -> bool {
    let blank_at = |index: usize| chars.get(index).is_none_or(|c| *c == ' ' || *c == '\t' || is_break(*c));
    let starts = match chars.first() {
        Some(
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`',
        ) => true,
        Some('?' | ':' | '-') => blank_at(1),
        _ => false,
    };
    let inside = chars.iter().enumerate().skip(1).any(|(index, c)| match c {
        ':' => blank_at(index + 1),
        '#' => blank_at(index - 1),
        _ => false,
    });
    starts || inside || text.starts_with("---") || text.starts_with("...")
}

pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What libyaml prints as it is: neither tabs nor characters outside the basic plane.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}
