//! The layers of an installation's values: Istio's profile, the `IstioOperator` document, and the translation of its
//! top-level fields into chart values, then one view of them per component.
//!
//! Pure. The charts' own defaults and their built-in profiles are merged below all this by the charts themselves. No
//! cluster is asked here: settings for a provider are part of the document.

use super::component::{ComponentName, Item};
use crate::bundle::{Bundle, BundleError};
use serde_json::{Map, Value, json};

/// The document with the profile below it and its top-level fields translated into `spec.values`.
pub(super) fn merged_document(bundle: &Bundle, operator: &Value) -> Result<Value, BundleError> {
    let profile = operator
        .pointer("/spec/profile")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("default");
    // Every other profile is a difference to the default one.
    let mut document = bundle.profile("default")?;
    if profile != "default" {
        merge(&mut document, &bundle.profile(profile)?);
    }
    merge(&mut document, operator);
    translate(&mut document);
    // Values of the document win over its other fields.
    for user_values in ["/spec/values", "/spec/unvalidatedValues"] {
        if let Some(values) = operator.pointer(user_values).filter(|values| values.is_object()) {
            merge(entry(&mut document, &["spec", "values"]), values);
        }
    }
    Ok(document)
}

/// Merges maps key by key; anything else, null included, replaces.
pub(super) fn merge(target: &mut Value, source: &Value) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => {
            for (key, value) in source {
                match target.get_mut(key) {
                    Some(old @ Value::Object(_)) if value.is_object() => merge(old, value),
                    _ => {
                        target.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (target, source) => *target = source.clone(),
    }
}

fn translate(document: &mut Value) {
    const TEXTS: [(&str, &[&str]); 4] = [
        ("hub", &["global", "hub"]),
        ("tag", &["global", "tag"]),
        ("revision", &["revision"]),
        ("compatibilityVersion", &["compatibilityVersion"]),
    ];
    for (field, path) in TEXTS {
        if let Some(value) = document.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null()) {
            // A tag like 1.31 is a number in YAML and text everywhere else.
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            *values_entry(document, path) = Value::String(text);
        }
    }
    if let Some(mesh) = document.pointer("/spec/meshConfig").filter(|mesh| mesh.is_object()).cloned() {
        merge(values_entry(document, &["meshConfig"]), &mesh);
    }
    let is_on = |document: &Value, component: &str| {
        document.pointer(&format!("/spec/components/{component}/enabled")) == Some(&json!(true))
    };
    let (pilot, cni) = (is_on(document, "pilot"), is_on(document, "cni"));
    *values_entry(document, &["pilot", "enabled"]) = json!(pilot);
    *values_entry(document, &["pilot", "cni", "enabled"]) = json!(cni);
    if let Some(namespace) = document
        .pointer("/spec/values/global/istioNamespace")
        .filter(|name| name.as_str() != Some(""))
        .cloned()
    {
        *entry(document, &["metadata", "namespace"]) = namespace;
    }
}

/// The chart values of one item: `spec.values` of the merged document with the item's own settings copied in.
pub(super) fn chart_values(item: &Item, document: &Value) -> Value {
    let mut values = document.pointer("/spec/values").cloned().unwrap_or_else(|| json!({}));
    let own = entry(&mut values, item.component.values_path());
    if item.component.is_gateway() {
        copy_gateway_settings(item, own);
    }
    copy_scale(item, own);
    copy_cpu(item, own);
    for (key, value) in [("hub", &item.hub), ("tag", &item.tag)] {
        if let Some(value) = value {
            own[key] = value.clone();
        }
    }
    if item.component == ComponentName::Ztunnel {
        values = flattened(&values, item.component.values_path());
    }
    values
}

fn copy_gateway_settings(item: &Item, own: &mut Value) {
    if let Some(name) = &item.name {
        own["name"] = json!(name);
    }
    own["labels"] = Value::Object(item.labels.clone());
    let ports = item.k8s.get("service").and_then(|service| service.get("ports"));
    if let Some(ports) = ports.filter(|ports| ports.as_array().is_some_and(|ports| !ports.is_empty())) {
        own["ports"] = ports.clone();
    }
}

/// Conditions in the charts depend on values, such as that of a disruption budget on the number of replicas, so the values
/// must agree with what is patched in afterwards. Only Deployments scale.
fn copy_scale(item: &Item, own: &mut Value) {
    if item.component.workload().is_none_or(|workload| workload.kind != "Deployment") {
        return;
    }
    let autoscaler = item.k8s.get("hpaSpec");
    let settings = [
        ("autoscaleMin", autoscaler.and_then(|spec| spec.get("minReplicas"))),
        (
            "autoscaleMax",
            autoscaler.and_then(|spec| spec.get("maxReplicas")).filter(|max| max.as_i64() != Some(0)),
        ),
        ("replicaCount", item.k8s.get("replicaCount").filter(|count| count.as_i64() != Some(0))),
    ];
    for (key, value) in settings {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            own[key] = value.clone();
        }
    }
}

