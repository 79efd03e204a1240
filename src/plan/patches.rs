//! Patches of a user on rendered objects (`spec.patches`).
//!
//! Pure. Each patch is checked by itself, so that a refusal can name it. One whose object does not exist, as after an upgrade,
//! must not keep Istio from being repaired: it becomes a warning.

use istio_charts::strategic_merge;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::OverrideMode;
use super::rendering_policy::{self, Violation};
use crate::api::v1alpha2::ObjectPatch;
use crate::kubernetes::object::ObjectId;
use crate::text::sanitized;
use crate::validate::{Problem, Remedy};

/// The directive of strategic merge patches that is known, and what it may say.
const DIRECTIVE: &str = "$patch";
const SUPPORTED_DIRECTIVES: [&str; 2] = ["delete", "replace"];

/// Most strategic merges and JSON operations in all patches together.
const MAX_OPERATIONS: usize = 200;
/// Most parts that all patches may have together.
const MAX_PATCH_NODES: usize = 20_000;
/// What an object may grow to. The largest that the charts render has about 500 parts and 200 kB.
const MAX_OBJECT_SIZE: ValueSize = ValueSize { nodes: 20_000, depth: 100, bytes: 1536 * 1024 };
/// Longest warning in bytes.
const MAX_WARNING_BYTES: usize = 512;

/// The result of applying patches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patched {
    /// Why they cannot be followed.
    pub problems: Vec<Problem>,
    /// Patches without an object.
    pub warnings: Vec<String>,
}

/// Why patches cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum PatchError {
    #[error("too many operations: {0}, and {MAX_OPERATIONS} are allowed. Remove some")]
    TooManyOperations(usize),
    #[error("too large: {0} parts, and {MAX_PATCH_NODES} are allowed. Make the patches smaller")]
    TooLarge(usize),
    #[error("nested too deeply: {} levels are allowed. Flatten the patches", MAX_OBJECT_SIZE.depth)]
    TooDeep,
    #[error("the patched object would be too large or too deeply nested")]
    ObjectTooLarge,
    #[error("the directive {0} is not supported. Use a JSON patch instead")]
    Directive(String),
    #[error("json is not a JSON patch: {0}")]
    NotAJsonPatch(String),
    #[error("the JSON patch does not fit the object: {0}")]
    DoesNotFit(String),
    #[error("exactly one of strategicMerge and json is required")]
    OneOfTwo,
    #[error("a patch cannot change which object this is")]
    Identity,
    #[error("a CRD cannot be patched")]
    Crd,
    #[error("the fields are closed")]
    Closed(Vec<Violation>),
}

/// Applies the patches, in their order, to the objects. With a problem the objects are not to be used.
pub fn apply(patches: &[ObjectPatch], mode: OverrideMode, objects: &mut [(ObjectId, Value)]) -> Patched {
    let mut result = Patched::default();
    if let Err(error) = check_size(patches) {
        result.problems.push(Problem::warning("spec.patches", error.to_string()));
        return result;
    }
    for (index, patch) in patches.iter().enumerate() {
        let field = format!("spec.patches[{index}]");
        match apply_one(patch, mode, objects) {
            Ok(0) => {
                let (kind, name) = (&patch.kind, &patch.name);
                let warning = format!(
                    "{field} changes nothing: no {kind} {name} is rendered. Correct its kind and name, or remove it"
                );
                result.warnings.push(sanitized(&warning, MAX_WARNING_BYTES));
            }
            Ok(_) => {}
            Err((id, error)) => result.problems.extend(problems(&field, id.as_deref(), error)),
        }
    }
    result
}

/// The problems of one patch. Closed fields name their object themselves.
fn problems(field: &str, id: Option<&ObjectId>, error: PatchError) -> Vec<Problem> {
    match (error, id) {
        (PatchError::Closed(violations), _) => violations
            .iter()
            .map(|violation| {
                Problem::warning(field, violation.to_string()).with_remedy(Remedy::UnrestrictedOverrides)
            })
            .collect(),
        (error, Some(id)) => vec![Problem::warning(field, format!("{id}: {error}"))],
        (error, None) => vec![Problem::warning(field, error.to_string())],
    }
}

