//! Go's layouts of dates, for printing and for reading.

use super::{Time, days_before};

const MONTHS: [&str; 12] = [
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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A part of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'l> {
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
struct Offset {
    /// UTC is `Z`.
    z: bool,
    colon: bool,
    /// Hours; hours and minutes; or seconds as well.
    numbers: u8,
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
fn parts(layout: &str) -> Vec<Part<'_>> {
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
        // `Jan` and `Mon` at the start of another word are no names.
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

pub(super) fn format(time: &Time, layout: &str) -> String {
    let civil = time.civil();
    let hour12 = if civil.hour.is_multiple_of(12) { 12 } else { civil.hour % 12 };
    let month = MONTHS.get(civil.month as usize - 1).copied().unwrap_or_default();
    let weekday = DAYS.get(civil.weekday).copied().unwrap_or_default();
    let half = if civil.hour < 12 { "AM" } else { "PM" };
    let mut text = String::new();
    for part in parts(layout) {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::LongMonth => text.push_str(month),
            Part::Month => text.push_str(&month[..3]),
            Part::NumberMonth => text.push_str(&civil.month.to_string()),
            Part::ZeroMonth => text.push_str(&format!("{:02}", civil.month)),
            Part::LongWeekday => text.push_str(weekday),
            Part::Weekday => text.push_str(&weekday[..3]),
            Part::Day => text.push_str(&civil.day.to_string()),
            Part::UnderscoreDay => text.push_str(&format!("{:2}", civil.day)),
            Part::ZeroDay => text.push_str(&format!("{:02}", civil.day)),
            Part::UnderscoreYearDay => text.push_str(&format!("{:3}", civil.day_of_year)),
            Part::ZeroYearDay => text.push_str(&format!("{:03}", civil.day_of_year)),
            Part::Hour => text.push_str(&format!("{:02}", civil.hour)),
            Part::Hour12 => text.push_str(&hour12.to_string()),
            Part::ZeroHour12 => text.push_str(&format!("{hour12:02}")),
            Part::Minute => text.push_str(&civil.minute.to_string()),
            Part::ZeroMinute => text.push_str(&format!("{:02}", civil.minute)),
            Part::Second => text.push_str(&civil.second.to_string()),
            Part::ZeroSecond => text.push_str(&format!("{:02}", civil.second)),
            Part::LongYear => text.push_str(&format!("{:04}", civil.year)),
            Part::Year => text.push_str(&format!("{:02}", civil.year.rem_euclid(100))),
            Part::UpperHalf => text.push_str(half),
            Part::LowerHalf => text.push_str(&half.to_lowercase()),
            Part::Zone if time.zone.is_empty() => text.push_str(&numeric_zone(time.offset)),
            Part::Zone => text.push_str(&time.zone),
            Part::Offset(offset) => text.push_str(&print_offset(time.offset, offset)),
            Part::Fraction { digits, keeps_zeros, separator } => {
                text.push_str(&print_fraction(time.nanoseconds, digits, keeps_zeros, separator));
            }
        }
    }
    text
}

fn numeric_zone(offset: i32) -> String {
    let style = Offset { z: false, colon: false, numbers: 2 };
    print_offset(offset, style)
}

fn print_offset(offset: i32, style: Offset) -> String {
    if style.z && offset == 0 {
        return "Z".to_owned();
    }
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes, seconds) = (offset.abs() / 3600, offset.abs() / 60 % 60, offset.abs() % 60);
    let colon = if style.colon { ":" } else { "" };
    let mut text = format!("{sign}{hours:02}");
    if style.numbers > 1 {
        text.push_str(&format!("{colon}{minutes:02}"));
    }
    if style.numbers > 2 {
        text.push_str(&format!("{colon}{seconds:02}"));
    }
    text
}

fn print_fraction(nanoseconds: u32, digits: usize, keeps_zeros: bool, separator: char) -> String {
    let all = format!("{nanoseconds:09}");
    let mut shown = all.get(..digits.min(9)).unwrap_or(&all);
    if !keeps_zeros {
        shown = shown.trim_end_matches('0');
        if shown.is_empty() {
            return String::new();
        }
    }
    format!("{separator}{shown}")
}

/// What was read so far.
struct Reading<'t> {
    rest: &'t str,
    year: i64,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    nanoseconds: u32,
    afternoon: Option<bool>,
    offset: Option<i32>,
    /// What is in UTC by its name is so whatever its offset says.
    is_utc: bool,
    zone: Option<String>,
}

