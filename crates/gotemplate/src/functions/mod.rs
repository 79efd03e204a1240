//! The functions that templates can call: Go's own, Sprig's and Helm's.
//!
//! Each takes its arguments in Go's order, a piped value last, and answers with a value or a message; the place of the call
//! is added where it is executed.

mod convert;
mod data;
mod logic;
mod strings;

use crate::exec::{Executor, Failure};
use crate::value::{List, Map, Value};

/// What a function answers.
type Answer = Result<Value, Failure>;
/// A function that needs nothing but its arguments.
type Plain = fn(&[Value]) -> Answer;

/// Whether a template may call a function of that name.
pub(crate) fn exists(name: &str) -> bool {
    plain(name).is_some() || matches!(name, "and" | "or" | "include" | "tpl")
}

/// Calls a function.
pub(crate) fn call(executor: &mut Executor<'_>, name: &str, arguments: &[Value]) -> Answer {
    match name {
        "include" => {
            let template = text(arguments, 0)?;
            let argument = arguments.get(1).cloned().unwrap_or_default();
            Ok(Value::string(executor.execute(&template, &argument)?))
        }
        "tpl" => tpl(executor, &text(arguments, 0)?, &arguments.get(1).cloned().unwrap_or_default()),
        _ => match plain(name) {
            Some(function) => function(arguments),
            None => Err(format!("function {name:?} not defined").into()),
        },
    }
}

/// Executes a text as a template that sees the templates of the chart.
fn tpl(executor: &mut Executor<'_>, source: &str, dot: &Value) -> Answer {
    const NAME: &str = "gotpl";
    let mut templates = executor.templates.clone();
    templates.parse(NAME, source).map_err(|error| Failure::Located(Box::new(error)))?;
    let text = templates.execute_within(NAME, dot, executor.budget)?;
    // Helm removes this from what tpl gives, too.
    Ok(Value::string(text.replace("<no value>", "")))
}

fn plain(name: &str) -> Option<Plain> {
    logic::find(name)
        .or_else(|| strings::find(name))
        .or_else(|| data::find(name))
        .or_else(|| convert::find(name))
}

/// The argument at a position, whatever it is.
fn any(arguments: &[Value], index: usize) -> Result<&Value, Failure> {
    arguments.get(index).ok_or_else(|| {
        format!("wrong number of args: want at least {} got {}", index + 1, arguments.len()).into()
    })
}

fn text(arguments: &[Value], index: usize) -> Result<String, Failure> {
    match any(arguments, index)? {
        Value::String(text) => Ok(text.to_string()),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name()).into()),
    }
}

fn map(arguments: &[Value], index: usize) -> Result<&Map, Failure> {
    match any(arguments, index)? {
        Value::Map(map) => Ok(map),
        other => Err(format!(
            "wrong type for value; expected map[string]interface {{}}; got {}",
            other.type_name()
        )
        .into()),
    }
}

fn list(arguments: &[Value], index: usize) -> Result<&List, Failure> {
    match any(arguments, index)? {
        Value::List(list) => Ok(list),
        other => Err(format!("cannot iterate over type {}", other.type_name()).into()),
    }
}

fn integer(arguments: &[Value], index: usize) -> Result<i64, Failure> {
    match any(arguments, index)? {
        Value::Int(number) => Ok(*number),
        other => Err(format!("wrong type for value; expected int; got {}", other.type_name()).into()),
    }
}

/// A length or width, which must not be negative.
fn size(arguments: &[Value], index: usize) -> Result<usize, Failure> {
    const LARGEST: i64 = 1 << 20;
    match integer(arguments, index)? {
        number @ 0..=LARGEST => Ok(usize::try_from(number).unwrap_or_default()),
        number => Err(format!("{number} is out of range").into()),
    }
}
