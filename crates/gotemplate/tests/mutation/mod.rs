//! Texts made of others: cut, mixed, and with pieces that are likely to break something.

/// A small generator, so that the same texts are tried each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit.max(1)
    }
}

/// Pieces that make broken templates interesting.
const PIECES: [&str; 24] = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    " ",
    "(",
    ")",
    "|",
    ":=",
    "=",
    "$",
    ".",
    "\"",
    "`",
    "'",
    ",",
    "end",
    "if",
    "range",
    "define \"x\"",
    "\u{e4}",
    "\u{0}",
    "99999999999999999999",
    "/*",
];

pub fn mutated(text: &str, other: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len() + 1);
        match random.below(4) {
            0 => drop(chars.drain(at..(at + random.below(8)).min(chars.len()))),
            1 => drop(chars.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            2 => {
                let piece: Vec<char> =
                    other.chars().skip(random.below(other.len())).take(random.below(40)).collect();
                drop(chars.splice(at..at, piece));
            }
            _ if at + 1 < chars.len() => chars.swap(at, at + 1),
            _ => {}
        }
    }
    chars.into_iter().collect()
}

/// How many texts are tried; `FUZZ_FACTOR` makes it so many times as many.
pub fn rounds(usual: usize) -> usize {
    let factor = std::env::var("FUZZ_FACTOR").ok().and_then(|text| text.parse().ok());
    usual * factor.unwrap_or(1usize)
}
