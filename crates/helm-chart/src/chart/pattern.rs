//! Patterns of paths: those of `.helmignore`, and the richer ones of `.Files.Glob`.

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// `?`
    Any,
    /// `*`: anything but slashes.
    Star,
    /// `**`: anything.
    DoubleStar,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `{a,b}`
    Alternatives(Vec<Vec<Piece>>),
}

/// A pattern by the rules of Go's `filepath.Match`.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { chars: text.chars().collect(), at: 0, is_glob: false };
        let pieces = parser.pieces(false)?;
        (parser.at == parser.chars.len()).then_some(Self(pieces))
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        matches(&self.0, path)
    }
}

/// A pattern of `.Files.Glob`: with `**`, and with alternatives in braces.
#[derive(Debug)]
pub(crate) struct Glob(Vec<Piece>);

impl Glob {
    /// Reads a pattern; as in Helm, one that is broken matches everything.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parser = Parser { chars: text.chars().collect(), at: 0, is_glob: true };
        let pieces = parser.pieces(false).filter(|_| parser.at == parser.chars.len());
        Self(pieces.unwrap_or_else(|| vec![Piece::DoubleStar]))
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        matches(&self.0, path)
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    is_glob: bool,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn pieces(&mut self, in_braces: bool) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        while let Some(c) = self.peek() {
            if in_braces && matches!(c, ',' | '}') {
                break;
            }
            self.at += 1;
            pieces.push(match c {
                '*' if self.is_glob && self.peek() == Some('*') => {
                    self.at += 1;
                    Piece::DoubleStar
                }
                '*' => Piece::Star,
                '?' => Piece::Any,
                '[' => self.class()?,
                '{' if self.is_glob => self.alternatives()?,
                '\\' => Piece::Char(self.next()?),
                c => Piece::Char(c),
            });
        }
        Some(pieces)
    }

    fn alternatives(&mut self) -> Option<Piece> {
        let mut alternatives = Vec::new();
        loop {
            alternatives.push(self.pieces(true)?);
            match self.next()? {
                ',' => {}
                _ => return Some(Piece::Alternatives(alternatives)),
            }
        }
    }

    fn class(&mut self) -> Option<Piece> {
        let sign = if self.is_glob { '!' } else { '^' };
        let negated = self.peek() == Some(sign);
        self.at += usize::from(negated);
        let mut ranges = Vec::new();
        loop {
            let low = match self.next()? {
                ']' if !ranges.is_empty() => return Some(Piece::Class { negated, ranges }),
                ']' | '-' if !self.is_glob => return None,
                '\\' => self.next()?,
                c => c,
            };
            let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1) != Some(&']');
            let high = if is_range {
                self.at += 1;
                match self.next()? {
                    '\\' => self.next()?,
                    c => c,
                }
            } else {
                low
            };
            ranges.push((low, high));
        }
    }
}

/// Whether a pattern matches a whole path. What was tried once is not tried again, so that no pattern takes for ever.
fn matches(pieces: &[Piece], path: &str) -> bool {
    let chars: Vec<char> = path.chars().collect();
    ends(pieces, &chars, &[0]).contains(&chars.len())
}

/// Where the text can be after some pieces, from where it can be before them.
fn ends(pieces: &[Piece], chars: &[char], starts: &[usize]) -> Vec<usize> {
    let mut places = starts.to_vec();
    for piece in pieces {
        let mut next = Vec::new();
        for start in &places {
            next.extend(step(piece, chars, *start));
        }
        next.sort_unstable();
        next.dedup();
        places = next;
    }
    places
}

fn step(piece: &Piece, chars: &[char], start: usize) -> Vec<usize> {
    let one = |fits: &dyn Fn(char) -> bool| match chars.get(start) {
        Some(c) if fits(*c) => vec![start + 1],
        _ => Vec::new(),
    };
    match piece {
        Piece::Char(wanted) => one(&|c| c == *wanted),
        Piece::Any => one(&|c| c != '/'),
        Piece::Class { negated, ranges } => {
            one(&|c| c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated)
        }
        Piece::Star => {
            let length = chars[start..].iter().take_while(|c| **c != '/').count();
            (start..=start + length).collect()
        }
        Piece::DoubleStar => (start..=chars.len()).collect(),
        Piece::Alternatives(alternatives) => {
            alternatives.iter().flat_map(|pieces| ends(pieces, chars, &[start])).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn globs_match_as_helm_does() {
        for (pattern, path, matched) in [
            ("files/*", "files/a.txt", true),
            ("files/*", "files/a/b.txt", false),
            ("files/**", "files/a/b.txt", true),
            ("**.txt", "files/a/b.txt", true),
            ("*.{yaml,json}", "a.json", true),
            ("[a-c]?.txt", "bx.txt", true),
            ("[!a]*", "apple", false),
            ("a\\*b", "a*b", true),
            ("[", "anything", true),
        ] {
            assert_eq!(Glob::parse(pattern).matches(path), matched, "{pattern} {path}");
        }
        assert!(!Glob::parse(&"*a".repeat(30)).matches(&"a".repeat(29)));
    }
}
