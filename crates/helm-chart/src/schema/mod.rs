//! Checks values against `values.schema.json`, by the JSON Schema drafts 4, 6, 7, 2019-09 and 2020-12.
//!
//! Pure. What is not supported (references to documents elsewhere) is a violation with that reason: values that were not
//! checked must not pass.

mod checker;
mod document;
mod formats;
mod shape;
mod types;

use crate::chart::Chart;
use crate::render::RenderError;
use checker::Checker;
use document::Document;
use serde_json::Value;

/// Deepest nesting of schemas and references; a reference to itself ends here.
const DEPTH_LIMIT: usize = 100;

/// Checks the values of a chart and of the charts within it.
pub(crate) fn check(chart: &Chart, values: &Value) -> Result<(), RenderError> {
    let failed = |violations| RenderError::Schema { chart: chart.name().to_owned(), violations };
    if let Some(text) = &chart.schema {
        let schema = serde_json::from_slice(text)
            .map_err(|error| failed(vec![format!("values.schema.json is not JSON: {error}")]))?;
        let violations = violations(&schema, values);
        if !violations.is_empty() {
            return Err(failed(violations));
        }
    }
    for subchart in &chart.dependencies {
        match values.get(subchart.name()) {
            None | Some(Value::Null) => {}
            Some(own) => check(subchart, own)?,
        }
    }
    Ok(())
}

/// The draft that a schema follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Draft {
    Four,
    Six,
    Seven,
    Year2019,
    Year2020,
}

impl Draft {
    fn of(schema: &Value) -> Option<Self> {
        match schema.get("$schema") {
            None => Some(Self::Year2020),
            Some(name) => Self::named(name.as_str()?),
        }
    }

    /// The draft of a schema within one of another draft: its own when it has an address of its own as well.
    fn within(schema: &Value, outer: Self) -> Self {
        let own = Self::of(schema).filter(|_| schema.get("$schema").is_some());
        own.filter(|own| document::own_address(schema, *own).is_some()).unwrap_or(outer)
    }

    /// The draft whose own schema is at an address.
    fn named(address: &str) -> Option<Self> {
        match address.trim_end_matches('#').rsplit_once("json-schema.org/")?.1 {
            "draft-04/schema" => Some(Self::Four),
            "draft-06/schema" => Some(Self::Six),
            "draft-07/schema" => Some(Self::Seven),
            "draft/2019-09/schema" => Some(Self::Year2019),
            "draft/2020-12/schema" | "schema" => Some(Self::Year2020),
            _ => None,
        }
    }
}

/// What is wrong with values by a schema, one sentence each with the path of the value.
pub(super) fn violations(schema: &Value, values: &Value) -> Vec<String> {
    let Some(draft) = Draft::of(schema) else {
        return vec![format!("the schema's draft {} is not supported", schema["$schema"])];
    };
    match shape::check(schema, draft).and_then(|()| Document::read(schema, draft)) {
        Ok(document) => Checker::new(&document).violations(values),
        Err(fault) => vec![format!("the schema is not valid: {fault}")],
    }
}

fn field_path(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Equality of JSON, in which 1 and 1.0 are the same.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
