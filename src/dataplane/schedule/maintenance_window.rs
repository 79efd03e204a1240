//! Maintenance windows as annotations have them: `Sat-Sun 00:00-04:00`, `Mon,Wed 22:00-02:00`, `03:00-05:00`; several are
//! separated by `;`. Times are UTC; a window that passes midnight belongs to the day on which it begins. Pure.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::text::sanitized;

/// Bytes of the annotation of a workload: more than anybody needs, and little enough to be kept for each workload.
const MAX_WINDOW_BYTES: usize = 256;
/// Bytes of an invalid part that are shown.
const MAX_QUOTED_BYTES: usize = 40;

const DAY: i64 = 24 * 3600;
const WEEK: i64 = 7 * DAY;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// The epoch was a Thursday; this is the Monday after it.
const FIRST_MONDAY: i64 = 4 * DAY;

/// One or several windows of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Begin and length in seconds, the begin counted from Monday midnight.
    spans: Vec<(i64, i64)>,
}

/// A window that cannot be parsed, with the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidWindow(String);

impl InvalidWindow {
    /// Bytes that it holds in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for InvalidWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; use the form \"Sat-Sun 00:00-04:00\" with times in UTC", self.0)
    }
}

impl Window {
    /// Whether the window is open at `time`.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        let at = second_of_week(time);
        self.spans.iter().any(|(begin, length)| (at - begin).rem_euclid(WEEK) < *length)
    }

    /// Bytes that it holds in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<(i64, i64)>()
    }

    /// The first second from `time` on at which the window is open.
    #[must_use]
    pub fn next_opening(&self, time: Timestamp) -> Timestamp {
        if self.contains(time) {
            return time;
        }
        let at = second_of_week(time);
        let delays = self.spans.iter().map(|(begin, _)| (begin - at).rem_euclid(WEEK));
        let delay = SignedDuration::from_secs(delays.min().unwrap_or(WEEK));
        time.checked_add(delay).unwrap_or(time)
    }
}

impl FromStr for Window {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        if text.len() > MAX_WINDOW_BYTES {
            return Err(InvalidWindow(format!("window is longer than {MAX_WINDOW_BYTES} bytes")));
        }
        let mut spans = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            spans.extend(parse_part(part)?);
        }
        if spans.is_empty() {
            return Err(InvalidWindow("window is empty".to_owned()));
        }
        spans.sort_unstable();
        spans.dedup();
        Ok(Self { spans })
    }
}

/// Seconds since Monday midnight.
fn second_of_week(time: Timestamp) -> i64 {
    (time.as_second() - FIRST_MONDAY).rem_euclid(WEEK)
}

/// A part of the text in quotation marks, shortened and escaped.
fn quoted(text: &str) -> String {
    format!("\"{}\"", sanitized(text, MAX_QUOTED_BYTES))
}

fn parse_part(part: &str) -> Result<Vec<(i64, i64)>, InvalidWindow> {
    let words: Vec<&str> = part.split_whitespace().collect();
    let (days, times) = match words.as_slice() {
        [times] => ((0..7).collect(), *times),
        [days, times] => (parse_days(days)?, *times),
        _ => return Err(InvalidWindow(format!("{} is not a list of days and a time range", quoted(part)))),
    };
    let (begin, end) =
        times.split_once('-').ok_or_else(|| InvalidWindow(format!("{} has no end time", quoted(times))))?;
    let (begin, end) = (parse_time(begin)?, parse_time(end)?);
    let length = (end - begin).rem_euclid(DAY);
    // Equal begin and end mean a whole day.
    let length = if length == 0 { DAY } else { length };
    Ok(days.into_iter().map(|day| (day * DAY + begin, length)).collect())
}

fn parse_days(text: &str) -> Result<Vec<i64>, InvalidWindow> {
    let mut days = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (mut day, last) = (parse_day(first)?, parse_day(last)?);
        days.push(day);
        while day != last {
            day = (day + 1) % 7;
            days.push(day);
        }
    }
    Ok(days)
}

