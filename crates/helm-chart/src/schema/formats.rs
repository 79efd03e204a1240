//! Formats of texts, as far as charts use them; a format that is not known here allows everything.

use gotemplate::regular_expression::Pattern;
use gotemplate::semver::Version;
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) fn is_valid(format: &str, text: &str) -> bool {
    match format {
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "hostname" => is_hostname(text),
        "email" => text.rsplit_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && name.len() <= 64 && (is_hostname(host) || host.starts_with('['))
        }),
        "uri" | "iri" => scheme(text),
        "date" => is_date(text),
        "time" => is_time(text),
        "date-time" => {
            text.get(..10).is_some_and(is_date)
                && text.get(10..11).is_some_and(|t| matches!(t, "T" | "t"))
                && text.get(11..).is_some_and(is_time)
        }
        "uuid" => {
            let lengths = [8, 4, 4, 4, 12];
            let parts: Vec<&str> = text.split('-').collect();
            parts.iter().map(|part| part.len()).eq(lengths)
                && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
        }
        "regex" => Pattern::parse(text).is_ok(),
        "semver" => Version::parse(text).is_some(),
        "json-pointer" => text.is_empty() || text.starts_with('/'),
        _ => true,
    }
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// An absolute address has a scheme.
fn scheme(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.contains([' ', '\\']))
}

fn numbers(text: &str, separator: char, lengths: &[usize]) -> Option<Vec<u32>> {
    let parts: Vec<&str> = text.split(separator).collect();
    if !parts.iter().map(|part| part.len()).eq(lengths.iter().copied()) {
        return None;
    }
    parts.iter().map(|part| part.parse().ok().filter(|_| !part.starts_with('+'))).collect()
}

fn is_date(text: &str) -> bool {
    let Some(parts) = numbers(text, '-', &[4, 2, 2]) else { return false };
    let (year, month, day) = (parts[0], parts[1], parts[2]);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn is_time(text: &str) -> bool {
    let fits = |text: &str| numbers(text, ':', &[2, 2]).is_some_and(|parts| parts[0] < 24 && parts[1] < 60);
    let (Some(clock), Some(rest)) = (text.get(..8), text.get(8..)) else { return false };
    let seconds = clock.get(6..).and_then(|seconds| seconds.parse::<u32>().ok());
    let is_clock =
        clock.get(..5).is_some_and(fits) && clock.get(5..6) == Some(":") && seconds.is_some_and(|s| s < 61);
    let zone = match rest.strip_prefix('.') {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    is_clock && (matches!(zone, "Z" | "z") || zone.strip_prefix(['+', '-']).is_some_and(fits))
}
