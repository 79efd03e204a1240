//! Values of Istio's charts that a user sets (`spec.values`): over the base configuration, below the fields of the
//! resource.
//!
//! Pure. A value without effect is as bad as one with a wrong name: settings of the base configuration outside of the
//! values, which would win, are brought in line. A null stays in the document, so that the chart's default goes, too.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use gotemplate::yaml;
use istio_charts::ValueNames;
use serde_json::{Map, Value, json};

use super::allow_list::{self, Audience, Refusal};
use super::merge::{merge, merge_user_values};
use super::{mesh, mesh_oneofs, mesh_values};
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY};
use crate::plan::{AdministratorValues, OverrideMode};
use crate::text::escaped;
use crate::validate::Problem;

/// Most characters of the path of an unknown value in a message.
const MAX_PATH: usize = 200;

/// Values below `global` that the injection template of Istio prints without a default (`getAnnotation` in
/// `pkg/kube/inject/template.go`, ports, and probes): without them it prints `<nil>`, and no pod of the mesh starts.
const NEEDED_BY_INJECTION: [&str; 10] = [
    "proxy.excludeIPRanges",
    "proxy.excludeInboundPorts",
    "proxy.excludeOutboundPorts",
    "proxy.includeIPRanges",
    "proxy.includeInboundPorts",
    "proxy.readinessFailureThreshold",
    "proxy.readinessInitialDelaySeconds",
    "proxy.readinessPeriodSeconds",
    "proxy.startupProbe.failureThreshold",
    "proxy.statusPort",
];

/// Name of the mesh configuration among the values.
const MESH: &str = "meshConfig";
/// Maps of texts among the values: annotations, labels, and selectors of labels. YAML reads `true` and `1` as something else.
const TEXT_MAPS: [&str; 11] = [
    "annotations",
    "daemonSetLabels",
    "defaultNodeSelector",
    "deploymentAnnotations",
    "deploymentLabels",
    "injectedAnnotations",
    "labels",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "serviceAnnotations",
];
/// What values are where nobody sets them.
static DEFAULTS: LazyLock<Value> =
    LazyLock::new(|| yaml::parse_json(include_str!("defaults.yaml")).unwrap_or_default());

/// Where a component has its values, and its settings in the document that win over them.
const COMPONENTS: [(&[&str], &str, Option<&str>); 4] = [
    (&["pilot"], "pilot", None),
    (&["cni"], "cni", None),
    (&["gateways", INGRESS_GATEWAY], "ingressGateways", Some(INGRESS_GATEWAY)),
    (&["gateways", EGRESS_GATEWAY], "egressGateways", Some(EGRESS_GATEWAY)),
];

/// What values are checked against.
#[derive(Clone, Copy, Debug)]
pub struct ValueRules<'a> {
    /// The names that the charts know.
    pub names: &'a ValueNames,
    /// The version of Istio.
    pub version: &'a str,
    /// The document without the values that are checked.
    pub document: &'a Value,
}

/// Values of an author that were checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckedValues {
    /// The values, without those that are closed and say only what holds anyway.
    pub values: Map<String, Value>,
    /// What is wrong with them.
    pub problems: Vec<Problem>,
}

/// Checks the values of a resource (`spec.values`).
#[must_use]
pub fn check_values(values: &Map<String, Value>, mode: OverrideMode, rules: ValueRules<'_>) -> CheckedValues {
    let audience = match mode {
        OverrideMode::Restricted => Audience::RestrictedAuthor,
        OverrideMode::Unrestricted => Audience::UnrestrictedAuthor,
    };
    let (restated, refusals) = refusals(values, audience, rules);
    let mut values = values.clone();
    for path in restated.iter().filter_map(|refusal| refusal.path.as_deref()) {
        remove(&mut values, path);
    }
    let problems = problems(&values, audience, rules, refusals);
    CheckedValues { values, problems }
}

/// What is wrong with the administrator's values: names that nothing knows, and values that the operator would ignore.
///
/// The document has these values, so that it does not show whether they change anything.
#[must_use]
pub fn check_administrator_values(values: &AdministratorValues, rules: ValueRules<'_>) -> Vec<Problem> {
    let values = values.as_map();
    problems(values, Audience::Administrator, rules, allow_list::check(values, Audience::Administrator))
}