/// Checks that there are not too many patches, and that they are not too large to apply them.
fn check_size(patches: &[ObjectPatch]) -> Result<(), PatchError> {
    let operations: usize = patches.iter().map(|patch| patch.json.as_ref().map_or(1, Vec::len)).sum();
    if operations > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations));
    }
    let values =
        patches.iter().flat_map(|patch| patch.json.iter().flatten().filter_map(|o| o.value.as_ref()));
    let fields = patches.iter().flat_map(|patch| patch.strategic_merge.iter().flat_map(Map::values));
    let mut nodes = 0;
    for size in values.chain(fields).map(ValueSize::of) {
        nodes += size.nodes;
        if size.depth > MAX_OBJECT_SIZE.depth {
            return Err(PatchError::TooDeep);
        }
    }
    if nodes > MAX_PATCH_NODES { Err(PatchError::TooLarge(nodes)) } else { Ok(()) }
}

/// Applies one patch, and returns to how many objects; or what is wrong, and with which object.
fn apply_one(
    patch: &ObjectPatch,
    mode: OverrideMode,
    objects: &mut [(ObjectId, Value)],
) -> Result<usize, (Option<Box<ObjectId>>, PatchError)> {
    let change = ParsedPatch::of(patch).map_err(|error| (None, error))?;
    let mut count = 0;
    for (id, object) in objects.iter_mut().filter(|(id, _)| id.kind == patch.kind && id.name == patch.name) {
        *object = change.applied(id, object, mode).map_err(|error| (Some(Box::new(id.clone())), error))?;
        count += 1;
    }
    // CRDs are not among the rendered objects; a warning would promise that another name helps.
    if count == 0 && patch.kind == "CustomResourceDefinition" {
        return Err((None, PatchError::Crd));
    }
    Ok(count)
}

/// A patch of a frozen kind is refused even if it happens to change nothing today.
fn violations(id: &ObjectId, before: &Value, after: &Value) -> Vec<Violation> {
    rendering_policy::frozen_kind(id)
        .map_or_else(|| rendering_policy::changes(id, before, after), |violation| vec![violation])
}

enum ParsedPatch {
    StrategicMerge(Value),
    Json(Vec<json_patch::PatchOperation>),
}

impl ParsedPatch {
    fn of(patch: &ObjectPatch) -> Result<Self, PatchError> {
        match (&patch.strategic_merge, &patch.json) {
            (Some(merge), None) => {
                let merge = Value::Object(merge.clone());
                match unknown_directive(&merge) {
                    Some(directive) => Err(PatchError::Directive(directive)),
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
                    .map_err(|error| PatchError::NotAJsonPatch(error.to_string()))
            }
            _ => Err(PatchError::OneOfTwo),
        }
    }

    /// The object with the change, if that is allowed.
    fn applied(&self, id: &ObjectId, before: &Value, mode: OverrideMode) -> Result<Value, PatchError> {
        let mut after = before.clone();
        self.apply(&mut after)?;
        if ObjectId::of(&after).as_ref() != Ok(id) {
            return Err(PatchError::Identity);
        }
        if mode == OverrideMode::Restricted {
            let violations = violations(id, before, &after);
            if !violations.is_empty() {
                return Err(PatchError::Closed(violations));
            }
        }
        Ok(after)
    }

    /// Applies the change step by step, none of which may make more of the object than [`MAX_OBJECT_SIZE`].
    fn apply(&self, object: &mut Value) -> Result<(), PatchError> {
        match self {
            Self::StrategicMerge(patch) => {
                ValueSize::of(object).plus(&ValueSize::of(patch)).check()?;
                strategic_merge::merge(object, patch);
                Ok(())
            }
            Self::Json(operations) => operations.iter().try_for_each(|operation| {
                ValueSize::after(object, operation).check()?;
                json_patch::patch(object, std::slice::from_ref(operation))
                    .map_err(|error| PatchError::DoesNotFit(error.to_string()))
            }),
        }
    }
}

/// How large a value is. Counted without recursion, as the depth is what may be wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ValueSize {
    /// Maps, lists, texts, numbers and switches.
    nodes: usize,
    /// Levels of nesting; of a single text it is 1.
    depth: usize,
    /// Bytes of texts and names.
    bytes: usize,
}

