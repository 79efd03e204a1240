//! Strategic merge patches, as far as Istio's installer uses them on the workloads, autoscalers and Services it renders.
//!
//! Pure. Knows the merge keys of the lists that an `IstioOperator` can patch; every other list is replaced. The patch
//! directives (`$patch`, `$retainKeys`, `$setElementOrder`) are not supported, an `IstioOperator` has no use for them.
//! Rules: <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use serde_json::{Map, Value};

/// Merges `patch` into `target`: maps recursively, lists of named elements element by element, all else by replacement.
/// A null in the patch deletes the field.
pub fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_maps(target, patch),
        (target, patch) => *target = without_nulls(patch),
    }
}

fn merge_maps(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (field, new) in patch {
        if new.is_null() {
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
    let key = merge_key(field).filter(|key| old.iter().chain(new).all(|element| element.get(key).is_some()));
    match key {
        Some(key) => *old = merge_elements(key, old, new),
        None => *old = new.iter().map(without_nulls).collect(),
    }
}

/// The field that identifies an element of a list, from the `patchMergeKey` of the Kubernetes API types.
///
/// `ports` has two: a container's ports are told apart by `containerPort`, those of a Service by `port`. Only Services
/// are ever patched there.
fn merge_key(field: &str) -> Option<&'static str> {
    Some(match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => "name",
        "volumeMounts" => "mountPath",
        "topologySpreadConstraints" => "topologyKey",
        "ports" => "port",
        _ => return None,
    })
}

/// Elements of both lists. The order is the one of Kubernetes' implementation: an element that only the target has stays
/// before those patched elements that it preceded in the target; elements new to the target come as early as possible.
/// It is kept to the letter because the order of `env` decides whether pods are replaced.
fn merge_elements(key: &str, old: &[Value], new: &[Value]) -> Vec<Value> {
    let position = |element: &Value| old.iter().position(|candidate| candidate[key] == element[key]);
    let mut untouched: Vec<usize> =
        (0..old.len()).filter(|&i| !new.iter().any(|element| element[key] == old[i][key])).collect();
    untouched.reverse();
    let mut order: Vec<Result<usize, &Value>> = Vec::with_capacity(old.len() + new.len());
    for element in new {
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
                .filter(|(_, value)| !value.is_null())
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
    fn ports_of_a_service_merge_by_their_number() {
        let target = json!({"ports": [{"port": 80, "targetPort": 8080}, {"port": 443}]});
        let patch = json!({"ports": [{"port": 80, "nodePort": 30080}]});
        assert_eq!(
            merged(target, &patch),
            json!({"ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}, {"port": 443}]})
        );
    }
}
