//! The oneofs of the mesh configuration: fields of which a message holds one at most.
//!
//! istiod keeps only one of several, or refuses to start. `mesh_oneofs.txt` has them; a test compares it with Istio's own
//! definition and writes it again with `UPDATE=1`. Knows paths and names, not what the fields mean.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::merge::name;
use crate::validate::Problem;

const LIST: &str = include_str!("mesh_oneofs.txt");
/// The path of the mesh configuration itself in the list.
const ROOT: &str = ".";
/// In the place of a name in a path: any name.
const ANY: &str = "*";

/// A message that has a oneof.
struct Oneof {
    path: &'static str,
    branches: Vec<&'static str>,
}

static ONEOFS: LazyLock<Vec<Oneof>> = LazyLock::new(|| {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    let oneofs = lines.filter_map(|line| {
        let (path, branches) = line.split_once(' ')?;
        let path = if path == ROOT { "" } else { path };
        Some(Oneof { path, branches: branches.split(' ').collect() })
    });
    oneofs.collect()
});

impl Oneof {
    /// Whether a message at `path` has it.
    fn is_at(&self, path: &[&str]) -> bool {
        let mut names = self.path.split('.').filter(|name| !name.is_empty());
        path.iter().all(|name| names.next().is_some_and(|known| known == ANY || known == *name))
            && names.next().is_none()
    }

    /// The branches that `message` sets. A null sets none.
    fn branches_of(&self, message: &Map<String, Value>) -> Vec<&'static str> {
        let is_set = |branch: &&&str| message.get(**branch).is_some_and(|value| !value.is_null());
        self.branches.iter().filter(is_set).copied().collect()
    }
}

/// Removes from the mesh configuration `base` every branch of a oneof of which `layer`, which is about to be merged over it,
/// sets another branch.
pub(super) fn drop_replaced_branches(base: &mut Value, layer: &Value) {
    drop_at(&mut Vec::new(), base, layer);
}

fn drop_at<'v>(path: &mut Vec<&'v str>, base: &mut Value, layer: &'v Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for oneof in ONEOFS.iter().filter(|oneof| oneof.is_at(path)) {
                let chosen = oneof.branches_of(layer);
                if !chosen.is_empty() {
                    base.retain(|field, _| {
                        !oneof.branches.contains(&field.as_str()) || chosen.contains(&field.as_str())
                    });
                }
            }
            for (field, value) in layer {
                if let Some(base) = base.get_mut(field) {
                    path.push(field);
                    drop_at(path, base, value);
                    path.pop();
                }
            }
        }
        // The list itself has no path of its own: its items stand for it.
        (Value::Array(base), Value::Array(layer)) => {
            for item in layer.iter().filter(|item| name(item).is_some()) {
                if let Some(base) = base.iter_mut().find(|base| name(base) == name(item)) {
                    drop_at(path, base, item);
                }
            }
        }
        _ => {}
    }
}

/// The messages below `place` (such as `spec.values.meshConfig`) that set several branches of a oneof at once.
pub(in crate::plan) fn check(mesh: &Value, place: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_at(&mut Vec::new(), place, mesh, &mut problems);
    problems
}

fn check_at<'v>(path: &mut Vec<&'v str>, place: &str, value: &'v Value, problems: &mut Vec<Problem>) {
    match value {
        Value::Object(message) => {
            for oneof in ONEOFS.iter().filter(|oneof| oneof.is_at(path)) {
                let branches = oneof.branches_of(message);
                if let [others @ .., last] = &branches[..]
                    && !others.is_empty()
                {
                    let message =
                        format!("{} and {last} exclude each other. Remove all but one", others.join(", "));
                    problems.push(Problem::warning(place, message));
                }
            }
            for (field, value) in message {
                // Only what leads to a oneof: other names may be as long as the author likes.
                path.push(field);
                if ONEOFS.iter().any(|oneof| oneof.is_below(path)) {
                    check_at(path, &format!("{place}.{field}"), value, problems);
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_at(path, &format!("{place}[{index}]"), item, problems);
            }
        }
        _ => {}
    }
}

impl Oneof {
    /// Whether a message at `path` or below has it.
    fn is_below(&self, path: &[&str]) -> bool {
        let mut names = self.path.split('.').filter(|name| !name.is_empty());
        path.iter().all(|name| names.next().is_some_and(|known| known == ANY || known == *name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::merge::merge_user_values;
    use super::*;

    fn merged(mut base: Value, layer: &Value) -> Value {
        drop_replaced_branches(&mut base, layer);
        merge_user_values(&mut base, layer);
        base
    }

    /// A message at the path of a oneof that sets `branch`.
    fn message_with(oneof: &Oneof, branch: &str) -> Value {
        let message = json!({"name": "x", branch: {}});
        oneof.path.rsplit('.').filter(|name| !name.is_empty()).fold(message, |inner, name| match name {
            ANY => json!({"any": inner}),
            "extensionProviders" => {
                let mut item = inner;
                item["name"] = json!("x");
                json!({name: [item]})
            }
            name => json!({name: inner}),
        })
    }

    #[test]
    fn a_chosen_branch_replaces_each_other_branch_of_its_oneof() {
        assert!(ONEOFS.len() > 10);
        for oneof in ONEOFS.iter() {
            for branch in &oneof.branches {
                for other in oneof.branches.iter().filter(|other| *other != branch) {
                    let text = merged(message_with(oneof, branch), &message_with(oneof, other)).to_string();
                    assert!(text.contains(&format!("\"{other}\"")), "{} {branch} {other}", oneof.path);
                    assert!(!text.contains(&format!("\"{branch}\":{{}}")), "{} {branch}: {text}", oneof.path);
                }
            }
        }
    }

    #[test]
    fn the_same_branch_is_merged_and_null_chooses_none() {
        let zipkin = json!({"defaultConfig": {"tracing": {"zipkin": {"address": "a:1"}}}});
        let of = |tracing: Value| json!({"defaultConfig": {"tracing": tracing}});
        for (tracing, expected) in [
            (json!({"zipkin": {"x": 1}}), json!({"zipkin": {"address": "a:1", "x": 1}})),
            (json!({"datadog": null}), json!({"zipkin": {"address": "a:1"}, "datadog": null})),
            (json!({"datadog": {"address": "b:1"}}), json!({"datadog": {"address": "b:1"}})),
            (json!({"sampling": 1}), json!({"zipkin": {"address": "a:1"}, "sampling": 1})),
        ] {
            assert_eq!(merged(zipkin.clone(), &of(tracing)), of(expected));
        }
    }

    #[test]
    fn two_branches_in_one_message_are_reported_with_both_names() {
        let of = |mesh: Value| check(&mesh, "spec.values.meshConfig");
        let provider = json!({"name": "a", "zipkin": {}, "opentelemetry": {}, "datadog": null});
        let problems = of(json!({"extensionProviders": [{"name": "b", "zipkin": {}}, provider]}));
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert_eq!(problem.field, "spec.values.meshConfig.extensionProviders[1]");
        assert!(problem.message.contains("zipkin") && problem.message.contains("opentelemetry"), "{problem}");
        let tracing = json!({"zipkin": {}, "lightstep": {}});
        assert_eq!(of(json!({"defaultConfig": {"tracing": tracing}})).len(), 1);
        assert_eq!(of(json!({"defaultConfig": {"tracing": {"zipkin": {}}}, "unknown": {"zipkin": {}}})), []);
    }
}
