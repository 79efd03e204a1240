//! Time zones by name, from a database within the program: no file of the machine is read.

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use super::Time;

impl Time {
    /// The same moment in a zone; in UTC when there is none of that name, as in Sprig. `Local` is UTC.
    pub(crate) fn in_zone(&self, name: &str) -> Self {
        match offset(self.seconds, name) {
            Some((offset, zone)) => Self { offset, zone, ..self.clone() },
            None => self.in_utc(),
        }
    }
}

/// The offset and the abbreviation of a zone at a moment.
fn offset(seconds: i64, name: &str) -> Option<(i32, String)> {
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    // Go finds zones as files, whose names are case-sensitive.
    if zone.iana_name().is_some_and(|known| known != name && known.eq_ignore_ascii_case(name)) {
        return None;
    }
    let (least, most) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let moment = Timestamp::from_second(seconds.clamp(least, most)).ok()?;
    let info = zone.to_offset_info(moment);
    Some((info.offset().seconds(), info.abbreviation().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_an_offset_and_a_name_at_each_moment() {
        let shown =
            |seconds, zone| Time::from_unix(seconds, 0).in_zone(zone).format("2006-01-02 15:04 MST -0700");
        for (seconds, zone, text) in [
            (1_700_000_000, "Europe/Berlin", "2023-11-14 23:13 CET +0100"),
            (1_690_000_000, "Europe/Berlin", "2023-07-22 06:26 CEST +0200"),
            (1_690_000_000, "America/Sao_Paulo", "2023-07-22 01:26 -03 -0300"),
            (0, "Etc/UTC", "1970-01-01 00:00 UTC +0000"),
            (0, "europe/berlin", "1970-01-01 00:00 UTC +0000"),
            (0, "nowhere", "1970-01-01 00:00 UTC +0000"),
        ] {
            assert_eq!(shown(seconds, zone), text, "{zone}");
        }
    }
}
