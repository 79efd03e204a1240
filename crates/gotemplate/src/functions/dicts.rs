//! Sprig's dictionaries.

use std::rc::Rc;

use super::Type::{Any, Map as Dict, String as Text};
use super::{Answer, Function, any, from, map, plain, text, variadic};
use crate::exec::Failure;
use crate::format;
use crate::merge::{merge, merge_overwrite};
use crate::value::{ConversionError, Map, MapType, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("dict", &[], Any, dict),
    plain("get", &[Dict, Text], |a| Ok(map(a, 0).get(&text(a, 1)).unwrap_or_else(|| Value::string("")))),
    plain("set", &[Dict, Text, Any], set),
    plain("unset", &[Dict, Text], |a| {
        map(a, 0).remove(&text(a, 1));
        Ok(any(a, 0))
    }),
    plain("hasKey", &[Dict, Text], |a| Ok(Value::Bool(map(a, 0).contains_key(&text(a, 1))))),
    variadic("keys", &[], Dict, |a| {
        Ok(Value::strings(a.iter().filter_map(Value::as_map).flat_map(Map::entries).map(|(key, _)| key)))
    }),
    plain("values", &[Dict], |a| {
        Ok(Value::list(map(a, 0).entries().into_iter().map(|(_, value)| value).collect()))
    }),
    variadic("pick", &[Dict], Text, |a| Ok(chosen(a, true))),
    variadic("omit", &[Dict], Text, |a| Ok(chosen(a, false))),
    variadic("merge", &[Dict], Dict, |a| merged(a, merge)),
    variadic("mustMerge", &[Dict], Dict, |a| merged(a, merge)),
    variadic("mergeOverwrite", &[Dict], Dict, |a| merged(a, merge_overwrite)),
    variadic("mustMergeOverwrite", &[Dict], Dict, |a| merged(a, merge_overwrite)),
    plain("deepCopy", &[Any], deep_copy),
    plain("mustDeepCopy", &[Any], deep_copy),
    variadic("dig", &[], Any, dig),
];

fn key(value: &Value) -> Result<Rc<str>, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Ok(Rc::from(crate::encoding::lossy(&format::to_text(other)?))),
    }
}

fn dict(arguments: &[Value]) -> Answer {
    let map = Map::new();
    for pair in arguments.chunks(2) {
        map.insert(key(&any(pair, 0))?, pair.get(1).cloned().unwrap_or_else(|| Value::string("")));
    }
    Ok(Value::Map(map))
}

fn set(arguments: &[Value]) -> Answer {
    match any(arguments, 0) {
        Value::Map(map) if !map.is_nil() => {
            map.insert(text(arguments, 1).into_owned(), any(arguments, 2));
            Ok(Value::Map(map))
        }
        _ => Err("assignment to entry in nil map".into()),
    }
}

/// The entries with one of the keys, or with none of them.
fn chosen(arguments: &[Value], wanted: bool) -> Value {
    let keys: Vec<_> = (1..arguments.len()).map(|index| text(arguments, index)).collect();
    let entries = map(arguments, 0).entries().into_iter();
    Value::Map(entries.filter(|(key, _)| keys.iter().any(|known| **known == **key) == wanted).collect())
}

fn merged(arguments: &[Value], merge: fn(&Map, &Map) -> Result<(), ConversionError>) -> Answer {
    let mut target = map(arguments, 0);
    for source in from(arguments, 1) {
        if let Value::Map(source) = source {
            if target.is_nil() && !source.is_nil() {
                target = Map::new();
            }
            merge(&target, source)?;
        }
    }
    Ok(Value::Map(target))
}

fn deep_copy(arguments: &[Value]) -> Answer {
    match any(arguments, 0) {
        Value::Nil => Err("reflect: call of reflect.Value.Type on zero Value".into()),
        value => Ok(value.deep_copy()?),
    }
}

/// Follows keys into a map, which comes last, behind the default.
fn dig(arguments: &[Value]) -> Answer {
    let [keys @ .., default, root] = arguments else {
        return Err("dig needs at least three arguments".into());
    };
    if keys.is_empty() {
        return Err("dig needs at least three arguments".into());
    }
    let wrong = |value: &Value, wanted: &str| -> Failure {
        format!("interface conversion: interface {{}} is {}, not {wanted}", value.type_name()).into()
    };
    if let Some(other) = keys.iter().find(|key| key.as_bytes().is_none()) {
        return Err(wrong(other, "string"));
    }
    let mut value = root.clone();
    for key in keys {
        let Some(map) = value.as_map().filter(|map| map.map_type() == MapType::Any) else {
            return Err(wrong(&value, "map[string]interface {}"));
        };
        match key.as_str().and_then(|key| map.get(key)) {
            Some(next) => value = next,
            None => return Ok(default.clone()),
        }
    }
    Ok(value)
}
