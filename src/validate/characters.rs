//! Unsafe characters in the typed part of a resource.
//!
//! Pure. The charts print many texts without quoting them, so that a line break could become a line of a rendered object.
//! Values and patches are checked by `plan`.

use serde_json::Value;

use super::{Problem, Problems};
use crate::api::IstioSpec;
use crate::text::{escaped, is_plain};

/// Fields that `plan` checks.
const UNTYPED_FIELDS: [&str; 2] = ["patches", "values"];
/// Longest name in a path, in characters.
const MAX_NAME: usize = 80;

/// Adds a problem for each text or name with unsafe characters in it.
pub(super) fn check(spec: &IstioSpec, problems: &mut Problems) {
    // A spec that was read from JSON can be written as JSON.
    let Ok(Value::Object(fields)) = serde_json::to_value(spec) else { return };
    for (name, value) in fields.iter().filter(|(name, _)| !UNTYPED_FIELDS.contains(&name.as_str())) {
        find_unsafe_characters(&format!("spec.{name}"), value, problems);
    }
}

fn find_unsafe_characters(path: &str, value: &Value, found: &mut Problems) {
    match value {
        Value::String(text) if !is_plain(text) => {
            found.push(Problem::warning(
                path,
                "control and invisible characters, such as line breaks, are not allowed. Remove them",
            ));
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}.{}", escaped(name, MAX_NAME));
                if !is_plain(name) {
                    found.push(Problem::warning(
                        &path,
                        "control and invisible characters, such as line breaks, are not allowed in a name. Remove them",
                    ));
                }
                find_unsafe_characters(&path, value, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_unsafe_characters(&format!("{path}[{index}]"), item, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(spec: Value) -> Vec<String> {
        let spec: IstioSpec = serde_json::from_value(spec).unwrap();
        let mut problems = Problems::default();
        check(&spec, &mut problems);
        let report = problems.into_rejection().map(|rejection| rejection.problems).unwrap_or_default();
        report.iter().filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
    }

    #[test]
    fn every_text_with_unsafe_characters_is_reported() {
        let texts = vec!["a\u{202e}b"; 25];
        let spec = json!({"config": {"proxyStatsMatcher": {"inclusionRegexps": texts}}});
        assert_eq!(problems(spec).len(), 25);
    }

    #[test]
    fn unsafe_characters_are_refused_in_every_typed_field() {
        for (spec, field) in [
            (json!({"config": {"trustDomain": "a\nb"}}), Some("spec.config.trustDomain")),
            (
                json!({"config": {"proxyStatsMatcher": {"inclusionRegexps": ["a", "b\r"]}}}),
                Some("spec.config.proxyStatsMatcher.inclusionRegexps[1]"),
            ),
            (
                json!({"config": {"authorizers": [{"name": "a", "port": 1, "service": "b", "headers":
                    {"inCheck": {"add": {"x\n": "y"}}}}]}}),
                Some("spec.config.authorizers[0].headers.inCheck.add.x\\u{a}"),
            ),
            (json!({"config": {"trustDomain": "example.com"}}), None),
            (json!({"values": {"a": "b\nc"}}), None),
        ] {
            assert_eq!(problems(spec.clone()), field.into_iter().collect::<Vec<_>>(), "{spec}");
        }
    }
}
