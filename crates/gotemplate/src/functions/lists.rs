//! Sprig's lists.

use super::Type::{Any, Int, String as Text};
use super::{Answer, Function, any, bytes, from, integer, numbers, plain, variadic};
use crate::exec::Failure;
use crate::value::{Element, List, Value, same};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("list", &[], Any, |a| Ok(Value::list(a.to_vec()))),
    variadic("tuple", &[], Any, |a| Ok(Value::list(a.to_vec()))),
    plain("append", &[Any, Any], push),
    plain("push", &[Any, Any], push),
    plain("mustAppend", &[Any, Any], push),
    plain("mustPush", &[Any, Any], push),
    plain("prepend", &[Any, Any], prepend),
    plain("mustPrepend", &[Any, Any], prepend),
    plain("first", &[Any], |a| Ok(elements(a, 0, "first")?.first().cloned().unwrap_or_default())),
    plain("mustFirst", &[Any], |a| Ok(elements(a, 0, "first")?.first().cloned().unwrap_or_default())),
    plain("last", &[Any], |a| Ok(elements(a, 0, "last")?.last().cloned().unwrap_or_default())),
    plain("mustLast", &[Any], |a| Ok(elements(a, 0, "last")?.last().cloned().unwrap_or_default())),
    plain("rest", &[Any], rest),
    plain("mustRest", &[Any], rest),
    plain("initial", &[Any], initial),
    plain("mustInitial", &[Any], initial),
    plain("reverse", &[Any], reverse),
    plain("mustReverse", &[Any], reverse),
    plain("uniq", &[Any], uniq),
    plain("mustUniq", &[Any], uniq),
    variadic("without", &[Any], Any, without),
    variadic("mustWithout", &[Any], Any, without),
    plain("has", &[Any, Any], has),
    plain("mustHas", &[Any, Any], has),
    plain("compact", &[Any], compact),
    plain("mustCompact", &[Any], compact),
    variadic("slice", &[Any], Any, slice),
    variadic("mustSlice", &[Any], Any, slice),
    variadic("concat", &[], Any, concat),
    plain("chunk", &[Int, Any], chunk),
    plain("mustChunk", &[Int, Any], chunk),
    plain("sortAlpha", &[Any], sort_alpha),
    plain("toStrings", &[Any], |a| to_strings(&any(a, 0))),
    plain("until", &[Int], |a| {
        let end = integer(a, 0);
        steps(0, end, if end < 0 { -1 } else { 1 })
    }),
    plain("untilStep", &[Int, Int, Int], |a| steps(integer(a, 0), integer(a, 1), integer(a, 2))),
    variadic("seq", &[], Int, sequence),
    variadic("pluck", &[Text], super::Type::Map, |a| {
        let key = crate::encoding::lossy(bytes(a, 0));
        Ok(Value::list(from(a, 1).iter().filter_map(|map| map.get(&key)).collect()))
    }),
];

/// The elements of a list argument.
fn elements(arguments: &[Value], index: usize, verb: &str) -> Result<Vec<Value>, Failure> {
    let value = any(arguments, index);
    value.elements().ok_or_else(|| match &value {
        Value::Nil | Value::NilElement => "invalid memory address or nil pointer dereference".into(),
        other => format!("Cannot find {verb} on type {}", other.kind()).into(),
    })
}

fn texts(texts: Vec<Vec<u8>>) -> Value {
    Value::List(List::of(Element::String, texts.into_iter().map(Value::text).collect()))
}

/// Go's list that was never made.
fn nothing() -> Value {
    Value::List(List::nil(Element::Any))
}

fn push(arguments: &[Value]) -> Answer {
    let mut values = elements(arguments, 0, "push")?;
    values.push(any(arguments, 1));
    Ok(Value::list(values))
}

fn prepend(arguments: &[Value]) -> Answer {
    let mut values = elements(arguments, 0, "prepend")?;
    values.insert(0, any(arguments, 1));
    Ok(Value::list(values))
}

fn rest(arguments: &[Value]) -> Answer {
    let values = elements(arguments, 0, "rest")?;
    Ok(values.split_first().map_or_else(nothing, |(_, rest)| Value::list(rest.to_vec())))
}

fn initial(arguments: &[Value]) -> Answer {
    let values = elements(arguments, 0, "initial")?;
    Ok(values.split_last().map_or_else(nothing, |(_, initial)| Value::list(initial.to_vec())))
}

fn reverse(arguments: &[Value]) -> Answer {
    let mut values = elements(arguments, 0, "reverse")?;
    values.reverse();
    Ok(Value::list(values))
}