fn parse_day(text: &str) -> Result<i64, InvalidWindow> {
    let lower = text.to_ascii_lowercase();
    let position = DAYS.iter().position(|day| lower == *day || (lower.len() > 3 && lower.starts_with(day)));
    let position = position.and_then(|position| i64::try_from(position).ok());
    position.ok_or_else(|| InvalidWindow(format!("{} is not a day", quoted(text))))
}

fn parse_time(text: &str) -> Result<i64, InvalidWindow> {
    let invalid = || InvalidWindow(format!("{} is not a time", quoted(text)));
    let (hours, minutes) = text.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| text.parse::<u8>().map_err(|_| invalid());
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 24 || minutes > 59 || (hours == 24 && minutes > 0) {
        return Err(invalid());
    }
    Ok(i64::from(hours) * 3600 + i64::from(minutes) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 is a Monday.
    const MONDAY: i64 = 1_795_392_000;

    fn at(day: i64, hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_second(MONDAY + day * DAY + hour * 3600 + minute * 60).unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_before_its_last() {
        for (window, time, open) in [
            ("Sat-Sun 00:00-04:00", at(5, 0, 0), true),
            ("Sat-Sun 00:00-04:00", at(6, 3, 59), true),
            ("Sat-Sun 00:00-04:00", at(6, 4, 0), false),
            ("Sat-Sun 00:00-04:00", at(4, 1, 0), false),
            ("Mon,Wed 22:00-02:00", at(0, 23, 0), true),
            ("Mon,Wed 22:00-02:00", at(1, 1, 59), true),
            ("Mon,Wed 22:00-02:00", at(1, 22, 0), false),
            ("Sun 22:00-02:00", at(0, 1, 0), true),
            ("Fri-Mon 10:00-11:00", at(6, 10, 30), true),
            ("Fri-Mon 10:00-11:00", at(2, 10, 30), false),
            ("03:00-05:00", at(3, 4, 0), true),
            ("Monday 00:00-24:00", at(0, 23, 59), true),
            ("Mon 01:00-02:00; Tue 03:00-04:00", at(1, 3, 0), true),
        ] {
            assert_eq!(window.parse::<Window>().unwrap().contains(time), open, "{window} {time}");
        }
    }

    #[test]
    fn the_next_opening_is_computed() {
        let window: Window = "Sat-Sun 00:00-04:00".parse().unwrap();
        assert_eq!(window.next_opening(at(0, 12, 0)), at(5, 0, 0));
        assert_eq!(window.next_opening(at(5, 1, 0)), at(5, 1, 0));
        assert_eq!(window.next_opening(at(6, 5, 0)), at(12, 0, 0));
    }

    /// An annotation holds 256 KiB, and anybody who may change a workload is its author.
    #[test]
    fn an_invalid_window_is_rejected_with_a_short_safe_message() {
        let many = |text: &str| text.repeat(200_000 / text.len());
        for text in [
            many("\u{1}"),
            format!("a b {}", many("\u{1}")),
            many("00:00-01:00;"),
            format!("a b {}", "\u{1b}[2K\n\u{202e}".repeat(15)),
            format!("Sat {}", "\u{1}".repeat(200)),
        ] {
            let error = text.parse::<Window>().unwrap_err().to_string();
            assert!(error.len() <= 200 && !error.chars().any(crate::text::is_unsafe), "{error:?}");
        }
    }

    #[test]
    fn malformed_windows_are_rejected_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("Sat", "no end time"),
            ("Someday 00:00-04:00", "not a day"),
            ("Sat 0-4", "not a time"),
            ("Sat 25:00-26:00", "not a time"),
            ("Sat Sun 00:00-04:00", "not a list of days and a time range"),
        ] {
            let error = text.parse::<Window>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
