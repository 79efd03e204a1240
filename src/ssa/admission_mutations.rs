//! Detects fields that admission changed: whether the API server kept what was applied.
//!
//! Pure. A webhook or admission policy can change an object after it was sent. `managedFields` does not show that: the field
//! counts as ours, with a value that is not. Only a comparison of the values reveals it.

use serde_json::Value;

use crate::kubernetes::json::altered_fields;

/// The paths of the fields of `manifest` that have another value in `live`, the response to its apply.
#[must_use]
pub fn find_altered_fields(live: &Value, manifest: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, wanted) in manifest.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                for part in ["labels", "annotations"] {
                    let path = format!("metadata.{part}");
                    found.extend(altered_fields(&live[name][part], &wanted[part], &path));
                }
            }
            _ => found.extend(altered_fields(&live[name], wanted, name)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_value_is_named_by_its_path() {
        let manifest = json!({"metadata": {"labels": {"app": "istiod"}}, "spec": {"replicas": 2, "containers": [
            {"name": "discovery", "image": "istio/pilot:1"}]}});
        let live = json!({"metadata": {"labels": {"app": "mine"}}, "spec": {"replicas": 2, "containers": [
            {"name": "added"}, {"name": "discovery", "image": "mirror/pilot:1"}]}});
        assert_eq!(
            find_altered_fields(&live, &manifest),
            ["metadata.labels.app".to_owned(), "spec.containers[name=discovery].image".to_owned()]
        );
    }

    #[test]
    fn a_field_that_was_removed_is_named() {
        assert_eq!(
            find_altered_fields(&json!({"spec": {}}), &json!({"spec": {"type": "LoadBalancer"}})),
            ["spec.type"]
        );
    }

    #[test]
    fn a_zero_value_that_was_replaced_is_named() {
        for (live, manifest, path) in [
            (json!({"hostNetwork": true}), json!({"hostNetwork": false}), "spec.hostNetwork"),
            (json!({"replicas": 3}), json!({"replicas": 0}), "spec.replicas"),
            (json!({"hostname": "node"}), json!({"hostname": ""}), "spec.hostname"),
            (
                json!({"containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": true}}]}),
                json!({"containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false}}]}),
                "spec.containers[name=c].securityContext.allowPrivilegeEscalation",
            ),
        ] {
            let (live, manifest) = (json!({"spec": live}), json!({"spec": manifest}));
            assert_eq!(find_altered_fields(&live, &manifest), [path]);
        }
    }

    #[test]
    fn other_notations_defaults_and_additions_are_not_altered() {
        for (live, manifest) in [
            (json!({"cpu": "1"}), json!({"cpu": "1000m"})),
            (json!({"cpu": "2"}), json!({"cpu": 2})),
            (json!({}), json!({"paused": false, "labels": {}, "text": "", "list": [{}], "nothing": null})),
            (json!({"nothing": 1}), json!({"nothing": null})),
            (json!({"count": 0, "labels": {}}), json!({"count": 0, "labels": {"": ""}})),
            (json!({"a": 1, "defaulted": true}), json!({"a": 1})),
            (json!({"list": ["b", "a"]}), json!({"list": ["a", "b"]})),
        ] {
            assert_eq!(
                find_altered_fields(&json!({"spec": live}), &json!({"spec": manifest})),
                Vec::<String>::new()
            );
        }
    }
}
