//! Control characters in the typed part of a resource.
//!
//! The charts print many texts as they are, so that a line break in one could become a line of the rendered object. Values
//! and patches are judged elsewhere, by what becomes of them.

use serde_json::Value;

use super::Problem;
use crate::api::IstioSpec;

/// Fields that are judged elsewhere.
const UNTYPED_FIELDS: [&str; 2] = ["patches", "values"];
/// Most problems that are collected.
const MAX_PROBLEMS: usize = 10;

/// Adds a problem for each text or name with control characters in it.
pub(super) fn check(spec: &IstioSpec, problems: &mut Vec<Problem>) {
    // A spec that cannot be written as JSON has not been read from any.
    let Ok(Value::Object(fields)) = serde_json::to_value(spec) else { return };
    let mut found = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| !UNTYPED_FIELDS.contains(&name.as_str())) {
        find_control_characters(&format!("spec.{name}"), value, &mut found);
    }
    problems.extend(found);
}

fn find_control_characters(path: &str, value: &Value, found: &mut Vec<Problem>) {
    if found.len() >= MAX_PROBLEMS {
        return;
    }
    match value {
        Value::String(text) if has_control_characters(text) => {
            found.push(Problem::warning(
                path,
                "control characters, such as line breaks, are not allowed. Remove them",
            ));
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
                if has_control_characters(name) {
                    found.push(Problem::warning(
                        format!("{path}.{shown}"),
                        "control characters, such as line breaks, are not allowed in a name. Remove them",
                    ));
                }
                find_control_characters(&format!("{path}.{shown}"), value, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_control_characters(&format!("{path}[{index}]"), item, found);
            }
        }
        _ => {}
    }
}

fn has_control_characters(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(spec: Value) -> Vec<String> {
        let spec: IstioSpec = serde_json::from_value(spec).unwrap();
        let mut problems = Vec::new();
        check(&spec, &mut problems);
        problems.iter().map(|problem| problem.field.clone()).collect()
    }

    #[test]
    fn control_characters_are_refused_in_every_typed_field() {
        for (spec, field) in [
            (json!({"config": {"trustDomain": "a\nb"}}), Some("spec.config.trustDomain")),
            (
                json!({"config": {"proxyStatsMatcher": {"inclusionRegexps": ["a", "b\r"]}}}),
                Some("spec.config.proxyStatsMatcher.inclusionRegexps[1]"),
            ),
            (
                json!({"config": {"authorizers": [{"name": "a", "port": 1, "service": "b", "headers":
                    {"inCheck": {"add": {"x\n": "y"}}}}]}}),
                Some("spec.config.authorizers[0].headers.inCheck.add.x\\n"),
            ),
            (json!({"config": {"trustDomain": "example.com"}}), None),
            (json!({"values": {"a": "b\nc"}}), None),
        ] {
            assert_eq!(problems(spec.clone()), field.into_iter().collect::<Vec<_>>(), "{spec}");
        }
    }
}
