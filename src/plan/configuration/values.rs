//! Values of Istio's charts that a user sets (`spec.values`): over the base configuration, below the fields of the
//! resource.
//!
//! Pure. A value without effect is as bad as one with a wrong name: settings of the base configuration outside of the
//! values, which would win, are brought in line. A null stays in the document, so that the chart's default goes, too.

use std::collections::BTreeSet;

use istio_charts::ValueNames;
use serde_json::{Map, Value, json};

use super::allow_list::{self, Audience};
use super::merge::{merge, merge_user_values};
use super::{mesh, mesh_oneofs, mesh_values};
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY};
use crate::plan::{AdministratorValues, OverrideMode};
use crate::validate::Problem;

/// Most characters of the path of an unknown value in a message.
const MAX_PATH: usize = 200;

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

/// Where a component has its values, and its settings in the document that win over them.
const COMPONENTS: [(&[&str], &str, Option<&str>); 4] = [
    (&["pilot"], "pilot", None),
    (&["cni"], "cni", None),
    (&["gateways", INGRESS_GATEWAY], "ingressGateways", Some(INGRESS_GATEWAY)),
    (&["gateways", EGRESS_GATEWAY], "egressGateways", Some(EGRESS_GATEWAY)),
];

/// What is wrong with the values of a resource (`spec.values`), given the names that the charts of Istio `version` know.
#[must_use]
pub fn check(
    values: &Map<String, Value>,
    mode: OverrideMode,
    names: &ValueNames,
    version: &str,
) -> Vec<Problem> {
    let audience = match mode {
        OverrideMode::Restricted => Audience::RestrictedAuthor,
        OverrideMode::Unrestricted => Audience::UnrestrictedAuthor,
    };
    problems(values, audience, names, version)
}

/// What is wrong with the administrator's values: names that nothing knows, and values that the operator would ignore.
#[must_use]
pub fn check_administrator_values(
    values: &AdministratorValues,
    names: &ValueNames,
    version: &str,
) -> Vec<Problem> {
    problems(values.as_map(), Audience::Administrator, names, version)
}

fn problems(
    values: &Map<String, Value>,
    audience: Audience,
    names: &ValueNames,
    version: &str,
) -> Vec<Problem> {
    let prefix = audience.prefix();
    let listed = allow_list::check(values, audience);
    // What the list says of a value tells more than that no chart reads it, but for "not on the list".
    let reviewed: BTreeSet<&str> = listed
        .iter()
        .filter(|problem| !allow_list::is_unreviewed(problem))
        .map(|problem| problem.field.as_str())
        .collect();
    let mut problems = unknown(values, prefix, names);
    problems.retain(|problem| !reviewed.contains(problem.field.as_str()));
    if let Some(mesh) = values.get(MESH) {
        let place = format!("{prefix}{MESH}");
        problems.extend(mesh_values::check(mesh, &place, version));
        problems.extend(mesh_oneofs::check(mesh, &place));
    }
    // A wrong name or a type that Istio cannot read says more than that the list does not have it.
    let reported: BTreeSet<String> = problems.iter().map(|problem| problem.field.clone()).collect();
    problems.extend(listed.into_iter().filter(|problem| !reported.contains(&problem.field)));
    problems
}

/// Names that no chart knows, with the one that was probably meant.
fn unknown(values: &Map<String, Value>, prefix: &str, names: &ValueNames) -> Vec<Problem> {
    let unknown = names.unknown(&Value::Object(values.clone())).into_iter().map(|unknown| {
        let advice = unknown.suggestion.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
        Problem::warning(
            format!("{prefix}{}", allow_list::shortened(&unknown.path, MAX_PATH)),
            format!("Istio's charts have no such value{advice}"),
        )
    });
    unknown.collect()
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
    // Whole in themselves: the chart renders the value, and the base has no say any more.
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
