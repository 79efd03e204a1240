//! Versions and constraints as Helm understands them, which is by the Go library `Masterminds/semver`.
//!
//! More lenient than semantic versioning: `v1.2` is a version, `>=1.2 <2 || ~3.x` a constraint. A constraint without a
//! pre-release in it fits no pre-release.

use std::cmp::Ordering;

const LONGEST_VERSION: usize = 256;
const LONGEST_CONSTRAINT: usize = 512;
const MOST_ALTERNATIVES: usize = 32;

/// A version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// First number.
    pub major: u64,
    /// Second number; 0 when missing.
    pub minor: u64,
    /// Third number; 0 when missing.
    pub patch: u64,
    /// What follows `-`.
    pub pre: String,
    /// What follows `+`; it does not count in comparisons.
    pub metadata: String,
    original: String,
}

impl Version {
    /// Reads a version, with or without a leading `v`, of one to three numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST_VERSION {
            return None;
        }
        let rest = text.strip_prefix('v').unwrap_or(text);
        let (rest, metadata) = match rest.split_once('+') {
            Some((rest, metadata)) => (rest, Some(metadata)),
            None => (rest, None),
        };
        let (numbers, pre) = match rest.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre)),
            None => (rest, None),
        };
        let mut parts = numbers.split('.');
        let major = number(parts.next()?)?;
        let minor = parts.next().map_or(Some(0), number)?;
        let patch = parts.next().map_or(Some(0), number)?;
        let is_fine = parts.next().is_none()
            && pre.is_none_or(|pre| identifiers(pre, true))
            && metadata.is_none_or(|metadata| identifiers(metadata, false));
        is_fine.then(|| Self {
            major,
            minor,
            patch,
            pre: pre.unwrap_or_default().to_owned(),
            metadata: metadata.unwrap_or_default().to_owned(),
            original: text.to_owned(),
        })
    }

    /// The text that was read.
    #[must_use]
    pub fn original(&self) -> &str {
        &self.original
    }

    /// Orders by numbers and then by pre-release.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.numbers().cmp(&other.numbers()).then_with(|| compare_pre(&self.pre, &other.pre))
    }

    fn numbers(&self) -> (u64, u64, u64) {
        (self.major, self.minor, self.patch)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.metadata.is_empty() {
            write!(f, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

/// A number, with or without leading zeros.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Identifiers between dots; numbers among them have no leading zeros in a pre-release.
fn identifiers(text: &str, is_pre: bool) -> bool {
    text.split('.').all(|part| {
        let is_name =
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        is_name && !(is_pre && is_number && part.len() > 1 && part.starts_with('0'))
    })
}

/// A version without pre-release is higher than one with; numbers are lower than names.
fn compare_pre(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let ordering = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

/// Why a text is not a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConstraintError(String);

/// Alternatives of comparisons that must all hold.
#[derive(Debug, Clone)]
pub struct Constraint {
    alternatives: Vec<Vec<Comparison>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

#[derive(Debug, Clone)]
struct Comparison {
    operator: Operator,
    version: Version,
    /// Numbers that the constraint leaves open, from the minor or from the patch on; `None` when it names all three.
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    All,
    Minor,
    Patch,
}

impl Constraint {
    /// Parses a constraint.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        if text.len() > LONGEST_CONSTRAINT {
            return Err(ConstraintError(format!(
                "constraint string is too long (max {LONGEST_CONSTRAINT} bytes)"
            )));
        }
        let alternatives: Vec<&str> = text.split("||").collect();
        if alternatives.len() > MOST_ALTERNATIVES {
            return Err(ConstraintError(format!("too many constraint groups (max {MOST_ALTERNATIVES})")));
        }
        let improper = || ConstraintError(format!("improper constraint: {text:?}"));
        let parsed = alternatives.iter().map(|group| comparisons(group).ok_or_else(improper));
        Ok(Self { alternatives: parsed.collect::<Result<_, _>>()? })
    }

    /// Whether a version fits.
    #[must_use]
    pub fn check(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|comparisons| {
            let with_pre = comparisons.iter().any(|comparison| !comparison.version.pre.is_empty());
            (with_pre || version.pre.is_empty())
                && comparisons.iter().all(|comparison| comparison.holds(version))
        })
    }
}

/// The comparisons of an alternative, separated by white space or commas.
fn comparisons(group: &str) -> Option<Vec<Comparison>> {
    let mut reader = Reader { rest: group.trim_start() };
    let mut comparisons = Vec::new();
    // Go's library puts a range in the place of its text and of the blanks before it, which leaves nothing between it and
    // what is before them.
    let mut may_be_range = true;
    while !reader.rest.is_empty() {
        let before = reader.rest;
        let operator = reader.operator();
        let is_implied = reader.rest == before;
        let comparison = reader.comparison(operator)?;
        let before = reader.rest;
        reader.rest = before.trim_start();
        if reader.rest.starts_with('-') && before.len() > reader.rest.len() && is_implied {
            if !may_be_range {
                return None;
            }
            let upper = reader.rest[1..].strip_prefix(|c: char| c.is_ascii_whitespace())?;
            reader.rest = upper.trim_start();
            let upper = reader.comparison(Operator::LessOrEqual)?;
            comparisons.push(Comparison { operator: Operator::GreaterOrEqual, ..comparison });
            comparisons.push(upper);
            reader.rest = reader.rest.trim_start();
        } else {
            comparisons.push(comparison);
        }
        let had_space = reader.rest.len() < before.len();
        may_be_range = reader.rest.starts_with(',');
        if let Some(rest) = reader.rest.strip_prefix(',') {
            reader.rest = rest.trim_start();
            if reader.rest.is_empty() {
                return None;
            }
        } else if !reader.rest.is_empty() && !had_space {
            return None;
        }
    }
    if comparisons.is_empty() {
        // Nothing at all is no constraint in Go's library, either.
        return None;
    }
    Some(comparisons)
}

struct Reader<'c> {
    rest: &'c str,
}

impl Reader<'_> {
    fn operator(&mut self) -> Operator {
        const OPERATORS: [(&str, Operator); 11] = [
            ("!=", Operator::NotEqual),
            (">=", Operator::GreaterOrEqual),
            ("=>", Operator::GreaterOrEqual),
            ("<=", Operator::LessOrEqual),
            ("=<", Operator::LessOrEqual),
            ("~>", Operator::Tilde),
            ("=", Operator::Equal),
            (">", Operator::Greater),
            ("<", Operator::Less),
            ("~", Operator::Tilde),
            ("^", Operator::Caret),
        ];
        for (text, operator) in OPERATORS {
            if let Some(rest) = self.rest.strip_prefix(text) {
                self.rest = rest.trim_start();
                return operator;
            }
        }
        Operator::Equal
    }

    fn comparison(&mut self, operator: Operator) -> Option<Comparison> {
        let end = self.rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let text = text.strip_prefix('v').unwrap_or(text);
        let split = text.find(['-', '+']).unwrap_or(text.len());
        let (numbers, extra) = text.split_at(split);
        let mut parts = numbers.split('.');
        let (major, minor, patch) = (parts.next()?, parts.next(), parts.next());
        let is_any = |part: &str| matches!(part, "x" | "X" | "*");
        let is_part =
            |part: &str| is_any(part) || !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if parts.next().is_some() || ![Some(major), minor, patch].into_iter().flatten().all(is_part) {
            return None;
        }
        let (numbers, open) = if is_any(major) {
            ("0.0.0".to_owned(), Some(Open::All))
        } else if minor.is_none_or(is_any) {
            (format!("{major}.0.0"), Some(Open::Minor))
        } else if patch.is_none_or(is_any) {
            (format!("{major}.{}.0", minor?), Some(Open::Patch))
        } else {
            (numbers.to_owned(), None)
        };
        Some(Comparison { operator, version: Version::parse(&format!("{numbers}{extra}"))?, open })
    }
}

