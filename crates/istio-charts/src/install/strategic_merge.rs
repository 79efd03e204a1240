//! Strategic merge patches, as far as they are used on the workloads, autoscalers and Services that the charts render.
//!
//! Pure. Knows the merge keys of the lists in pods and Services; every other list is replaced. Of the directives only
//! `$patch: delete` and `$patch: replace` are supported; a caller that takes patches from users must refuse other directives.
//! Rules: <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";

/// Merges `patch` into `target`: maps recursively, lists of named elements element by element, all else by replacement.
/// A null in the patch deletes the field.
pub fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => match directive(patch) {
            Some("replace") => *target = without_directive(patch),
            Some("delete") => target.clear(),
            _ => merge_maps(target, patch),
        },
        (target, patch) => *target = without_nulls(patch),
    }
}

/// The directive `$patch` of a map.
fn directive(patch: &Map<String, Value>) -> Option<&str> {
    patch.get(DIRECTIVE)?.as_str()
}

fn without_directive(patch: &Map<String, Value>) -> Map<String, Value> {
    let fields = patch.iter().filter(|(field, value)| *field != DIRECTIVE && !value.is_null());
    fields.map(|(field, value)| (field.clone(), without_nulls(value))).collect()
}

fn merge_maps(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (field, new) in patch.iter().filter(|(field, _)| *field != DIRECTIVE) {
        let is_deleted = new.as_object().and_then(directive) == Some("delete");
        if new.is_null() || is_deleted {
            target.shift_remove(field);
            continue;
        }
        match (target.get_mut(field), new) {
            (Some(old @ Value::Object(_)), Value::Object(_)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => merge_lists(field, old, new),
            _ => {
                target.insert(field.clone(), without_nulls(new));
            }
        }
    }
}

fn merge_lists(field: &str, old: &mut Vec<Value>, new: &[Value]) {
    let is_directive =
        |element: &&Value| element.as_object().is_some_and(|map| map.len() == 1 && directive(map).is_some());
    let new: Vec<Value> = match new.iter().find(is_directive).and_then(|element| element[DIRECTIVE].as_str())
    {
        Some("replace") => {
            old.clear();
            new.iter().filter(|element| !is_directive(element)).cloned().collect()
        }
        _ => new.to_vec(),
    };
    let merge_key = |field| {
        merge_keys(field)
            .iter()
            .find(|key| old.iter().chain(&new).all(|element| element.get(**key).is_some()))
    };
    match merge_key(field) {
        Some(key) => *old = merge_elements(key, old, &new),
        None => *old = new.iter().map(without_nulls).collect(),
    }
}

/// The fields that may identify an element of a list, from the `patchMergeKey` of the Kubernetes API types.
///
/// `ports` has two: the ports of a container are identified by `containerPort`, those of a Service by `port`.
fn merge_keys(field: &str) -> &'static [&'static str] {
    match field {
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => {
            &["name"]
        }
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "hostAliases" => &["ip"],
        "topologySpreadConstraints" => &["topologyKey"],
        "ports" => &["containerPort", "port"],
        _ => &[],
    }
}

/// Elements of both lists. The order is the one of Kubernetes' implementation: an element that only the target has stays
/// before those patched elements that it preceded in the target; elements new to the target come as early as possible.
/// It is kept to the letter because the order of `env` decides whether pods are replaced.
fn merge_elements(key: &str, old: &[Value], new: &[Value]) -> Vec<Value> {
    let is_deleted = |element: &Value| element.as_object().and_then(directive) == Some("delete");
    let position = |element: &Value| old.iter().position(|candidate| candidate[key] == element[key]);
    let mut untouched: Vec<usize> =
        (0..old.len()).filter(|&i| !new.iter().any(|element| element[key] == old[i][key])).collect();
    untouched.reverse();
    let mut order: Vec<Result<usize, &Value>> = Vec::with_capacity(old.len() + new.len());
    for element in new.iter().filter(|element| !is_deleted(element)) {
        if let Some(at) = position(element) {
            while untouched.last().is_some_and(|&next| next < at) {
                order.extend(untouched.pop().map(Ok));
            }
        }
        order.push(Err(element));
    }
    order.extend(untouched.into_iter().rev().map(Ok));
    order
        .into_iter()
        .map(|from| match from {
            Ok(index) => old[index].clone(),
            Err(element) => {
                let mut merged =
                    position(element).map_or_else(|| Value::Object(Map::new()), |at| old[at].clone());
                merge(&mut merged, element);
                merged
            }
        })
        .collect()
}

