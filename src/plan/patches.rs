//! Patches of a user on rendered objects (`spec.patches`).
//!
//! Pure. Each patch is judged by itself, so that a refusal can name it. One that finds its object no more, as after an
//! upgrade, must not keep Istio from being repaired: it becomes a warning.

use istio_charts::strategic_merge;
use serde_json::{Value, json};

use super::guard::{self, Violation};
use crate::api::v1alpha2::ObjectPatch;
use crate::object::ObjectId;
use crate::validate::Problem;

/// The directive of strategic merge patches that is known, and what it may say.
const DIRECTIVE: &str = "$patch";
const DIRECTIONS: [&str; 2] = ["delete", "replace"];

/// What became of the patches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patched {
    /// Why they cannot be followed.
    pub problems: Vec<Problem>,
    /// Patches without an object.
    pub warnings: Vec<String>,
}

/// Applies the patches, in their order, to the objects. With a problem the objects are not to be used.
pub fn apply(patches: &[ObjectPatch], objects: &mut [(ObjectId, Value)]) -> Patched {
    let mut result = Patched::default();
    for (index, patch) in patches.iter().enumerate() {
        let field = format!("spec.patches[{index}]");
        match apply_one(patch, objects) {
            Ok(0) => result.warnings.push(format!(
                "{field} changes nothing: no {} {} is rendered; correct its kind and name, or remove it",
                patch.kind, patch.name
            )),
            Ok(_) => {}
            Err(messages) => {
                result
                    .problems
                    .extend(messages.into_iter().map(|message| Problem::warning(field.clone(), message)));
            }
        }
    }
    result
}

/// Applies one patch and returns to how many objects; or says what is wrong.
fn apply_one(patch: &ObjectPatch, objects: &mut [(ObjectId, Value)]) -> Result<usize, Vec<String>> {
    let change = Change::of(patch).map_err(|problem| vec![problem])?;
    let mut count = 0;
    for (id, object) in objects.iter_mut().filter(|(id, _)| id.kind == patch.kind && id.name == patch.name) {
        let mut after = object.clone();
        change.apply(&mut after).map_err(|problem| vec![format!("{id}: {problem}")])?;
        let violations = violations(id, object, &after);
        if !violations.is_empty() {
            return Err(violations.iter().map(ToString::to_string).collect());
        }
        *object = after;
        count += 1;
    }
    // Definitions are not among the rendered objects; a warning would promise that another name helps.
    if count == 0 && patch.kind == "CustomResourceDefinition" {
        return Err(vec!["a definition cannot be changed this way".to_owned()]);
    }
    Ok(count)
}

/// A patch of a closed kind is refused even if it happens to change nothing today.
fn violations(id: &ObjectId, before: &Value, after: &Value) -> Vec<Violation> {
    match guard::closed_kind(id) {
        Some(what) => vec![Violation { object: id.clone(), path: String::new(), what }],
        None => guard::changes(id, before, after),
    }
}

enum Change {
    StrategicMerge(Value),
    Json(json_patch::Patch),
}

impl Change {
    fn of(patch: &ObjectPatch) -> Result<Self, String> {
        match (&patch.strategic_merge, &patch.json) {
            (Some(merge), None) => {
                let merge = Value::Object(merge.clone());
                match unknown_directive(&merge) {
                    Some(directive) => {
                        Err(format!("the directive {directive} is not supported, use a JSON patch instead"))
                    }
                    None => Ok(Self::StrategicMerge(merge)),
                }
            }
            (None, Some(operations)) => {
                let operations: Vec<Value> = operations
                    .iter()
                    // What is left out is null, as the API server drops null from a resource.
                    .map(|o| json!({"op": o.op, "path": o.path, "from": o.from.clone().unwrap_or_default(), "value": o.value}))
                    .collect();
                serde_json::from_value(Value::Array(operations))
                    .map(Self::Json)
                    .map_err(|error| format!("json is no JSON patch: {error}"))
            }
            _ => Err("give exactly one of strategicMerge and json".to_owned()),
        }
    }

    fn apply(&self, object: &mut Value) -> Result<(), String> {
        match self {
            Self::StrategicMerge(patch) => {
                strategic_merge::merge(object, patch);
                Ok(())
            }
            Self::Json(patch) => json_patch::patch(object, patch).map_err(|error| error.to_string()),
        }
    }
}