pub(super) fn parse(layout: &str, text: &str) -> Result<Time, String> {
    let failed = || {
        let (text, layout) = (crate::format::quote(text), crate::format::quote(layout));
        format!("parsing time {text} as {layout}: cannot parse")
    };
    let mut reading = Reading {
        rest: text,
        year: 0,
        month: None,
        day: None,
        day_of_year: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanoseconds: 0,
        afternoon: None,
        offset: None,
        is_utc: false,
        zone: None,
    };
    let parts = parts(layout);
    for (index, part) in parts.iter().enumerate() {
        let fraction_follows = matches!(parts.get(index + 1), Some(Part::Fraction { .. }));
        reading.read(*part, fraction_follows).ok_or_else(failed)?;
    }
    if !reading.rest.is_empty() {
        return Err(failed());
    }
    reading.time().ok_or_else(failed)
}

impl Reading<'_> {
    fn read(&mut self, part: Part<'_>, fraction_follows: bool) -> Option<()> {
        match part {
            Part::Literal(literal) => self.literal(literal)?,
            Part::LongMonth => self.month = Some(self.name(&MONTHS, usize::MAX)? + 1),
            Part::Month => self.month = Some(self.name(&MONTHS, 3)? + 1),
            Part::NumberMonth => self.month = Some(self.number(1, 2)?),
            Part::ZeroMonth => self.month = Some(self.number(2, 2)?),
            Part::LongWeekday => drop(self.name(&DAYS, usize::MAX)?),
            Part::Weekday => drop(self.name(&DAYS, 3)?),
            Part::Day | Part::UnderscoreDay => {
                if part == Part::UnderscoreDay {
                    self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                }
                self.day = Some(self.number(1, 2)?);
            }
            Part::ZeroDay => self.day = Some(self.number(2, 2)?),
            Part::UnderscoreYearDay | Part::ZeroYearDay => {
                let trimmed = self.rest.trim_start_matches(' ');
                let blanks = self.rest.len() - trimmed.len();
                self.rest = trimmed;
                let width = 3usize.checked_sub(blanks)?;
                self.day_of_year = Some(self.number(width, width)?);
            }
            Part::Hour => self.hour = self.number(2, 2).filter(|hour| *hour < 24)?,
            Part::Hour12 => self.hour = self.number(1, 2).filter(|hour| *hour <= 12)?,
            Part::ZeroHour12 => self.hour = self.number(2, 2).filter(|hour| *hour <= 12)?,
            Part::Minute => self.minute = self.number(1, 2).filter(|minute| *minute < 60)?,
            Part::ZeroMinute => self.minute = self.number(2, 2).filter(|minute| *minute < 60)?,
            Part::Second | Part::ZeroSecond => {
                let least = if part == Part::Second { 1 } else { 2 };
                self.second = self.number(least, 2).filter(|second| *second < 60)?;
                // A fraction is read even where the layout has none.
                if !fraction_follows && self.rest.starts_with(['.', ',']) && self.digit_at(1) {
                    self.fraction(None)?;
                }
            }
            Part::LongYear => self.year = i64::from(self.number(4, 4)?),
            Part::Year => {
                let year = i64::from(self.number(2, 2)?);
                self.year = if year >= 69 { 1900 + year } else { 2000 + year };
            }
            Part::UpperHalf => self.half("AM", "PM")?,
            Part::LowerHalf => self.half("am", "pm")?,
            Part::Zone => self.zone_name()?,
            Part::Offset(offset) => self.offset(offset)?,
            Part::Fraction { digits, keeps_zeros: true, .. } => self.fraction(Some(digits))?,
            Part::Fraction { .. } => {
                if self.rest.starts_with(['.', ',']) && self.digit_at(1) {
                    self.fraction(None)?;
                }
            }
        }
        Some(())
    }

    fn digit_at(&self, index: usize) -> bool {
        self.rest.as_bytes().get(index).is_some_and(u8::is_ascii_digit)
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let length = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if length < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.parse().ok()
    }

    /// The index of the name that comes next, in any case, cut to `length`.
    fn name(&mut self, names: &[&str], length: usize) -> Option<u32> {
        let matches = |name: &&str| {
            let name = name.get(..length.min(name.len())).unwrap_or(name);
            self.rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        let index = names.iter().position(matches)?;
        self.rest = &self.rest[length.min(names[index].len())..];
        u32::try_from(index).ok()
    }

    fn half(&mut self, morning: &str, afternoon: &str) -> Option<()> {
        self.afternoon = Some(self.rest.starts_with(afternoon));
        self.rest = self.rest.strip_prefix(afternoon).or_else(|| self.rest.strip_prefix(morning))?;
        Some(())
    }

    fn zone_name(&mut self) -> Option<()> {
        if let Some(rest) = self.rest.strip_prefix("UTC") {
            self.rest = rest;
            self.is_utc = true;
            return Some(());
        }
        let (name, rest) = self.rest.split_at(zone_length(self.rest)?);
        self.zone = Some(name.to_owned());
        self.rest = rest;
        Some(())
    }

    fn offset(&mut self, style: Offset) -> Option<()> {
        if style.z && self.rest.starts_with('Z') {
            self.rest = &self.rest[1..];
            self.is_utc = true;
            return Some(());
        }
        let sign = match self.rest.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        self.rest = &self.rest[1..];
        let mut seconds = self.number(2, 2).filter(|hours| *hours <= 24)? * 3600;
        for (wanted, unit) in [(style.numbers > 1, 60), (style.numbers > 2, 1)] {
            if wanted {
                if style.colon {
                    self.literal(":")?;
                }
                seconds += self.number(2, 2).filter(|number| *number <= 60)? * unit;
            }
        }
        self.offset = Some(sign * i32::try_from(seconds).ok()?);
        Some(())
    }

    fn fraction(&mut self, digits: Option<usize>) -> Option<()> {
        let rest = self.rest.strip_prefix(['.', ','])?;
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let length = match digits {
            Some(digits) if length < digits => return None,
            Some(digits) => digits,
            None => length,
        };
        let (read, rest) = rest.split_at(length);
        let nine = format!("{:0<9}", read.get(..length.min(9))?);
        self.nanoseconds = nine.parse().ok()?;
        self.rest = rest;
        Some(())
    }

    fn time(self) -> Option<Time> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let day = match self.day_of_year {
            Some(day) => {
                let days = days_before(self.year, 1, 1) + i64::from(day) - 1;
                (days < days_before(self.year + 1, 1, 1) && day > 0).then_some(days)?
            }
            None => self.day()?,
        };
        let of_day = i64::from(hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        // The name of a zone tells its offset only where it says so itself, and then the moment is that in UTC, as in Go.
        let by_name = self.zone.as_deref().and_then(|zone| zone.strip_prefix("GMT")?.parse::<i32>().ok());
        let offset = match self.offset {
            _ if self.is_utc => 0,
            Some(offset) => offset,
            None => by_name.unwrap_or(0) * 3600,
        };
        let shift = if self.is_utc { 0 } else { self.offset.unwrap_or(0) };
        let zone = match self.zone {
            _ if self.is_utc => "UTC".to_owned(),
            Some(zone) => zone,
            None if offset == 0 => "UTC".to_owned(),
            None => String::new(),
        };
        Some(Time {
            seconds: day * 86_400 + of_day - i64::from(shift),
            nanoseconds: self.nanoseconds,
            offset,
            zone,
        })
    }

    fn day(&self) -> Option<i64> {
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let (year, next) = if month == 12 { (self.year + 1, 1) } else { (self.year, month + 1) };
        let start = days_before(self.year, month, 1);
        let days = start + i64::from(day) - 1;
        (days < days_before(year, next, 1)).then_some(days)
    }
}

