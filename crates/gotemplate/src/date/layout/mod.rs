//! Go's layouts of dates, for printing and for reading.

mod parts;
mod print;
mod read;

pub(super) use print::format;
pub(super) use read::parse;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::Time;

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
    #[test]
    fn years_before_0_have_a_sign_and_four_digits() {
        let time = Time::from_unix(-62_167_219_201, 0);
        assert_eq!(format(&time, "2006-01-02 06"), "-0001-12-31 01");
        assert_eq!(format(&time, "Jan _2 2006"), "Dec 31 -0001");
    }

    #[test]
    fn blanks_of_a_layout_stand_for_any_number_of_blanks() {
        for (layout, text) in [
            ("2006  01 02", "2024 02   29"),
            ("2006-01-02 ", "2024-02-29"),
            ("2006-01-02 x", "2024-02-29   x"),
            (" 2006-01-02", "   2024-02-29"),
        ] {
            assert_eq!(parse(layout, text).map(|time| time.seconds), Ok(1_709_164_800), "{layout}");
        }
        for (layout, text) in
            [("2006 01", "202402"), ("200601", "2024 02"), ("2006 x", "2024 "), ("2006", "2024 ")]
        {
            assert!(parse(layout, text).is_err(), "{layout}");
        }
    }
}
