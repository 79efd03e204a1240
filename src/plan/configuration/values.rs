//! Values of Istio's charts that a user sets (`spec.values`): over the base configuration, below the fields of the
//! resource.
//!
//! Pure. A value that would have no effect is as bad as one with a wrong name: what the base configuration says outside of
//! the values, and would win there, is brought in line.

use istio_charts::ValueNames;
use serde_json::{Map, Value, json};

use super::merge::merge;
use super::mesh_values;
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY};
use crate::validate::Problem;

/// Values that something else decides, with what to do instead.
const DECIDED_ELSEWHERE: [(&[&str], &str); 7] = [
    (
        &[
            "global.hub",
            "global.tag",
            "global.variant",
            "global.proxy.image",
            "global.proxy_init.image",
            "pilot.hub",
            "pilot.tag",
            "pilot.image",
            "pilot.variant",
            "cni.hub",
            "cni.tag",
            "cni.image",
            "cni.variant",
            "ztunnel.hub",
            "ztunnel.tag",
            "ztunnel.image",
            "ztunnel.variant",
        ],
        "images are set by environment variables of the operator",
    ),
    (&["meshConfig.trustDomain"], "use spec.config.trustDomain"),
    (&["gateways.istio-egressgateway.enabled"], "use spec.components.egressGateway.enabled"),
    (&["pilot.enabled", "cni.enabled", "pilot.cni.enabled"], "use the ConfigMap kyma-system/istio-features"),
    (
        &["global.istioNamespace", "revision", "revisionTags", "defaultRevision", "meshConfig.rootNamespace"],
        "the operator installs the default revision in istio-system",
    ),
    (
        &[
            "gateways.istio-ingressgateway.name",
            "gateways.istio-ingressgateway.labels",
            "gateways.istio-egressgateway.name",
            "gateways.istio-egressgateway.labels",
        ],
        "Services and Gateway resources of users refer to the names and labels of the gateways",
    ),
    (&["profile", "global.platform", "platform"], "the operator chooses by what it sees of the cluster"),
];

/// Where a component has its values, and its settings in the document that win over them.
const COMPONENTS: [(&[&str], &str, Option<&str>); 4] = [
    (&["pilot"], "pilot", None),
    (&["cni"], "cni", None),
    (&["gateways", INGRESS_GATEWAY], "ingressGateways", Some(INGRESS_GATEWAY)),
    (&["gateways", EGRESS_GATEWAY], "egressGateways", Some(EGRESS_GATEWAY)),
];

/// What is wrong with `values`, given the names that the charts of Istio `version` know.
#[must_use]
pub fn check(values: &Map<String, Value>, names: &ValueNames, version: &str) -> Vec<Problem> {
    let mesh = values.get("meshConfig").map(|mesh| mesh_values::check(mesh, version)).unwrap_or_default();
    let values = Value::Object(values.clone());
    let unknown = names.unknown(&values).into_iter().map(|unknown| {
        let advice = unknown.suggestion.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
        Problem::warning(
            format!("spec.values.{}", unknown.path),
            format!("Istio's charts have no such value{advice}"),
        )
    });
    let decided = DECIDED_ELSEWHERE.iter().flat_map(|(paths, advice)| {
        let set = paths.iter().filter(|path| get(&values, path).is_some());
        set.map(move |path| {
            Problem::warning(format!("spec.values.{path}"), format!("cannot be set here: {advice}"))
        })
    });
    unknown.chain(mesh).chain(decided).collect()
}

fn get<'v>(values: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(values, |node, name| node.get(name))
}

/// Merges `values` into the base document.
pub(super) fn merge_into(document: &mut Value, values: &Map<String, Value>) {
    let mut values = Value::Object(values.clone());
    // Elsewhere in the document, so that the fields of the resource, which come later, win over it.
    if let Some(mesh) = values.as_object_mut().and_then(|values| values.shift_remove("meshConfig")) {
        merge(document, &json!({"spec": {"meshConfig": mesh}}));
    }
    for (path, component, gateway) in COMPONENTS {
        let own = path.iter().try_fold(&values, |node, name| node.get(*name));
        if let (Some(own), Some(settings)) =
            (own.and_then(Value::as_object), settings(document, component, gateway))
        {
            align(settings, own);
        }
    }
    merge(document, &json!({"spec": {"values": values}}));
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
            merge(settings, &layer);
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
