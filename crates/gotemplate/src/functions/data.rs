//! Maps and lists.

use super::{Answer, Plain, any, list, map, text};
use crate::exec::Failure;
use crate::format;
use crate::merge::{merge, merge_overwrite};
use crate::value::{Map, Value};

pub(super) fn find(name: &str) -> Option<Plain> {
    Some(match name {
        "dict" => dict,
        "list" | "tuple" => |a| Ok(Value::list(a.to_vec())),
        "get" => |a| Ok(map(a, 0)?.get(&text(a, 1)?).unwrap_or_else(|| Value::string(""))),
        "set" => set,
        "unset" => |a| {
            map(a, 0)?.remove(&text(a, 1)?);
            Ok(any(a, 0)?.clone())
        },
        "hasKey" => |a| Ok(Value::Bool(map(a, 0)?.contains_key(&text(a, 1)?))),
        "keys" => {
            |a| Ok(Value::list(map(a, 0)?.entries().into_iter().map(|(key, _)| Value::String(key)).collect()))
        }
        "values" => |a| Ok(Value::list(map(a, 0)?.entries().into_iter().map(|(_, value)| value).collect())),
        "pick" => |a| chosen(a, true),
        "omit" => |a| chosen(a, false),
        "dig" => dig,
        "deepCopy" | "mustDeepCopy" => |a| any(a, 0)?.deep_copy().map_err(|error| error.to_string().into()),
        "merge" | "mustMerge" => |a| merged(a, merge),
        "mergeOverwrite" | "mustMergeOverwrite" => |a| merged(a, merge_overwrite),
        "len" => length,
        "index" => index,
        "has" => |a| Ok(Value::Bool(list(a, 1)?.values().iter().any(|value| same(value, &a[0])))),
        "append" => |a| {
            let mut values = list(a, 0)?.values().clone();
            values.push(any(a, 1)?.clone());
            Ok(Value::list(values))
        },
        "concat" => concat,
        "first" => |a| Ok(list(a, 0)?.get(0).unwrap_or_default()),
        "last" => |a| Ok(list(a, 0)?.values().last().cloned().unwrap_or_default()),
        "rest" => |a| Ok(Value::list(list(a, 0)?.values().iter().skip(1).cloned().collect())),
        "uniq" => uniq,
        "compact" => |a| {
            Ok(Value::list(list(a, 0)?.values().iter().filter(|value| value.is_true()).cloned().collect()))
        },
        "sortAlpha" => sort_alpha,
        _ => return None,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "functions have one signature")]
fn dict(arguments: &[Value]) -> Answer {
    let result = Map::new();
    for pair in arguments.chunks(2) {
        let key = pair.first().map(format::print).unwrap_or_default();
        result.insert(key, pair.get(1).cloned().unwrap_or_else(|| Value::string("")));
    }
    Ok(Value::Map(result))
}

fn set(arguments: &[Value]) -> Answer {
    map(arguments, 0)?.insert(text(arguments, 1)?, any(arguments, 2)?.clone());
    Ok(any(arguments, 0)?.clone())
}

fn chosen(arguments: &[Value], wanted: bool) -> Answer {
    let names: Vec<&str> = arguments.iter().skip(1).filter_map(Value::as_str).collect();
    let entries =
        map(arguments, 0)?.entries().into_iter().filter(|(key, _)| names.contains(&&**key) == wanted);
    Ok(Value::Map(entries.collect()))
}

fn dig(arguments: &[Value]) -> Answer {
    let [keys @ .., default, root] = arguments else {
        return Err("dig needs at least three arguments".into());
    };
    let mut value = root.clone();
    for key in keys {
        let Value::Map(map) = &value else {
            return Err(format!(
                "wrong type for value; expected map[string]interface {{}}; got {}",
                value.type_name()
            )
            .into());
        };
        match key.as_str().and_then(|key| map.get(key)) {
            Some(found) => value = found,
            None => return Ok(default.clone()),
        }
    }
    Ok(value)
}

fn merged(arguments: &[Value], merge: fn(&Map, &Map)) -> Answer {
    let target = map(arguments, 0)?;
    for index in 1..arguments.len() {
        // To Go, nothing is a map without entries where a map is wanted.
        if !matches!(any(arguments, index)?, Value::Nil) {
            merge(target, map(arguments, index)?);
        }
    }
    Ok(any(arguments, 0)?.clone())
}

fn length(arguments: &[Value]) -> Answer {
    let length = match any(arguments, 0)? {
        Value::String(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Nil => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name()).into()),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(arguments: &[Value]) -> Answer {
    let mut value = any(arguments, 0)?.clone();
    for key in arguments.iter().skip(1) {
        value = match (&value, key) {
            (Value::Map(map), Value::String(key)) => map.get(key).unwrap_or_default(),
            (Value::List(list), Value::Int(position)) => usize::try_from(*position)
                .ok()
                .and_then(|position| list.get(position))
                .ok_or_else(|| Failure::from(format!("index out of range: {position}")))?,
            (Value::Nil, _) => return Err("index of untyped nil".into()),
            (other, key) => {
                return Err(
                    format!("can't index item of type {} by {}", other.type_name(), key.type_name()).into()
                );
            }
        };
    }
    Ok(value)
}

/// Deep equality, as Go's `reflect.DeepEqual`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => false,
        _ => matches!((a.to_json(), b.to_json()), (Ok(a), Ok(b)) if a == b),
    }
}

fn concat(arguments: &[Value]) -> Answer {
    let mut all = Vec::new();
    for index in 0..arguments.len() {
        all.extend(list(arguments, index)?.values().iter().cloned());
    }
    Ok(Value::list(all))
}

fn uniq(arguments: &[Value]) -> Answer {
    let mut unique: Vec<Value> = Vec::new();
    for value in list(arguments, 0)?.values().iter() {
        if !unique.iter().any(|known| same(known, value)) {
            unique.push(value.clone());
        }
    }
    Ok(Value::list(unique))
}

fn sort_alpha(arguments: &[Value]) -> Answer {
    let mut texts: Vec<String> = list(arguments, 0)?.values().iter().map(format::print).collect();
    texts.sort();
    Ok(Value::list(texts.iter().map(Value::string).collect()))
}