/// What the list refuses: first the values that say what holds anyway, then the others.
fn refusals(
    values: &Map<String, Value>,
    audience: Audience,
    rules: ValueRules<'_>,
) -> (Vec<Refusal>, Vec<Refusal>) {
    let is_restated = |refusal: &Refusal| {
        let Some((path, (first, rest))) =
            refusal.path.as_ref().zip(refusal.path.as_ref().and_then(|p| p.split_first()))
        else {
            return false;
        };
        let value = rest.iter().try_fold(values.get(first), |node, name| Some(node?.get(name))).flatten();
        value
            .zip(effective_value(rules.document, path))
            .is_some_and(|(value, effective)| says_the_same(value, effective))
    };
    allow_list::check(values, audience).into_iter().partition(is_restated)
}

/// What a value is without those that are checked: in the document, else by the default of the charts or of istiod.
fn effective_value<'v>(document: &'v Value, path: &[String]) -> Option<&'v Value> {
    let is_mesh = path.first().is_some_and(|name| name == "meshConfig");
    let find = |root: Option<&'v Value>| path.iter().try_fold(root?, |node, name| node.get(name));
    let (own, default) = if is_mesh {
        (document.get("spec"), Some(&*DEFAULTS))
    } else {
        (document.pointer("/spec/values"), DEFAULTS.get("values"))
    };
    // Below a null there is nothing, not the default.
    if first_null(own, path).is_some() {
        return None;
    }
    find(own).or_else(|| find(default))
}

/// How many names of `path` lead from `root` to a null.
fn first_null<T: AsRef<str>>(root: Option<&Value>, path: &[T]) -> Option<usize> {
    let mut node = root?;
    for (depth, name) in path.iter().enumerate() {
        node = node.get(name.as_ref())?;
        if node.is_null() {
            return Some(depth + 1);
        }
    }
    None
}

/// Whether a value, of which maps may be partial, changes nothing.
fn says_the_same(value: &Value, effective: &Value) -> bool {
    match (value, effective) {
        (Value::Object(value), Value::Object(effective)) => value.iter().all(|(name, value)| {
            effective.get(name).is_some_and(|effective| says_the_same(value, effective))
        }),
        (value, effective) => value == effective,
    }
}

/// Removes the value at `path`, and the maps that become empty by that.
fn remove(values: &mut Map<String, Value>, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let is_empty = match (rest, values.get_mut(first)) {
        ([], _) => true,
        (rest, Some(Value::Object(below))) => {
            remove(below, rest);
            below.is_empty()
        }
        _ => false,
    };
    if is_empty {
        values.shift_remove(first);
    }
}

fn problems(
    values: &Map<String, Value>,
    audience: Audience,
    rules: ValueRules<'_>,
    refusals: Vec<Refusal>,
) -> Vec<Problem> {
    let prefix = audience.prefix();
    let refused = |refusal: Refusal| (refusal.is_unreviewed(), refusal.into_problem(audience));
    let listed: Vec<(bool, Problem)> = refusals.into_iter().map(refused).collect();
    // What the list says of a value tells more than that no chart reads it, unless the list does not have it.
    let reviewed: BTreeSet<&str> = listed
        .iter()
        .filter(|(is_unreviewed, _)| !is_unreviewed)
        .map(|(_, problem)| &*problem.field)
        .collect();
    let mut problems = unknown(values, prefix, rules.names);
    problems.retain(|problem| !reviewed.contains(problem.field.as_str()));
    if let Some(mesh) = values.get(MESH) {
        let place = format!("{prefix}{MESH}");
        problems.extend(mesh_values::check(mesh, &place, rules.version));
        problems.extend(mesh_oneofs::check(mesh, &place));
    }
    problems.extend(removed_inputs_of_injection(values, prefix));
    // A wrong name or a type that Istio cannot read says more than that the list does not have it.
    let reported: BTreeSet<String> = problems.iter().map(|problem| problem.field.clone()).collect();
    let listed = listed.into_iter().map(|(_, problem)| problem);
    problems.extend(listed.filter(|problem| !reported.contains(&problem.field)));
    problems
}

/// Values of all proxies that must not be null, with the place of the null.
fn removed_inputs_of_injection(values: &Map<String, Value>, prefix: &str) -> Vec<Problem> {
    let global = values.get("global");
    let removed: BTreeSet<String> = NEEDED_BY_INJECTION
        .iter()
        .filter_map(|path| {
            let path: Vec<&str> = path.split('.').collect();
            let depth = first_null(global, &path)?;
            // Without the startup probe as a whole, none is printed.
            (depth == 1 || depth == path.len()).then(|| path[..depth].join("."))
        })
        .collect();
    let problem = |path: String| {
        Problem::warning(
            format!("{prefix}global.{path}"),
            "null is not possible here, because Istio's injection template has no default for it. Set a value",
        )
    };
    removed.into_iter().map(problem).collect()
}