fn copy_cpu(item: &Item, own: &mut Value) {
    for bound in ["limits", "requests"] {
        let cpu = item.k8s.get("resources").and_then(|resources| resources.get(bound)?.get("cpu"));
        if let Some(cpu) = cpu.filter(|cpu| !cpu.is_null() && !is_zero(cpu)) {
            *entry(own, &["resources", bound, "cpu"]) = cpu.clone();
        }
    }
}

fn is_zero(quantity: &Value) -> bool {
    let digits = |text: &str| text.trim_end_matches(|c: char| c.is_alphabetic()).parse::<f64>();
    quantity.as_f64().or_else(|| digits(quantity.as_str()?).ok()).is_some_and(|number| number == 0.0)
}

/// The values of a chart that has its settings at the top level: `global`, top-level values that are not maps, and the
/// component's own settings over both.
fn flattened(values: &Value, path: &[&str]) -> Value {
    let Some(all) = values.as_object() else { return values.clone() };
    let mut flat: Map<String, Value> = all
        .iter()
        .filter(|(key, value)| *key == "global" || !value.is_object())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let own = path.iter().try_fold(values, |node, key| node.get(*key)).and_then(Value::as_object);
    flat.extend(own.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    Value::Object(flat)
}

fn values_entry<'a>(document: &'a mut Value, path: &[&str]) -> &'a mut Value {
    entry(entry(document, &["spec", "values"]), path)
}

/// The value at a path; anything on the way that is not a map becomes an empty one.
pub(super) fn entry<'a>(root: &'a mut Value, path: &[&str]) -> &'a mut Value {
    let mut node = root;
    for key in path {
        if !node.is_object() {
            *node = json!({});
        }
        node = &mut node[*key];
    }
    if !node.is_object() {
        *node = json!({});
    }
    node
}

#[cfg(test)]
mod tests {
    use super::super::component::{ComponentName, items};
    use super::{chart_values, merge, translate};
    use serde_json::{Value, json};

    fn values_of(component: ComponentName, spec: &Value) -> Value {
        let document = json!({"spec": spec});
        chart_values(&items(component, &document).unwrap()[0], &document)
    }

    #[test]
    fn null_replaces_and_stays() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        merge(&mut target, &json!({"a": {"b": null}, "d": [3]}));
        assert_eq!(target, json!({"a": {"b": null, "c": 2}, "d": [3]}));
    }

    #[test]
    fn top_level_fields_become_values() {
        let mut document = json!({"spec": {
            "hub": "docker.io/istio", "tag": 1.31, "meshConfig": {"trustDomain": "a"},
            "components": {"pilot": {"enabled": true}},
            "values": {"meshConfig": {"enableTracing": true}, "global": {"istioNamespace": "mesh"}}}});
        translate(&mut document);
        let values = &document["spec"]["values"];
        assert_eq!(values["global"]["hub"], "docker.io/istio");
        assert_eq!(values["global"]["tag"], "1.31");
        assert_eq!(values["meshConfig"], json!({"trustDomain": "a", "enableTracing": true}));
        assert_eq!(values["pilot"], json!({"enabled": true, "cni": {"enabled": false}}));
        assert_eq!(document["metadata"]["namespace"], "mesh");
    }

    #[test]
    fn the_charts_see_the_replicas_and_cpu_that_are_patched_in_later() {
        let values = values_of(
            ComponentName::Pilot,
            &json!({"components": {"pilot": {"tag": "x", "k8s": {"hpaSpec": {"minReplicas": 3, "maxReplicas": 15}, "replicaCount": 0,
                "resources": {"limits": {"cpu": "0"}, "requests": {"cpu": "100m", "memory": "1Gi"}}}}}}),
        );
        let expected = json!({"autoscaleMin": 3, "autoscaleMax": 15, "resources": {"requests": {"cpu": "100m"}}, "tag": "x"});
        assert_eq!(values["pilot"], expected);
    }

    #[test]
    fn a_gateway_takes_name_labels_and_ports_from_its_item() {
        let values = values_of(
            ComponentName::IngressGateways,
            &json!({"components": {"ingressGateways": [
                {"name": "edge", "label": {"istio": "edge"}, "k8s": {"service": {"ports": [{"port": 80}]}}}]}}),
        );
        let expected = json!({"name": "edge", "labels": {"istio": "edge"}, "ports": [{"port": 80}]});
        assert_eq!(values["gateways"]["istio-ingressgateway"], expected);
    }

    #[test]
    fn ztunnel_gets_its_settings_at_the_top_level() {
        let values = values_of(
            ComponentName::Ztunnel,
            &json!({"components": {"ztunnel": {"enabled": true}}, "values": {
                "global": {"hub": "h"}, "revision": "", "profile": "ambient", "meshConfig": {"a": 1}, "ztunnel": {"resourceName": "ztunnel"}}}),
        );
        assert_eq!(
            values,
            json!({"global": {"hub": "h"}, "revision": "", "profile": "ambient", "resourceName": "ztunnel"})
        );
    }
}
