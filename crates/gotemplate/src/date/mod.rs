//! Points in time and durations, as Go's package `time` has them.
//!
//! There is no clock here, and `Local` is UTC.

mod duration;
mod layout;
#[cfg(feature = "dates")]
mod zone;

#[cfg(feature = "dates")]
pub(crate) use duration::parse as parse_duration;
pub(crate) use duration::print as duration;

/// Go's `time.Time`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970-01-01 in UTC.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    /// Seconds east of UTC.
    pub(crate) offset: i32,
    /// Abbreviation of the zone; empty for a mere offset.
    pub(crate) zone: String,
}

/// A date and time of day in the zone of a [`Time`].
pub(crate) struct Civil {
    pub year: i64,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    /// From 0, which is Sunday.
    pub weekday: usize,
    /// From 1.
    pub day_of_year: u32,
}

const DAY: i64 = 86_400;

impl Time {
    /// A time in UTC by its seconds since 1970.
    #[must_use]
    pub fn from_unix(seconds: i64, nanoseconds: u32) -> Self {
        Self { seconds, nanoseconds, offset: 0, zone: "UTC".to_owned() }
    }

    pub(crate) fn civil(&self) -> Civil {
        let local = self.seconds.saturating_add(i64::from(self.offset));
        let (days, rest) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        let part = |number: i64| u32::try_from(number).unwrap_or_default();
        Civil {
            year,
            month,
            day,
            hour: part(rest / 3600),
            minute: part(rest / 60 % 60),
            second: part(rest % 60),
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default(),
            day_of_year: part(days - days_before(year, 1, 1) + 1),
        }
    }

    /// Adds nanoseconds.
    pub(crate) fn add(&self, nanoseconds: i64) -> Self {
        const SECOND: i64 = 1_000_000_000;
        let total = i64::from(self.nanoseconds) + nanoseconds.rem_euclid(SECOND);
        let seconds =
            self.seconds.saturating_add(nanoseconds.div_euclid(SECOND)).saturating_add(total / SECOND);
        Self { seconds, nanoseconds: u32::try_from(total % SECOND).unwrap_or_default(), ..self.clone() }
    }

    /// The same moment in UTC.
    pub(crate) fn in_utc(&self) -> Self {
        Self { offset: 0, zone: "UTC".to_owned(), ..self.clone() }
    }

    /// What `{{ . }}` prints.
    pub(crate) fn print(&self) -> String {
        self.format("2006-01-02 15:04:05.999999999 -0700 MST")
    }

    /// What JSON has.
    pub(crate) fn rfc3339(&self) -> String {
        self.format("2006-01-02T15:04:05.999999999Z07:00")
    }

    /// Formats by one of Go's layouts, which show how the second of January 2006 would look.
    pub(crate) fn format(&self, layout: &str) -> String {
        layout::format(self, layout)
    }

    /// Reads a text by a layout.
    pub(crate) fn parse(layout: &str, text: &str) -> Result<Self, String> {
        layout::parse(layout, text)
    }

    /// Go's zero time, which a text that does not parse becomes.
    pub(crate) fn zero() -> Self {
        Self::from_unix(days_before(1, 1, 1) * DAY, 0)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
pub(crate) fn days_before(year: i64, month: u32, day: u32) -> i64 {
    // Years that start in March have their leap day at the end.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn date_of(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = u32::try_from(day_of_year - (153 * shifted_month + 2) / 5 + 1).unwrap_or(1);
    let month =
        u32::try_from(if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 }).unwrap_or(1);
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_inverse() {
        for days in (-800_000..800_000).step_by(97) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_before(year, month, day), days);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(11_016), (2000, 2, 29));
    }
}