/// The first directive in a patch that would be taken for a field, or for nothing.
fn unknown_directive(patch: &Value) -> Option<String> {
    match patch {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match value.as_str() {
            Some(direction) if name == DIRECTIVE && DIRECTIONS.contains(&direction) => None,
            _ if name == DIRECTIVE => Some(format!("{name}: {value}")),
            _ if name.starts_with('$') => Some(name.clone()),
            _ => unknown_directive(value),
        }),
        Value::Array(items) => items.iter().find_map(unknown_directive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Vec<(ObjectId, Value)> {
        [
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod"}},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "istiod"}}, "template": {"spec": {
                    "serviceAccountName": "istiod",
                    "containers": [{"name": "discovery", "image": "pilot", "securityContext": {"runAsNonRoot": true}, "env": [{"name": "A", "value": "1"}]}]}}}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "istiod"}, "rules": []}),
        ]
        .into_iter()
        .map(|object| (ObjectId::of(&object).unwrap(), object))
        .collect()
    }

    fn patch(value: Value) -> ObjectPatch {
        serde_json::from_value(value).unwrap()
    }

    fn merge(kind: &str, name: &str, content: &Value) -> ObjectPatch {
        patch(json!({"kind": kind, "name": name, "strategicMerge": content}))
    }

    fn operations(content: &Value) -> ObjectPatch {
        patch(json!({"kind": "Deployment", "name": "istiod", "json": content}))
    }

    #[test]
    fn patches_of_both_sorts_are_applied_in_their_order() {
        let mut objects = objects();
        let env = json!({"spec": {"template": {"spec": {"containers": [{"name": "discovery", "env": [{"name": "B", "value": "2"}]}]}}}});
        let result = apply(
            &[
                merge("Deployment", "istiod", &env),
                operations(&json!([
                    {"op": "replace", "path": "/spec/replicas", "value": 3},
                    {"op": "add", "path": "/spec/minReadySeconds", "value": 5},
                ])),
            ],
            &mut objects,
        );
        assert_eq!(result, Patched::default());
        let spec = &objects[0].1["spec"];
        assert_eq!((&spec["replicas"], &spec["minReadySeconds"]), (&json!(3), &json!(5)));
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "pilot");
        assert_eq!(container["env"], json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]));
    }

    #[test]
    fn a_patch_without_an_object_is_a_warning_and_the_others_are_applied() {
        let mut objects = objects();
        let patches = [
            merge("Deployment", "istiod-canary", &json!({"spec": {"replicas": 9}})),
            merge("Deployment", "istiod", &json!({"spec": {"replicas": 2}})),
        ];
        let result = apply(&patches, &mut objects);
        assert_eq!(result.problems, []);
        assert_eq!(result.warnings.len(), 1);
        assert!(
            result.warnings[0].starts_with("spec.patches[0] changes nothing: no Deployment istiod-canary")
        );
        assert_eq!(objects[0].1["spec"]["replicas"], 2);
    }

    /// A closed field, reached in every way that patches have.
    #[test]
    fn no_way_round_leads_to_what_is_closed() {
        let pod = |pod: Value| json!({"spec": {"template": {"spec": pod}}});
        let container = "/spec/template/spec/containers/0";
        let cases = [
            // By moving and copying, so that no value of the patch shows it.
            operations(&json!([
                {"op": "add", "path": "/metadata/annotations", "value": {"a": "root"}},
                {"op": "copy", "from": "/metadata/annotations/a", "path": "/spec/template/spec/serviceAccountName"},
                {"op": "remove", "path": "/metadata/annotations"},
            ])),
            operations(
                &json!([{"op": "move", "from": "/metadata/labels/app", "path": "/metadata/labels/other"}]),
            ),
            operations(&json!([{"op": "remove", "path": "/metadata/labels/app"}])),
            operations(&json!([{"op": "remove", "path": "/spec/template"}])),
            operations(&json!([{"op": "remove", "path": container}])),
            operations(&json!([{"op": "replace", "path": "", "value": {}}])),
            operations(&json!([{"op": "replace", "path": "", "value": "x"}])),
            operations(&json!([{"op": "replace", "path": "/spec", "value": "x"}])),
            operations(&json!([{"op": "replace", "path": "/spec/template", "value": []}])),
            // By their place in a list instead of their name.
            operations(
                &json!([{"op": "add", "path": format!("{container}/securityContext"), "value": {"privileged": true}}]),
            ),
            operations(
                &json!([{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "x", "securityContext": {"privileged": true}}}]),
            ),
            operations(
                &json!([{"op": "add", "path": "/spec/template/spec/containers/0", "value": {"name": "discovery", "image": "pilot"}},
                {"op": "remove", "path": "/spec/template/spec/containers/1"}]),
            ),
            operations(
                &json!([{"op": "add", "path": "/spec/template/spec/volumes", "value": [{"name": "x", "hostPath": {"path": "/"}}]}]),
            ),
            // By directives.
            merge("Deployment", "istiod", &json!({"$patch": "delete"})),
            merge("Deployment", "istiod", &json!({"$patch": "replace", "spec": {}})),
            merge(
                "Deployment",
                "istiod",
                &json!({"metadata": {"labels": {"$patch": "replace", "app": "other"}}}),
            ),
            merge("Deployment", "istiod", &json!({"metadata": {"labels": {"$patch": "delete"}}})),
            merge(
                "Deployment",
                "istiod",
                &json!({"spec": {"selector": {"$patch": "replace", "matchLabels": {}}}}),
            ),
            merge("Deployment", "istiod", &pod(json!({"$patch": "replace", "hostPID": true}))),
            merge("Deployment", "istiod", &pod(json!({"$patch": "delete"}))),
            merge(
                "Deployment",
                "istiod",
                &pod(json!({"containers": [{"$patch": "replace"}, {"name": "x"}]})),
            ),
            merge(
                "Deployment",
                "istiod",
                &pod(json!({"containers": [{"name": "discovery", "$patch": "delete"}]})),
            ),
            // Without the key by which elements are told apart, the whole list is replaced.
            merge("Deployment", "istiod", &pod(json!({"containers": [{"image": "x"}]}))),
            merge("Deployment", "istiod", &json!({"spec": {"template": null}})),
            merge("Deployment", "istiod", &json!({"spec": null})),
            merge("Deployment", "istiod", &json!({"metadata": null})),
            merge("Deployment", "istiod", &json!({"kind": "DaemonSet"})),
            merge("Deployment", "istiod", &json!({"metadata": {"namespace": "kube-system"}})),
        ];
        for patch in cases {
            let result = apply(std::slice::from_ref(&patch), &mut objects());
            assert!(!result.problems.is_empty(), "{patch:?} is followed");
        }
    }

    #[test]
    fn a_refused_patch_leaves_its_object_as_it_was() {
        let before = objects();
        let mut after = objects();
        let host = json!({"spec": {"replicas": 7, "template": {"spec": {"hostIPC": true}}}});
        assert_eq!(apply(&[merge("Deployment", "istiod", &host)], &mut after).problems.len(), 1);
        assert_eq!(before, after);
    }

    #[test]
    fn a_patch_that_cannot_be_followed_is_named() {
        for (patch, words) in [
            (patch(json!({"kind": "Deployment", "name": "istiod"})), "exactly one of"),
            (
                patch(json!({"kind": "Deployment", "name": "istiod", "json": [], "strategicMerge": {}})),
                "exactly one of",
            ),
            (operations(&json!([{"op": "frobnicate", "path": "/spec"}])), "no JSON patch"),
            (operations(&json!([{"op": "remove", "path": "/spec/paused"}])), "/spec/paused"),
            (operations(&json!([{"op": "test", "path": "/spec/replicas", "value": 7}])), "/spec/replicas"),
            (
                merge("Deployment", "istiod", &json!({"spec": {"$setElementOrder/x": []}})),
                "$setElementOrder/x",
            ),
            (merge("Deployment", "istiod", &json!({"spec": {"$retainKeys": ["replicas"]}})), "$retainKeys"),
            (
                merge("Deployment", "istiod", &json!({"spec": {"$deleteFromPrimitiveList/x": [1]}})),
                "$deleteFromPrimitiveList/x",
            ),
            (
                merge("Deployment", "istiod", &json!({"spec": {"$patch": "frobnicate"}})),
                "$patch: \"frobnicate\"",
            ),
            (merge("ClusterRole", "istiod", &json!({})), "a permission"),
            (merge("CustomResourceDefinition", "gateways.networking.istio.io", &json!({})), "a definition"),
            (
                operations(&json!([{"op": "add", "path": "/spec/template/spec/hostNetwork", "value": true}])),
                "Deployment istio-system/istiod at spec.template.spec.hostNetwork: a namespace of the host",
            ),
        ] {
            let good = merge("Deployment", "istiod", &json!({"spec": {"replicas": 2}}));
            let result = apply(&[good, patch], &mut objects());
            assert_eq!(result.problems.len(), 1, "{words}: {result:?}");
            let problem = &result.problems[0];
            assert_eq!(problem.field, "spec.patches[1]", "{words}");
            assert!(problem.message.contains(words), "{words} is missing in {problem}");
        }
    }
}
