//! Templates that templates execute.

use super::Type::{Any, String as Text};
use super::{Answer, Function, any, text, within};
use crate::exec::Executor;
use crate::templates::execute_text;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] =
    &[within("include", &[Text, Any], include), within("tpl", &[Text, Any], tpl)];

fn include(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let name = text(arguments, 0);
    executor.budget.enter_include(&name)?;
    let mut output = Vec::new();
    let result = executor.execute(&name, &any(arguments, 1), &mut output);
    executor.budget.leave_include(&name);
    result?;
    Ok(Value::text(output))
}

/// Executes a text as a template that sees the templates of the chart.
fn tpl(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let source = text(arguments, 0);
    // Most values that charts pass are not templates at all.
    if !source.contains("{{") {
        if matches!(arguments.first(), Some(Value::Binary(_))) {
            return Ok(any(arguments, 0));
        }
        return Ok(Value::string(source.replace("<no value>", "")));
    }
    let output = execute_text(executor, &source, &any(arguments, 1))?;
    // Helm removes this from what tpl gives, too.
    match Value::text(output) {
        Value::String(text) if text.contains("<no value>") => {
            Ok(Value::string(text.replace("<no value>", "")))
        }
        value => Ok(value),
    }
}
