//! Dates, durations and their methods.

use super::Type::{Any, String as Text, Time as Moment};
use super::{Answer, Function, any, bytes, numbers, plain, preserving_bytes_of_one, text, within};
use crate::date::{Time, duration, parse_duration};
use crate::exec::{Executor, Failure};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    within("now", &[], |executor, _| Ok(Value::Time(now(executor)?.into()))),
    within("date", &[Text, Any], |e, a| formatted(e, bytes(a, 0), &any(a, 1), "Local")),
    within("dateInZone", &[Text, Any, Text], |e, a| formatted(e, bytes(a, 0), &any(a, 1), &text(a, 2))),
    within("date_in_zone", &[Text, Any, Text], |e, a| formatted(e, bytes(a, 0), &any(a, 1), &text(a, 2))),
    within("htmlDate", &[Any], |e, a| formatted(e, b"2006-01-02", &any(a, 0), "Local")),
    within("htmlDateInZone", &[Any, Text], |e, a| formatted(e, b"2006-01-02", &any(a, 0), &text(a, 1))),
    plain("dateModify", &[Text, Moment], |a| Ok(modified(a).unwrap_or_else(|_| any(a, 1)))),
    plain("date_modify", &[Text, Moment], |a| Ok(modified(a).unwrap_or_else(|_| any(a, 1)))),
    plain("mustDateModify", &[Text, Moment], modified),
    plain("must_date_modify", &[Text, Moment], modified),
    within("ago", &[Any], ago),
    plain("toDate", &[Text, Text], |a| Ok(Value::Time(parsed(a).unwrap_or_else(|_| Time::zero()).into()))),
    plain("mustToDate", &[Text, Text], |a| Ok(Value::Time(parsed(a)?.into()))),
    plain("unixEpoch", &[Moment], |a| Ok(Value::string(time(&any(a, 0)).seconds.to_string()))),
    plain("duration", &[Any], |a| Ok(Value::string(duration(seconds(&any(a, 0)).wrapping_mul(SECOND))))),
    within("durationRound", &[Any], duration_round),
    plain("mustToDuration", &[Any], |a| Ok(Value::Duration(to_duration(&any(a, 0))?))),
    plain("durationNanoseconds", &[Any], |a| Ok(Value::Int64(or_zero(a)))),
    plain("durationMicroseconds", &[Any], |a| Ok(Value::Int64(or_zero(a) / 1_000))),
    plain("durationMilliseconds", &[Any], |a| Ok(Value::Int64(or_zero(a) / 1_000_000))),
    plain("durationSeconds", &[Any], |a| Ok(Value::Float(units(or_zero(a), SECOND)))),
    plain("durationMinutes", &[Any], |a| Ok(Value::Float(units(or_zero(a), 60 * SECOND)))),
    plain("durationHours", &[Any], |a| Ok(Value::Float(units(or_zero(a), HOUR)))),
    plain("durationDays", &[Any], |a| Ok(Value::Float(units(or_zero(a), HOUR) / 24.0))),
    plain("durationWeeks", &[Any], |a| Ok(Value::Float(units(or_zero(a), HOUR) / 24.0 / 7.0))),
    plain("durationRoundTo", &[Any, Any], |a| multiple(a, rounded)),
    plain("durationTruncateTo", &[Any, Any], |a| multiple(a, truncated)),
];

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

fn now(executor: &Executor<'_>) -> Result<Time, Failure> {
    let seconds = executor.environment.now.ok_or("the program does not provide a clock")?;
    Ok(Time::from_unix(seconds, 0))
}

fn time(value: &Value) -> Time {
    match value {
        Value::Time(time) => (**time).clone(),
        other => Time::from_unix(other.as_integer().unwrap_or_default(), 0),
    }
}

/// A moment from a date or from seconds; all else is now, as in Sprig.
fn moment(executor: &Executor<'_>, value: &Value) -> Result<Time, Failure> {
    match value {
        Value::Time(_) | Value::Int(_) | Value::Int64(_) => Ok(time(value)),
        _ => now(executor),
    }
}

fn formatted(executor: &Executor<'_>, layout: &[u8], value: &Value, zone: &str) -> Answer {
    let moment = moment(executor, value)?.in_zone(zone);
    Ok(preserving_bytes_of_one([layout], |[layout]| moment.format(layout)))
}