/// The length of a zone's name: capitals, most of four or five of which end in T; `GMT` with an offset; or an offset alone.
fn zone_length(text: &str) -> Option<usize> {
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(behind) = text.strip_prefix("GMT") {
        return Some(3 + signed_hours(behind).unwrap_or(0));
    }
    if text.starts_with(['+', '-']) {
        return signed_hours(text);
    }
    let capitals = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    match capitals {
        5 if text[..5].ends_with('T') => Some(5),
        4 if text[..4].ends_with('T') || text.starts_with("WITA") => Some(4),
        3 => Some(3),
        _ => None,
    }
}

/// The length of a sign with hours up to 23 behind it.
fn signed_hours(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['+', '-'])?;
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    let hours: u64 = digits[..length].parse().ok()?;
    (hours < 24).then_some(1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_show_how_a_date_looks() {
        let time = Time {
            seconds: 1_136_239_445,
            nanoseconds: 120_000_000,
            offset: -25_200,
            zone: "MST".to_owned(),
        };
        for (layout, text) in [
            ("Mon Jan _2 15:04:05 2006", "Mon Jan  2 15:04:05 2006"),
            ("2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05-07:00"),
            ("Monday, 02-Jan-06 3:4:5 PM MST", "Monday, 02-Jan-06 3:4:5 PM MST"),
            ("15:04:05.000 .999 January pm -0700", "15:04:05.120 .12 January pm -0700"),
            ("Month Monk 1 002", "Month Monk 1 002"),
        ] {
            assert_eq!(format(&time, layout), text, "{layout}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for (layout, text, seconds) in [
            ("2006-01-02", "2024-02-29", 1_709_164_800),
            ("2006-01-02T15:04:05Z07:00", "2024-02-29T12:00:00+01:00", 1_709_204_400),
            ("Jan 2 2006 3:04PM", "feb 29 2024 12:30AM", 1_709_166_600),
            ("02.01.06 15:04:05", "29.02.24 00:00:01.5", 1_709_164_801),
        ] {
            assert_eq!(parse(layout, text).map(|time| time.seconds), Ok(seconds), "{text}");
        }
        for (layout, text) in
            [("2006-01-02", "2023-02-29"), ("2006-01-02", "2023-02-2"), ("15:04", "24:00"), ("2006", "2006x")]
        {
            assert!(parse(layout, text).is_err(), "{text}");
        }
    }
}