impl ValueSize {
    fn of(value: &Value) -> Self {
        let mut size = Self::default();
        let mut open = vec![(value, 1)];
        while let Some((value, depth)) = open.pop() {
            size.nodes += 1;
            size.depth = size.depth.max(depth);
            match value {
                Value::Object(fields) => {
                    size.bytes += fields.keys().map(String::len).sum::<usize>();
                    open.extend(fields.values().map(|value| (value, depth + 1)));
                }
                Value::Array(items) => open.extend(items.iter().map(|value| (value, depth + 1))),
                Value::String(text) => size.bytes += text.len(),
                _ => {}
            }
        }
        size
    }

    /// At most the size that an object has after an operation.
    fn after(object: &Value, operation: &json_patch::PatchOperation) -> Self {
        use json_patch::PatchOperation::{Add, Copy, Move, Remove, Replace, Test};
        let size = Self::of(object);
        let source = |from: &str| object.pointer(from).map(Self::of).unwrap_or_default();
        let levels = |path: &str| path.matches('/').count();
        match operation {
            Add(add) => size.with(&Self::of(&add.value), levels(add.path.as_str())),
            Replace(replace) => size.with(&Self::of(&replace.value), levels(replace.path.as_str())),
            Copy(copy) => size.with(&source(copy.from.as_str()), levels(copy.path.as_str())),
            Move(moved) => {
                let depth = source(moved.from.as_str()).depth + levels(moved.path.as_str());
                Self { depth: size.depth.max(depth), ..size }
            }
            Remove(_) | Test(_) => size,
        }
    }

    /// With another value inside, so many levels down.
    fn with(self, other: &Self, levels: usize) -> Self {
        Self { depth: self.depth.max(other.depth + levels), ..self.plus(other) }
    }

    /// Two values merged without anything in common.
    fn plus(self, other: &Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            depth: self.depth.max(other.depth),
            bytes: self.bytes + other.bytes,
        }
    }

    fn check(self) -> Result<(), PatchError> {
        let is_small = self.nodes <= MAX_OBJECT_SIZE.nodes
            && self.depth <= MAX_OBJECT_SIZE.depth
            && self.bytes <= MAX_OBJECT_SIZE.bytes;
        if is_small { Ok(()) } else { Err(PatchError::ObjectTooLarge) }
    }
}