/// Names that no chart knows, with the one that was probably meant.
fn unknown(values: &Map<String, Value>, prefix: &str, names: &ValueNames) -> Vec<Problem> {
    let unknown = names.unknown(&Value::Object(values.clone())).into_iter().map(|unknown| {
        let suggestion = unknown.suggestion.filter(|known| is_useful(&unknown.path, known));
        let advice = suggestion.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
        Problem::warning(
            format!("{prefix}{}", escaped(&unknown.path, MAX_PATH)),
            format!("Istio's charts have no such value{advice}"),
        )
    });
    unknown.collect()
}

/// Whether a suggestion helps: the value of another component changes something else, and a closed one is refused, too.
fn is_useful(path: &str, suggestion: &str) -> bool {
    component(path) == component(suggestion) && !allow_list::is_closed(suggestion)
}

/// The section of a component: `pilot`, or `gateways.istio-ingressgateway`.
fn component(path: &str) -> &str {
    let depth = if path.starts_with("gateways.") { 2 } else { 1 };
    path.match_indices('.').nth(depth - 1).map_or("", |(end, _)| &path[..end])
}

/// Merges `values` into the base document.
pub(super) fn merge_into(document: &mut Value, values: &Map<String, Value>) {
    let mut values = Value::Object(values.clone());
    let mesh = values.as_object_mut().and_then(|values| values.shift_remove(MESH));
    write_as_text(&mut values);
    mesh::drop_replaced_tracer(document, &values);
    // Elsewhere in the document, so that the fields of the resource, which come later, win over it.
    if let Some(mesh) = mesh {
        mesh::merge_values(document, &mesh);
    }
    for (path, component, gateway) in COMPONENTS {
        let own = path.iter().try_fold(&values, |node, name| node.get(*name));
        if let (Some(own), Some(settings)) =
            (own.and_then(Value::as_object), settings(document, component, gateway))
        {
            align(settings, own);
        }
    }
    merge_user_values(document, &json!({"spec": {"values": values}}));
}

/// Makes texts of the numbers and booleans in maps that hold texts in Kubernetes, as Helm's `quote` does.
fn write_as_text(values: &mut Value) {
    for (name, value) in values.as_object_mut().into_iter().flatten() {
        match value {
            Value::Object(entries) if TEXT_MAPS.contains(&name.as_str()) => {
                for entry in entries.values_mut().filter(|entry| entry.is_boolean() || entry.is_number()) {
                    *entry = Value::String(entry.to_string());
                }
            }
            value => write_as_text(value),
        }
    }
}

/// The `k8s` settings of a component in the document.
fn settings<'d>(document: &'d mut Value, component: &str, gateway: Option<&str>) -> Option<&'d mut Value> {
    let component = document.pointer_mut("/spec/components")?.get_mut(component)?;
    let item = match gateway {
        None => component,
        Some(name) => component.as_array_mut()?.iter_mut().find(|item| item["name"] == name)?,
    };
    item.get_mut("k8s")
}

/// Brings the settings of a component, which are applied to the rendered objects, in line with its values.
fn align(settings: &mut Value, values: &Map<String, Value>) {
    for (value, pointer) in [
        ("resources", "resources"),
        ("podAnnotations", "podAnnotations"),
        ("serviceAnnotations", "serviceAnnotations"),
        ("autoscaleMin", "hpaSpec.minReplicas"),
        ("autoscaleMax", "hpaSpec.maxReplicas"),
        ("rollingMaxSurge", "strategy.rollingUpdate.maxSurge"),
        ("rollingMaxUnavailable", "strategy.rollingUpdate.maxUnavailable"),
    ] {
        if let Some(value) = values.get(value) {
            let layer = pointer.rsplit('.').fold(value.clone(), |inner, name| json!({name: inner}));
            // A null deletes the field from the rendered object.
            merge_user_values(settings, &layer);
        }
    }
    // Whole in themselves: the chart renders the value, and the base no longer applies.
    if values.contains_key("affinity") {
        merge(settings, &json!({"affinity": null}));
    }
    if ["cpu", "memory", "autoscaleBehavior"].iter().any(|metric| values.contains_key(*metric)) {
        merge(settings, &json!({"hpaSpec": {"metrics": null}}));
    }
    let names = values.get("env").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    if let Some(env) = settings.get_mut("env").and_then(Value::as_array_mut) {
        names.for_each(|name| env.retain(|variable| variable["name"] != name.as_str()));
    }
}