fn contains(values: &[Value], wanted: &Value) -> Result<bool, Failure> {
    for value in values {
        if same(value, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each value once. Texts, of which there may be many, are looked up; all else is compared.
fn uniq(arguments: &[Value]) -> Answer {
    let mut seen = std::collections::HashSet::new();
    let mut unique: Vec<Value> = Vec::new();
    let mut others: Vec<Value> = Vec::new();
    for value in elements(arguments, 0, "uniq")? {
        let is_new = match value.as_bytes() {
            Some(bytes) => seen.insert(bytes.to_vec()),
            None => !contains(&others, &value)?,
        };
        if is_new {
            if value.as_bytes().is_none() {
                others.push(value.clone());
                bounded(others.len())?;
            }
            unique.push(value);
        }
    }
    Ok(Value::list(unique))
}

/// Comparing each with each takes the square of their number.
fn bounded(number: usize) -> Result<(), Failure> {
    const MOST: usize = 20_000;
    if number > MOST {
        return Err("the list is longer than any manifest needs".into());
    }
    Ok(())
}

fn without(arguments: &[Value]) -> Answer {
    let mut kept = Vec::new();
    for value in elements(arguments, 0, "without")? {
        if !contains(from(arguments, 1), &value)? {
            kept.push(value);
        }
    }
    Ok(Value::list(kept))
}

fn has(arguments: &[Value]) -> Answer {
    if any(arguments, 1).is_nil() {
        return Ok(Value::Bool(false));
    }
    Ok(Value::Bool(contains(&elements(arguments, 1, "has")?, &any(arguments, 0))?))
}

fn compact(arguments: &[Value]) -> Answer {
    let mut values = elements(arguments, 0, "compact")?;
    values.retain(Value::is_true);
    Ok(Value::list(values))
}

fn slice(arguments: &[Value]) -> Answer {
    let Value::List(list) = any(arguments, 0) else {
        elements(arguments, 0, "slice")?;
        return Err("bytes cannot be sliced".into());
    };
    if list.is_empty() {
        return Ok(Value::Nil);
    }
    let bound = |index: usize, default: usize| match arguments.get(index) {
        Some(value) => usize::try_from(numbers::to_integer(value)).ok(),
        None => Some(default),
    };
    let part = match (bound(1, 0), bound(2, list.len())) {
        (Some(start), Some(end)) => super::collections::part(&list, start, end),
        _ => None,
    };
    part.ok_or_else(|| "reflect.Value.Slice: slice index out of bounds".into())
}

fn concat(arguments: &[Value]) -> Answer {
    let mut all = Vec::new();
    for index in 0..arguments.len() {
        let value = any(arguments, index);
        let Some(elements) = value.elements() else {
            return Err(format!("Cannot concat type {} as list", value.kind()).into());
        };
        all.extend(elements);
    }
    if all.is_empty() {
        return Ok(nothing());
    }
    Ok(Value::list(all))
}

fn chunk(arguments: &[Value]) -> Answer {
    let size = integer(arguments, 0);
    let values = elements(arguments, 1, "chunk")?;
    // Sprig counts the chunks by dividing, which gives no sense for these.
    let size = match (usize::try_from(size), values.len()) {
        (Ok(size), _) if size > 0 => size,
        (Err(_), 1) => 1,
        (Err(_), length) if length > 1 && length as u64 <= size.unsigned_abs().saturating_add(1) => {
            return Ok(Value::List(List::of(Element::List, Vec::new())));
        }
        _ => return Err("makeslice: len out of range".into()),
    };
    let chunks = values.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    Ok(Value::List(List::of(Element::List, chunks)))
}

/// Texts as they are, all else as its text.
fn to_strings(value: &Value) -> Answer {
    match value {
        Value::List(list) if list.element() == Element::String => Ok(value.clone()),
        other => Ok(texts(super::strings::texts(other)?)),
    }
}

/// In Go, a list of texts is sorted in its place.
fn sort_alpha(arguments: &[Value]) -> Answer {
    let value = any(arguments, 0);
    let sorted = if value.is_nil() { texts(vec![b"<nil>".to_vec()]) } else { to_strings(&value)? };
    if let Value::List(list) = &sorted {
        list.sort_by(|a, b| a.as_bytes().cmp(&b.as_bytes()));
    }
    Ok(sorted)
}

/// The numbers from one up or down to another, which is left out.
fn range(start: i64, end: i64, step: i64) -> Result<Vec<i64>, Failure> {
    const MOST: i128 = 1_000_000;
    let distance = i128::from(end) - i128::from(start);
    if distance == 0 || step == 0 || (distance > 0) != (step > 0) {
        return Ok(Vec::new());
    }
    if distance / i128::from(step) > MOST {
        return Err("the list is longer than any manifest needs".into());
    }
    let mut numbers = Vec::new();
    let mut next = Some(start);
    while let Some(number) = next.filter(|number| if step > 0 { *number < end } else { *number > end }) {
        numbers.push(number);
        next = number.checked_add(step);
    }
    Ok(numbers)
}

fn steps(start: i64, end: i64, step: i64) -> Answer {
    let numbers = range(start, end, step)?;
    Ok(Value::List(List::of(Element::Int, numbers.into_iter().map(Value::Int).collect())))
}

/// Like the command `seq`: last; first and last; first, step and last.
fn sequence(arguments: &[Value]) -> Answer {
    let number = |index| integer(arguments, index);
    let toward = |start: i64, end: i64| if end < start { -1 } else { 1 };
    let numbers = match arguments.len() {
        1 => range(1, number(0).saturating_add(toward(1, number(0))), toward(1, number(0)))?,
        2 => {
            let step = toward(number(0), number(1));
            range(number(0), number(1).saturating_add(step), step)?
        }
        3 => {
            let (start, step, end) = (number(0), number(1), number(2));
            if end < start && step > 0 {
                Vec::new()
            } else {
                range(start, end.saturating_add(toward(start, end)), step)?
            }
        }
        _ => Vec::new(),
    };
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Ok(Value::string(texts.join(" ")))
}