impl Comparison {
    fn holds(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let ordering = version.compare(wanted);
        match self.operator {
            Operator::Equal if self.open.is_some() => self.tilde(version, ordering),
            Operator::Equal => ordering == Ordering::Equal,
            Operator::NotEqual => self.differs(version, ordering),
            Operator::Greater => match self.open {
                None | Some(Open::All) => ordering == Ordering::Greater,
                Some(Open::Minor) => version.major > wanted.major,
                Some(Open::Patch) => (version.major, version.minor) > (wanted.major, wanted.minor),
            },
            Operator::Less => ordering == Ordering::Less,
            Operator::GreaterOrEqual => ordering != Ordering::Less,
            Operator::LessOrEqual => match self.open {
                None => ordering != Ordering::Greater,
                Some(Open::Minor) => version.major <= wanted.major,
                Some(_) => (version.major, version.minor) <= (wanted.major, wanted.minor),
            },
            Operator::Tilde => self.tilde(version, ordering),
            Operator::Caret => self.caret(version, ordering),
        }
    }

    fn tilde(&self, version: &Version, ordering: Ordering) -> bool {
        let wanted = &self.version;
        if ordering == Ordering::Less {
            return false;
        }
        let is_any = wanted.numbers() == (0, 0, 0) && !matches!(self.open, Some(Open::Minor | Open::Patch));
        is_any
            || version.major == wanted.major
                && (version.minor == wanted.minor || self.open == Some(Open::Minor))
    }

