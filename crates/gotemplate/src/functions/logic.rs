//! Conditions, defaults and failures.

use super::Type::{Any, Bool, String as Text};
use super::{Answer, Function, Run, any, from, plain, text, variadic};
use crate::error::ErrorKind;
use crate::exec::Failure;
use crate::value::{Map, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "and", fixed: &[Any], rest: Some(Any), run: Run::Decide(false) },
    Function { name: "or", fixed: &[Any], rest: Some(Any), run: Run::Decide(true) },
    plain("not", &[Any], |a| Ok(Value::Bool(!any(a, 0).is_true()))),
    variadic("call", &[Any], Any, |_| Err("non-function of a value that templates can hold".into())),
    variadic("default", &[Any], Any, |a| {
        Ok(from(a, 1).first().filter(|value| value.is_true()).or(a.first()).cloned().unwrap_or_default())
    }),
    plain("empty", &[Any], |a| Ok(Value::Bool(!any(a, 0).is_true()))),
    variadic("coalesce", &[], Any, |a| {
        Ok(a.iter().find(|value| value.is_true()).cloned().unwrap_or_default())
    }),
    variadic("all", &[], Any, |a| Ok(Value::Bool(a.iter().all(Value::is_true)))),
    variadic("any", &[], Any, |a| Ok(Value::Bool(a.iter().any(Value::is_true)))),
    plain("ternary", &[Any, Any, Bool], |a| Ok(any(a, usize::from(!any(a, 2).is_true())))),
    plain("fail", &[Text], |a| Err(rejected(a))),
    plain("required", &[Text, Any], required),
    // Offline, the cluster holds nothing, as in `helm template`.
    plain("lookup", &[Text, Text, Text, Text], |_| Ok(Value::Map(Map::new()))),
    // As in Helm without its option to use the network.
    plain("getHostByName", &[Text], |_| Ok(Value::string(""))),
];

/// The message of a template that refuses its input.
fn rejected(arguments: &[Value]) -> Failure {
    Failure::Message(ErrorKind::Rejected, text(arguments, 0).into_owned())
}

fn required(arguments: &[Value]) -> Answer {
    let value = any(arguments, 1);
    if value.is_nil() || value.as_bytes().is_some_and(<[u8]>::is_empty) {
        return Err(rejected(arguments));
    }
    Ok(value)
}
