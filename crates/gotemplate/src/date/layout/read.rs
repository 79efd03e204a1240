//! Texts as dates.

use super::parts::{DAYS, MONTHS, Offset, Part, parts};
use crate::date::{Time, days_before};

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
    /// A time whose zone is named UTC is in UTC, whatever its offset.
    is_utc: bool,
    zone: Option<String>,
}

pub(in crate::date) fn parse(layout: &str, text: &str) -> Result<Time, String> {
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
            Part::Day => self.day = Some(self.number(1, 2)?),
            Part::UnderscoreDay => {
                self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                self.day = Some(self.number(1, 2)?);
            }
            Part::ZeroDay => self.day = Some(self.number(2, 2)?),
            Part::UnderscoreYearDay | Part::ZeroYearDay => self.day_of_year()?,
            Part::Hour => self.hour = self.number(2, 2).filter(|hour| *hour < 24)?,
            Part::Hour12 => self.hour = self.number(1, 2).filter(|hour| *hour <= 12)?,
            Part::ZeroHour12 => self.hour = self.number(2, 2).filter(|hour| *hour <= 12)?,
            Part::Minute => self.minute = self.number(1, 2).filter(|minute| *minute < 60)?,
            Part::ZeroMinute => self.minute = self.number(2, 2).filter(|minute| *minute < 60)?,
            Part::Second => self.second(1, fraction_follows)?,
            Part::ZeroSecond => self.second(2, fraction_follows)?,
            Part::LongYear => self.year = i64::from(self.number(4, 4)?),
            Part::Year => {
                let year = self.short_year()?;
                self.year = if year >= 69 { 1900 + year } else { 2000 + year };
            }
            Part::UpperHalf => self.half("AM", "PM")?,
            Part::LowerHalf => self.half("am", "pm")?,
            Part::Zone => self.zone_name()?,
            Part::Offset(offset) => self.offset(offset)?,
            Part::Fraction { digits, keeps_zeros: true, .. } => self.fraction(Some(digits))?,
            Part::Fraction { .. } => self.fraction_if_any()?,
        }
        Some(())
    }

    /// Reads three places, of which blanks may stand for some.
    fn day_of_year(&mut self) -> Option<()> {
        let trimmed = self.rest.trim_start_matches(' ');
        let blanks = self.rest.len() - trimmed.len();
        self.rest = trimmed;
        let width = 3usize.checked_sub(blanks)?;
        self.day_of_year = Some(self.number(width, width)?);
        Some(())
    }

    /// Reads seconds, with their fraction even where the layout has none.
    fn second(&mut self, least: usize, fraction_follows: bool) -> Option<()> {
        self.second = self.number(least, 2).filter(|second| *second < 60)?;
        if fraction_follows { Some(()) } else { self.fraction_if_any() }
    }

    fn fraction_if_any(&mut self) -> Option<()> {
        if self.rest.starts_with(['.', ',']) && self.digit_at(1) { self.fraction(None) } else { Some(()) }
    }

    fn digit_at(&self, index: usize) -> bool {
        self.rest.as_bytes().get(index).is_some_and(u8::is_ascii_digit)
    }

    /// Reads what a layout holds literally. As many blanks as there are stand for as many as there are, and at the end of
    /// the text for none.
    fn literal(&mut self, literal: &str) -> Option<()> {
        let mut wanted = literal;
        while let Some(c) = wanted.chars().next() {
            if c != ' ' {
                self.rest = self.rest.strip_prefix(c)?;
                wanted = &wanted[c.len_utf8()..];
                continue;
            }
            if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                return None;
            }
            wanted = wanted.trim_start_matches(' ');
            self.rest = self.rest.trim_start_matches(' ');
        }
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

    /// Two digits, or one behind a sign.
    fn short_year(&mut self) -> Option<i64> {
        let (year, rest) = self.rest.split_at_checked(2)?;
        self.rest = rest;
        year.parse().ok()
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
        // The name of a zone gives its offset only where it contains one, and then the moment is that in UTC, as in Go.
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
