//! Regular expressions.

use super::Type::{Int, String as Text};
use super::{
    Answer, Function, bytes, check_length, integer, plain, preserving_bytes, preserving_bytes_of_one, text,
    within,
};
use crate::exec::Executor;
use crate::regular_expression::Pattern;
use crate::value::{Element, List, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    within("regexMatch", &[Text, Text], |e, a| {
        Ok(Value::Bool(pattern(e, a).is_ok_and(|r| r.is_match(&text(a, 1)))))
    }),
    within("mustRegexMatch", &[Text, Text], |e, a| Ok(Value::Bool(pattern(e, a)?.is_match(&text(a, 1))))),
    within("regexFind", &[Text, Text], find),
    within("mustRegexFind", &[Text, Text], find),
    within("regexFindAll", &[Text, Text, Int], find_all),
    within("mustRegexFindAll", &[Text, Text, Int], find_all),
    within("regexReplaceAll", &[Text, Text, Text], |e, a| replace_all(e, a, true)),
    within("mustRegexReplaceAll", &[Text, Text, Text], |e, a| replace_all(e, a, true)),
    within("regexReplaceAllLiteral", &[Text, Text, Text], |e, a| replace_all(e, a, false)),
    within("mustRegexReplaceAllLiteral", &[Text, Text, Text], |e, a| replace_all(e, a, false)),
    within("regexSplit", &[Text, Text, Int], regex_split),
    within("mustRegexSplit", &[Text, Text, Int], regex_split),
    plain("regexQuoteMeta", &[Text], quote_meta),
];

/// The first argument as a pattern.
fn pattern(executor: &Executor<'_>, arguments: &[Value]) -> Result<Pattern, String> {
    let pattern = std::str::from_utf8(bytes(arguments, 0));
    let pattern = pattern.map_err(|_| "error parsing regexp: invalid UTF-8")?;
    Pattern::parse_within(pattern, executor.budget.pattern()).map_err(|error| error.to_string())
}

fn find(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let regex = pattern(executor, arguments)?;
    Ok(preserving_bytes_of_one([bytes(arguments, 1)], |[whole]| {
        regex.find(whole).map_or("", |found| found.as_str()).to_owned()
    }))
}

/// How many matches a count asks for; a negative one asks for all.
fn limit(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn find_all(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let regex = pattern(executor, arguments)?;
    let most = limit(integer(arguments, 2));
    let found = preserving_bytes([bytes(arguments, 1)], |[whole]| {
        regex.find_iter(whole).take(most).map(|found| found.as_str().to_owned()).collect()
    });
    if found.is_empty() {
        return Ok(Value::List(List::nil(Element::String)));
    }
    Ok(Value::List(List::of(Element::String, found)))
}

fn replace_all(executor: &mut Executor<'_>, arguments: &[Value], expands: bool) -> Answer {
    let regex = pattern(executor, arguments)?;
    let mut checked = Ok(());
    let replaced = preserving_bytes_of_one([bytes(arguments, 1), bytes(arguments, 2)], |[whole, new]| {
        let mut replaced = String::new();
        let mut at = 0;
        for captures in regex.captures_iter(whole) {
            let Some(found) = captures.get(0) else { continue };
            replaced.push_str(whole.get(at..found.start()).unwrap_or_default());
            if expands {
                regex.expand(&captures, new, &mut replaced);
            } else {
                replaced.push_str(new);
            }
            at = found.end();
            checked = check_length(replaced.len());
            if checked.is_err() {
                break;
            }
        }
        replaced.push_str(whole.get(at..).unwrap_or_default());
        replaced
    });
    checked.map(|()| replaced)
}

fn regex_split(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let regex = pattern(executor, arguments)?;
    let most = integer(arguments, 2);
    if most == 0 {
        return Ok(Value::List(List::nil(Element::String)));
    }
    if !bytes(arguments, 0).is_empty() && bytes(arguments, 1).is_empty() {
        return Ok(Value::strings([""]));
    }
    let pieces =
        preserving_bytes([bytes(arguments, 1)], |[whole]| pieces_between(&regex, whole, limit(most)));
    Ok(Value::List(List::of(Element::String, pieces)))
}

/// What stands between matches, in at most so many pieces.
fn pieces_between(regex: &Pattern, whole: &str, most: usize) -> Vec<String> {
    let (mut pieces, mut start, mut end) = (Vec::new(), 0, 0);
    for found in regex.find_iter(whole).take(most) {
        if pieces.len() + 1 == most {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            pieces.push(whole.get(start..end).unwrap_or_default().to_owned());
        }
        start = found.end();
    }
    if end != whole.len() {
        pieces.push(whole.get(start..).unwrap_or_default().to_owned());
    }
    pieces
}

fn quote_meta(arguments: &[Value]) -> Answer {
    let mut quoted = Vec::new();
    for byte in bytes(arguments, 0) {
        if b"\\.+*?()|[]{}^$".contains(byte) {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    Ok(Value::text(quoted))
}
