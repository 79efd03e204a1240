//! What a layout is made of.

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A part of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'l> {
    Literal(&'l str),
    LongMonth,
    Month,
    NumberMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderscoreDay,
    ZeroDay,
    UnderscoreYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperHalf,
    LowerHalf,
    Zone,
    Offset(Offset),
    /// Digits of a second behind `.` or `,`; zeros at the end are kept or not.
    Fraction {
        digits: usize,
        keeps_zeros: bool,
        separator: char,
    },
}

/// How an offset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    /// UTC is `Z`.
    pub(super) z: bool,
    pub(super) colon: bool,
    /// Hours; hours and minutes; or seconds as well.
    pub(super) numbers: u8,
}

/// What a layout can hold, longer ones before those that start the same.
const WORDS: [(&str, Part<'static>); 36] = [
    ("January", Part::LongMonth),
    ("Jan", Part::Month),
    ("Monday", Part::LongWeekday),
    ("Mon", Part::Weekday),
    ("MST", Part::Zone),
    ("01", Part::ZeroMonth),
    ("02", Part::ZeroDay),
    ("03", Part::ZeroHour12),
    ("04", Part::ZeroMinute),
    ("05", Part::ZeroSecond),
    ("06", Part::Year),
    ("002", Part::ZeroYearDay),
    ("15", Part::Hour),
    ("1", Part::NumberMonth),
    ("2006", Part::LongYear),
    ("2", Part::Day),
    ("_2006", Part::Literal("_")),
    ("__2", Part::UnderscoreYearDay),
    ("_2", Part::UnderscoreDay),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
    ("PM", Part::UpperHalf),
    ("pm", Part::LowerHalf),
    ("-070000", offset(3, false)),
    ("-07:00:00", offset(3, true)),
    ("-0700", offset(2, false)),
    ("-07:00", offset(2, true)),
    ("-07", offset(1, false)),
    ("Z070000", or_z(3, false)),
    ("Z07:00:00", or_z(3, true)),
    ("Z0700", or_z(2, false)),
    ("Z07:00", or_z(2, true)),
    ("Z07", or_z(1, false)),
    ("jan", Part::Literal("jan")),
    ("mon", Part::Literal("mon")),
];

const fn offset(numbers: u8, colon: bool) -> Part<'static> {
    Part::Offset(Offset { z: false, colon, numbers })
}

const fn or_z(numbers: u8, colon: bool) -> Part<'static> {
    Part::Offset(Offset { z: true, colon, numbers })
}

/// Splits a layout into its parts.
pub(super) fn parts(layout: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut rest, mut literal_start, mut at) = (layout, 0, 0);
    while let Some(c) = rest.chars().next() {
        let Some((part, length)) = part(rest) else {
            at += c.len_utf8();
            rest = &layout[at..];
            continue;
        };
        if literal_start < at {
            parts.push(Part::Literal(&layout[literal_start..at]));
        }
        parts.push(part);
        at += length;
        literal_start = at;
        rest = &layout[at..];
    }
    if literal_start < at {
        parts.push(Part::Literal(&layout[literal_start..]));
    }
    parts
}

fn part(rest: &str) -> Option<(Part<'_>, usize)> {
    if rest.starts_with(['.', ',']) {
        return fraction(rest);
    }
    if rest.starts_with("_2006") {
        // The underscore stands for itself before a year.
        return Some((Part::Literal("_"), 1));
    }
    let is_lower = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
    WORDS
        .iter()
        .filter(|(word, _)| rest.starts_with(word))
        // `Jan` and `Mon` at the start of another word are not names.
        .filter(|(word, _)| !matches!(*word, "Jan" | "Mon") || !is_lower(&rest[3..]))
        .max_by_key(|(word, _)| word.len())
        .map(|(word, part)| (*part, word.len()))
}

/// `.000` or `.999` that ends before the next digit.
fn fraction(rest: &str) -> Option<(Part<'_>, usize)> {
    let separator = rest.chars().next()?;
    let digit = rest.chars().nth(1).filter(|c| matches!(c, '0' | '9'))?;
    let digits = rest[1..].chars().take_while(|c| *c == digit).count();
    let ends = !rest[1 + digits..].starts_with(|c: char| c.is_ascii_digit());
    ends.then_some((Part::Fraction { digits, keeps_zeros: digit == '0', separator }, digits + 1))
}
