//! Which manager changed which of our fields, for messages.
//!
//! Pure.

use std::fmt;

use serde_json::Value;

use crate::api::names::FIELD_MANAGER;
use crate::kubernetes::json::{contains, missing_fields};
use crate::ssa::managed_fields;
use crate::text::list_limited;

/// Longest list of fields in a message.
const MAX_NAMED_FIELDS: usize = 5;

/// Fields of ours that have another value, or were removed, and the manager that did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// The field manager; `None` for fields that were removed, since these have no owner.
    pub manager: Option<String>,
    /// Paths of the fields.
    pub fields: Vec<String>,
}

/// Compares a live object with its manifest.
#[must_use]
pub fn find_conflicts(live: &Value, manifest: &Value) -> Vec<FieldConflict> {
    let mut found = Vec::new();
    for entry in live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten() {
        let manager = entry.get("manager").and_then(Value::as_str).unwrap_or_default();
        let is_our_apply = manager == FIELD_MANAGER && entry["operation"] == "Apply";
        let fields = conflicting_fields(entry.get("fieldsV1").unwrap_or(&Value::Null), live, manifest);
        if !is_our_apply && !fields.is_empty() {
            found.push(FieldConflict { manager: Some(manager.to_owned()), fields });
        }
    }
    // Elements of lists are compared by their owners only, above.
    let missing = missing_fields(live, manifest);
    if !missing.is_empty() {
        found.push(FieldConflict { manager: None, fields: missing });
    }
    found
}

/// The leaves of an entry for which the manifest has another value.
fn conflicting_fields(entry: &Value, live: &Value, manifest: &Value) -> Vec<String> {
    let differs = |path: &&Vec<&str>| match (
        managed_fields::resolve(live, path),
        managed_fields::resolve(manifest, path),
    ) {
        (Some(live), Some(wanted)) => !contains(live, wanted),
        _ => false,
    };
    managed_fields::leaves(entry).iter().filter(differs).map(|path| managed_fields::describe(path)).collect()
}

impl fmt::Display for FieldConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = list_limited(&self.fields, MAX_NAMED_FIELDS);
        match &self.manager {
            Some(manager) => write!(f, "{manager} changed {fields}"),
            None => write!(f, "{fields} removed"),
        }
    }
}

/// Describes several conflicts in one line. Without any, the manager is unknown.
#[must_use]
pub fn describe(conflicts: &[FieldConflict]) -> String {
    if conflicts.is_empty() {
        return "another field manager wrote to it".to_owned();
    }
    conflicts.iter().map(FieldConflict::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(manager: &str, operation: &str, spec: &Value) -> Value {
        json!({"metadata": {"labels": {"a": "1"}, "managedFields": [
            {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}}]},
            "spec": spec})
    }

    fn manifest() -> Value {
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 2}})
    }

    #[test]
    fn the_manager_that_changed_a_field_is_named_with_it() {
        let live = live("kubectl-edit", "Update", &json!({"replicas": 5, "paused": true}));
        assert_eq!(describe(&find_conflicts(&live, &manifest())), "kubectl-edit changed spec.replicas");
    }

    #[test]
    fn fields_added_or_set_to_our_value_are_no_conflict() {
        let live = live("kubectl-edit", "Update", &json!({"replicas": 2, "paused": true}));
        assert_eq!(find_conflicts(&live, &manifest()), []);
    }

    #[test]
    fn an_update_under_our_name_is_a_conflict_and_an_apply_is_not() {
        let spec = json!({"replicas": 5});
        assert_eq!(find_conflicts(&live("istio-operator", "Apply", &spec), &manifest()), []);
        let text = describe(&find_conflicts(&live("istio-operator", "Update", &spec), &manifest()));
        assert_eq!(text, "istio-operator changed spec.replicas");
    }

    #[test]
    fn a_field_that_is_gone_is_named_without_a_manager() {
        let mut live = live("x", "Update", &json!({"replicas": 2}));
        live["metadata"]["labels"] = json!({});
        assert_eq!(describe(&find_conflicts(&live, &manifest())), "metadata.labels.a removed");
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let fields = ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned).to_vec();
        let text = FieldConflict { manager: Some("m".into()), fields }.to_string();
        assert_eq!(text, "m changed a, b, c, d, e and 2 more");
    }
}
