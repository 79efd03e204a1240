//! Dates as texts.

use super::parts::{DAYS, MONTHS, Offset, Part, parts};
use crate::date::Time;

pub(in crate::date) fn format(time: &Time, layout: &str) -> String {
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
            Part::LongYear => text.push_str(&year(civil.year)),
            Part::Year => text.push_str(&format!("{:02}", civil.year.unsigned_abs() % 100)),
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

/// Four digits behind the sign of years before 0.
fn year(year: i64) -> String {
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}", year.unsigned_abs())
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