/// A value as it is inserted where the target has nothing: its nulls have nothing to delete.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(field, value)| !value.is_null() && *field != DIRECTIVE)
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::merge;
    use serde_json::{Value, json};

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn maps_merge_and_null_deletes() {
        let target = json!({"spec": {"minAvailable": 1, "selector": {"app": "a"}}});
        let patch = json!({"spec": {"minAvailable": null, "maxUnavailable": 2, "selector": {"tier": "b", "gone": null}}});
        assert_eq!(
            merged(target, &patch),
            json!({"spec": {"maxUnavailable": 2, "selector": {"app": "a", "tier": "b"}}})
        );
    }

    #[test]
    fn a_patched_container_keeps_the_fields_the_patch_does_not_name() {
        let target =
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y", "tty": true}]});
        let patch = json!({"containers": [{"name": "b", "image": "z"}]});
        assert_eq!(
            merged(target, &patch),
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "z", "tty": true}]})
        );
    }

    #[test]
    fn new_environment_variables_come_first_and_patched_ones_keep_their_place() {
        let env =
            |names: &[&str]| json!({"env": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()});
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&["A", "B"], &["X", "Y"], &["X", "Y", "A", "B"]),
            (&["A", "B", "C"], &["B"], &["A", "B", "C"]),
            (&["A", "B"], &["X", "B"], &["X", "A", "B"]),
            (&["A", "B", "C"], &["C", "X"], &["A", "B", "C", "X"]),
        ];
        for (target, patch, expected) in cases {
            assert_eq!(merged(env(target), &env(patch)), env(expected), "{target:?} patched with {patch:?}");
        }
    }

    #[test]
    fn lists_without_merge_key_are_replaced() {
        let target = json!({"tolerations": [{"key": "a"}, {"key": "b"}], "metrics": [{"type": "Resource"}]});
        let patch = json!({"tolerations": [{"key": "c"}], "metrics": []});
        assert_eq!(merged(target, &patch), json!({"tolerations": [{"key": "c"}], "metrics": []}));
    }

    #[test]
    fn directives_delete_and_replace() {
        let target = || json!({"spec": {"a": 1}, "env": [{"name": "A"}, {"name": "B"}]});
        for (patch, expected) in [
            (json!({"spec": {"$patch": "delete"}}), json!({"env": [{"name": "A"}, {"name": "B"}]})),
            (
                json!({"spec": {"$patch": "replace", "b": 2}}),
                json!({"spec": {"b": 2}, "env": [{"name": "A"}, {"name": "B"}]}),
            ),
            (
                json!({"env": [{"name": "A", "$patch": "delete"}]}),
                json!({"spec": {"a": 1}, "env": [{"name": "B"}]}),
            ),
            (
                json!({"env": [{"$patch": "replace"}, {"name": "C"}]}),
                json!({"spec": {"a": 1}, "env": [{"name": "C"}]}),
            ),
        ] {
            assert_eq!(merged(target(), &patch), expected, "{patch}");
        }
    }

    #[test]
    fn ports_of_a_container_merge_by_their_number() {
        let target = json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 443}]});
        let patch = json!({"ports": [{"containerPort": 80, "protocol": "TCP"}]});
        assert_eq!(
            merged(target, &patch),
            json!({"ports": [{"containerPort": 80, "name": "a", "protocol": "TCP"}, {"containerPort": 443}]})
        );
    }

    #[test]
    fn ports_of_a_service_merge_by_their_number() {
        let target = json!({"ports": [{"port": 80, "targetPort": 8080}, {"port": 443}]});
        let patch = json!({"ports": [{"port": 80, "nodePort": 30080}]});
        assert_eq!(
            merged(target, &patch),
            json!({"ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}, {"port": 443}]})
        );
    }
}