    fn caret(&self, version: &Version, ordering: Ordering) -> bool {
        let wanted = &self.version;
        if ordering == Ordering::Less {
            return false;
        }
        if wanted.major > 0 || self.open == Some(Open::Minor) {
            return version.major == wanted.major;
        }
        if version.major > 0 {
            return false;
        }
        if wanted.minor > 0 || self.open == Some(Open::Patch) {
            return version.minor == wanted.minor;
        }
        version.minor == 0 && version.patch == wanted.patch
    }

    fn differs(&self, version: &Version, ordering: Ordering) -> bool {
        let wanted = &self.version;
        match self.open {
            None | Some(Open::All) => ordering != Ordering::Equal,
            Some(Open::Minor) => version.major != wanted.major,
            Some(Open::Patch) => {
                (version.major, version.minor) != (wanted.major, wanted.minor)
                    || compare_pre(&version.pre, &wanted.pre) != Ordering::Equal
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_match_the_versions_they_describe() {
        for (constraint, version, fits) in [
            ("1.2.3", "1.2.3", true),
            ("=1.2", "1.2.9", true),
            ("1.x", "2.0.0", false),
            ("*", "0.1.0", true),
            (">=1.20.0-0", "v1.37.0-gke.1", true),
            (">=1.20", "1.37.0-gke.1", false),
            (">1.2", "1.2.9", false),
            (">1", "1.9.0", false),
            ("<=1", "1.9.0", true),
            ("<2, >=1.5", "1.6.0", true),
            (">= 1.2 < 1.4", "1.4.0", false),
            ("~1.2.3", "1.2.9", true),
            ("~1", "1.9.9", true),
            ("^0.2.3", "0.3.0", false),
            ("^0.0.3", "0.0.3", true),
            ("^1.2", "1.9.0", true),
            ("!=1.2.x", "1.3.0", true),
            ("1.2 - 1.4", "1.4.5", true),
            ("1.2 - 1.4.5", "1.4.6", false),
            ("<1 || >=3", "3.0.0", true),
        ] {
            let parsed = Constraint::parse(constraint).unwrap();
            assert_eq!(parsed.check(&Version::parse(version).unwrap()), fits, "{constraint} {version}");
        }
        for improper in ["", "a", "1.2.3.4", ">>1", "1,", "1.2.3-", "1 2 - 3", "=1 - 2"] {
            assert!(Constraint::parse(improper).is_err(), "{improper}");
        }
    }

    #[test]
    fn pre_releases_come_before_their_version() {
        let ordered = ["1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-a", "1.0.0-a.1", "1.0.0-b", "v1", "1.0.1"];
        for pair in ordered.windows(2) {
            let (a, b) = (Version::parse(pair[0]).unwrap(), Version::parse(pair[1]).unwrap());
            assert_eq!(a.compare(&b), Ordering::Less, "{pair:?}");
        }
        for wrong in ["", "1.2.3.4", "1.-1", "1.0.0-01", "a", "1.0.0+"] {
            assert!(Version::parse(wrong).is_none(), "{wrong}");
        }
    }
}