/// The first directive in a patch that would be taken for a field, or for nothing.
fn unknown_directive(patch: &Value) -> Option<String> {
    match patch {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match value.as_str() {
            Some(direction) if name == DIRECTIVE && SUPPORTED_DIRECTIVES.contains(&direction) => None,
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

    fn apply(patches: &[ObjectPatch], objects: &mut [(ObjectId, Value)]) -> Patched {
        super::apply(patches, OverrideMode::Restricted, objects)
    }

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
        let env = json!({"spec": {"template": {"spec": {"containers": [{"name": "discovery", "env": [{"name": "PILOT_PUSH_THROTTLE", "value": "2"}]}]}}}});
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
        assert_eq!(
            container["env"],
            json!([{"name": "PILOT_PUSH_THROTTLE", "value": "2"}, {"name": "A", "value": "1"}])
        );
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
    fn closed_fields_cannot_be_reached_by_any_patch() {
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
            // Without the key by which elements are identified, the whole list is replaced.
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
    fn a_warning_cannot_forge_a_line() {
        let patch = merge("Deploy\u{1b}[31m\nFAKE\u{202e}", "istiod", &json!({}));
        let result = apply(&[patch], &mut objects());
        assert!(crate::text::is_plain(&result.warnings[0]), "{:?}", result.warnings);
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
    fn an_invalid_patch_is_named() {
        for (patch, words) in [
            (patch(json!({"kind": "Deployment", "name": "istiod"})), "exactly one of"),
            (
                patch(json!({"kind": "Deployment", "name": "istiod", "json": [], "strategicMerge": {}})),
                "exactly one of",
            ),
            (operations(&json!([{"op": "frobnicate", "path": "/spec"}])), "not a JSON patch"),
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
            (merge("CustomResourceDefinition", "gateways.networking.istio.io", &json!({})), "a CRD"),
            (
                operations(&json!([{"op": "add", "path": "/spec/template/spec/hostNetwork", "value": true}])),
                "Deployment istio-system/istiod at spec.template.spec.hostNetwork: this field cannot be changed",
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

    #[test]
    fn without_restrictions_a_patch_reaches_everything_but_identities() {
        let image =
            json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "mine"}]);
        let unrestricted =
            |patch: ObjectPatch| super::apply(&[patch], OverrideMode::Unrestricted, &mut objects());
        assert_eq!(unrestricted(operations(&image)), Patched::default());
        assert_eq!(unrestricted(merge("ClusterRole", "istiod", &json!({"rules": [{}]}))), Patched::default());
        assert_eq!(apply(&[operations(&image)], &mut objects()).problems.len(), 1);
        for identity in [
            json!({"metadata": {"namespace": "kube-system"}}),
            json!({"metadata": {"name": "other"}}),
            json!({"kind": "DaemonSet"}),
            json!({"apiVersion": "apps/v2"}),
            json!({"metadata": null}),
        ] {
            assert_eq!(
                unrestricted(merge("Deployment", "istiod", &identity)).problems.len(),
                1,
                "{identity}"
            );
        }
    }

    /// Each was an abort or hundreds of megabytes once.
    #[test]
    fn growing_patches_are_refused_before_they_are_applied() {
        let copy = |from: &str, to: String| json!({"op": "copy", "from": from, "path": to});
        let doubling: Vec<Value> = (0..60).map(|n| copy("/spec", format!("/spec/z{n}"))).collect();
        let mut nesting = vec![json!({"op": "add", "path": "/spec/a", "value": {"b": {}}})];
        nesting.extend(
            (0..20).map(|n| copy("/spec/a", format!("/spec/a{}/b", "/b".repeat((1 << n.min(6)) - 1)))),
        );
        let text = json!([{"op": "add", "path": "/spec/t", "value": "x".repeat(1_000_000)}, {"op": "copy", "from": "/spec/t", "path": "/spec/u"}]);
        let deep = (0..120).fold(json!({}), |inner, _| json!({"a": inner}));
        let wide = json!({"spec": {"x": vec![json!(1); 30_000]}});
        let many: Vec<Value> =
            (0..201).map(|n| json!({"op": "add", "path": "/spec/replicas", "value": n})).collect();
        for mode in [OverrideMode::Restricted, OverrideMode::Unrestricted] {
            for (patch, words) in [
                (operations(&json!(doubling)), "too large or too deeply nested"),
                (operations(&json!(nesting)), "too large or too deeply nested"),
                (operations(&text), "too large or too deeply nested"),
                (merge("Deployment", "istiod", &deep), "nested too deeply"),
                (operations(&json!([{"op": "add", "path": "/spec/a", "value": deep}])), "nested too deeply"),
                (merge("Deployment", "istiod", &wide), "too large"),
                (operations(&json!(many)), "too many operations"),
            ] {
                let result = super::apply(&[patch], mode, &mut objects());
                assert!(
                    result.problems.iter().any(|problem| problem.message.contains(words)),
                    "{words}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn the_predicted_size_bounds_the_patched_size() {
        let object = json!({"a": {"b": [1, 2, {"c": "d"}]}, "e": "f"});
        for operation in [
            json!({"op": "add", "path": "/a/b/-", "value": {"x": {"y": "z"}}}),
            json!({"op": "add", "path": "/a/x", "value": [1, [2, [3]]]}),
            json!({"op": "copy", "from": "/a", "path": "/a/b/2/c"}),
            json!({"op": "move", "from": "/a/b", "path": "/e"}),
            json!({"op": "remove", "path": "/a"}),
            json!({"op": "replace", "path": "/e", "value": {"x": [[]]}}),
        ] {
            let operation: json_patch::PatchOperation = serde_json::from_value(operation).unwrap();
            let mut after = object.clone();
            json_patch::patch(&mut after, std::slice::from_ref(&operation)).unwrap();
            let (predicted, size) = (ValueSize::after(&object, &operation), ValueSize::of(&after));
            assert!(
                size.nodes <= predicted.nodes
                    && size.depth <= predicted.depth
                    && size.bytes <= predicted.bytes + 8,
                "{operation:?}: {size:?} {predicted:?}"
            );
        }
    }
}