fn modified(arguments: &[Value]) -> Answer {
    let nanoseconds = parse_duration(&text(arguments, 0))?;
    Ok(Value::Time(time(&any(arguments, 1)).add(nanoseconds).into()))
}

fn ago(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let passed = now(executor)?.seconds.saturating_sub(moment(executor, &any(arguments, 0))?.seconds);
    Ok(Value::string(duration(passed.saturating_mul(SECOND))))
}

fn parsed(arguments: &[Value]) -> Result<Time, Failure> {
    Ok(Time::parse(&text(arguments, 0), &text(arguments, 1))?)
}

fn seconds(value: &Value) -> i64 {
    match value {
        Value::Int64(number) => *number,
        Value::String(text) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// The largest unit of a duration, cut.
fn duration_round(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    const DAY: u64 = 24 * HOUR.unsigned_abs();
    const UNITS: [(u64, &str); 6] = [
        (365 * DAY, "y"),
        (30 * DAY, "mo"),
        (DAY, "d"),
        (HOUR.unsigned_abs(), "h"),
        (60 * SECOND.unsigned_abs(), "m"),
        (SECOND.unsigned_abs(), "s"),
    ];
    let nanoseconds = match any(arguments, 0) {
        Value::Int64(number) => number,
        Value::String(text) => parse_duration(&text).unwrap_or(0),
        Value::Time(time) => now(executor)?.seconds.saturating_sub(time.seconds).saturating_mul(SECOND),
        _ => 0,
    };
    let magnitude = nanoseconds.unsigned_abs();
    let unit = UNITS.into_iter().find(|(size, _)| magnitude > *size);
    Ok(Value::string(
        unit.map_or_else(|| "0s".to_owned(), |(size, unit)| format!("{}{unit}", magnitude / size)),
    ))
}

/// A duration from Go's notation or from a number of seconds.
fn to_duration(value: &Value) -> Result<i64, Failure> {
    match value {
        Value::Duration(nanoseconds) => Ok(*nanoseconds),
        Value::String(text) => {
            let text = text.trim();
            if text.is_empty() {
                return Err("empty duration".into());
            }
            match (parse_duration(text), numbers::parse_float(text)) {
                (Ok(nanoseconds), _) => Ok(nanoseconds),
                (Err(_), Some(seconds)) => from_seconds(seconds),
                (Err(_), None) => Err(format!("could not parse duration {text:?}").into()),
            }
        }
        Value::Float(seconds) => from_seconds(*seconds),
        Value::Nil | Value::NilElement => Err("invalid duration".into()),
        other => match other.as_integer() {
            Some(seconds) => seconds
                .checked_mul(SECOND)
                .ok_or_else(|| format!("duration seconds overflow: {seconds}").into()),
            None => Err(format!("unsupported duration type {}", other.type_name()).into()),
        },
    }
}

fn from_seconds(seconds: f64) -> Result<i64, Failure> {
    const LIMIT: f64 = 9_223_372_036.854_775;
    if seconds.is_nan() || seconds.abs() > LIMIT {
        return Err(format!("duration seconds overflow: {}", crate::format::float(seconds)).into());
    }
    #[allow(clippy::cast_possible_truncation)] // It was just compared.
    Ok((seconds * 1e9) as i64)
}

fn or_zero(arguments: &[Value]) -> i64 {
    to_duration(&any(arguments, 0)).unwrap_or(0)
}

/// Units of a duration with their fraction, as Go counts them: whole ones and the rest.
fn units(nanoseconds: i64, unit: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // Go converts in the same way.
    let float = |number: i64| number as f64;
    float(nanoseconds / unit) + float(nanoseconds % unit) / float(unit)
}

/// A multiple of the second duration near the first; without a second one, the first.
fn multiple(arguments: &[Value], nearest: fn(i64, i64) -> i64) -> Answer {
    let Ok(nanoseconds) = to_duration(&any(arguments, 0)) else { return Ok(Value::Duration(0)) };
    let result = match to_duration(&any(arguments, 1)) {
        Ok(unit) if unit > 0 => nearest(nanoseconds, unit),
        _ => nanoseconds,
    };
    Ok(Value::Duration(result))
}

fn truncated(nanoseconds: i64, unit: i64) -> i64 {
    nanoseconds - nanoseconds % unit
}

/// Halves are rounded away from zero.
fn rounded(nanoseconds: i64, unit: i64) -> i64 {
    let rest = nanoseconds % unit;
    let is_half = rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs();
    let away = if nanoseconds < 0 { -unit } else { unit };
    (nanoseconds - rest).saturating_add(if is_half { away } else { 0 })
}

/// The methods of dates and durations that templates use.
pub(crate) fn method(receiver: &Value, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
    match receiver {
        Value::Time(time) => time_method(time, name, arguments),
        Value::Duration(nanoseconds) => duration_method(*nanoseconds, name, arguments),
        _ => None,
    }
}

fn time_method(time: &Time, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
    let civil = time.civil();
    let number = |number: u32| Value::Int(i64::from(number));
    let value = match (name, arguments) {
        ("Year", []) => Value::Int(civil.year),
        ("Month", []) => Value::string(time.format("January")),
        ("Weekday", []) => Value::string(time.format("Monday")),
        ("Day", []) => number(civil.day),
        ("Hour", []) => number(civil.hour),
        ("Minute", []) => number(civil.minute),
        ("Second", []) => number(civil.second),
        ("Nanosecond", []) => number(time.nanoseconds),
        ("YearDay", []) => number(civil.day_of_year),
        ("Unix", []) => Value::Int64(time.seconds),
        ("UTC", []) => Value::Time(time.in_utc().into()),
        ("String", []) => Value::string(time.print()),
        ("IsZero", []) => Value::Bool(time.seconds == Time::zero().seconds && time.nanoseconds == 0),
        ("Format", [layout]) => match layout.as_str() {
            Some(layout) => Value::string(time.format(layout)),
            None => return Some(Err("wrong type for value; expected string".into())),
        },
        ("Add", [Value::Duration(nanoseconds)]) => Value::Time(time.add(*nanoseconds).into()),
        ("AddDate", [years, months, days]) => {
            let parts = [years, months, days].map(Value::as_integer);
            match parts {
                [Some(years), Some(months), Some(days)] => {
                    Value::Time(add_date(time, years, months, days).into())
                }
                _ => return Some(Err("wrong type for value; expected int".into())),
            }
        }
        _ => return None,
    };
    Some(Ok(value))
}

fn add_date(time: &Time, years: i64, months: i64, days: i64) -> Time {
    const DAY: i64 = 86_400;
    let civil = time.civil();
    let month = i64::from(civil.month) - 1 + months.clamp(-1_000_000, 1_000_000);
    let year = civil.year + years.clamp(-100_000, 100_000) + month.div_euclid(12);
    let month = u32::try_from(month.rem_euclid(12)).unwrap_or_default() + 1;
    let day = crate::date::days_before(year, month, 1) + i64::from(civil.day) - 1
        + days.clamp(-100_000_000, 100_000_000);
    let of_day = (time.seconds + i64::from(time.offset)).rem_euclid(DAY);
    Time { seconds: day * DAY + of_day - i64::from(time.offset), ..time.clone() }
}

fn duration_method(nanoseconds: i64, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
    let value = match (name, arguments) {
        ("Nanoseconds", []) => Value::Int64(nanoseconds),
        ("Microseconds", []) => Value::Int64(nanoseconds / 1_000),
        ("Milliseconds", []) => Value::Int64(nanoseconds / 1_000_000),
        ("Seconds", []) => Value::Float(units(nanoseconds, SECOND)),
        ("Minutes", []) => Value::Float(units(nanoseconds, 60 * SECOND)),
        ("Hours", []) => Value::Float(units(nanoseconds, HOUR)),
        ("String", []) => Value::string(duration(nanoseconds)),
        ("Round", [Value::Duration(unit)]) => {
            Value::Duration(if *unit > 0 { rounded(nanoseconds, *unit) } else { nanoseconds })
        }
        ("Truncate", [Value::Duration(unit)]) => {
            Value::Duration(if *unit > 0 { truncated(nanoseconds, *unit) } else { nanoseconds })
        }
        _ => return None,
    };
    Some(Ok(value))
}
