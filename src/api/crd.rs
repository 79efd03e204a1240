//! Generates the CRD of the `Istio` resource from its Rust types; used by developers only.
//! Field names, types and descriptions come from the types. This corrects what the generator does not know about Kubernetes.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::Istio;

fn generated_crd() -> Value {
    let mut value = serde_json::to_value(Istio::crd()).unwrap();
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for schema in versions.iter_mut().filter_map(|version| version.pointer_mut("/schema/openAPIV3Schema"))
        {
            make_top_level_optional(schema);
            correct_schema(schema);
            if let Some(spec) = schema.pointer_mut("/properties/spec") {
                add_bounds(spec, "spec");
            }
        }
    }
    value["spec"]["names"]["listKind"] = json!("IstioList");
    value
}

/// An `Istio` resource without a spec is valid: it describes the default installation.
fn make_top_level_optional(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("required");
        schema.insert("description".into(), json!("Istio describes which Istio to have in this cluster."));
        schema.remove("title");
    }
}

/// Converts a number with a fractional part of zero to an integer.
fn as_whole_number(value: &Value) -> Option<Value> {
    let number = value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0)?;
    format!("{number:.0}").parse::<i64>().ok().map(Value::from)
}

/// Makes the schema what Kubernetes wants: without `nullable` (an absent field is absent, as in the Go operator's
/// schema), without defaults (they are decided where a configuration is planned), without formats unknown to it, with the
/// one form of `anyOf` that goes with a number or text, and with bounds as whole numbers.
fn correct_schema(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                map.remove("format");
            }
            map.remove("default");
            if map.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                map.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
            }
            for bound in ["minimum", "maximum"] {
                if let Some(whole) = map.get(bound).and_then(as_whole_number) {
                    map.insert(bound.into(), whole);
                }
            }
            map.values_mut().for_each(correct_schema);
        }
        Value::Array(items) => items.iter_mut().for_each(correct_schema),
        _ => {}
    }
}

/// Default maximum number of items of a list or a map; see [`FIELD_BOUNDS`] for exceptions.
const MAX_ITEMS: u64 = 100;
/// Default maximum length of a string; see [`FIELD_BOUNDS`] for exceptions. No name, host or quantity is longer.
const MAX_LENGTH: u64 = 4096;
/// Bounds of fields that differ from the defaults. They are generous for everything that the Go operator accepts.
const FIELD_BOUNDS: [(&str, u64); 4] = [
    ("spec.config.authorizers", 200),
    ("spec.config.proxyStatsMatcher.inclusionRegexps", 500),
    ("spec.config.proxyStatsMatcher.inclusionRegexps[]", 64 << 10),
    ("spec.patches[].json", 200),
];

/// Gives every list, map and string below `path` a bound that the API server enforces.
fn add_bounds(schema: &mut Value, path: &str) {
    let Some(map) = schema.as_object_mut() else { return };
    let usual =
        |usual: u64| FIELD_BOUNDS.iter().find(|(known, _)| *known == path).map_or(usual, |(_, most)| *most);
    let (keyword, most) = match map.get("type").and_then(Value::as_str) {
        Some("array") => ("maxItems", usual(MAX_ITEMS)),
        Some("string") if !map.contains_key("enum") => ("maxLength", usual(MAX_LENGTH)),
        Some("object") if map.contains_key("additionalProperties") => ("maxProperties", usual(MAX_ITEMS)),
        _ => ("", 0),
    };
    if !keyword.is_empty() {
        map.entry(keyword).or_insert(json!(most));
    }
    for (name, property) in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        add_bounds(property, &format!("{path}.{name}"));
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(below) = map.get_mut(keyword) {
            add_bounds(below, &format!("{path}{suffix}"));
        }
    }
}

fn generated_text() -> String {
    gotemplate::yaml::json_to_string(&generated_crd()) + "\n"
}

fn spec_schema() -> Value {
    generated_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn any_map_matches(schema: &Value, holds: &dyn Fn(&serde_json::Map<String, Value>) -> bool) -> bool {
    match schema {
        Value::Object(map) => holds(map) || map.values().any(|value| any_map_matches(value, holds)),
        Value::Array(items) => items.iter().any(|value| any_map_matches(value, holds)),
        _ => false,
    }
}

/// `UPDATE=1 cargo test`, or `make generate`, writes the file.
#[test]
fn the_committed_crd_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/istios.operator.kyma-project.io.yaml");
    let generated = generated_text();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == generated, "{} is not up to date, run: UPDATE=1 cargo test", path.display());
}

#[test]
fn the_crd_is_valid_for_kubernetes() {
    let crd: CustomResourceDefinition = serde_json::from_value(generated_crd()).unwrap();
    assert_eq!(crd.metadata.name.as_deref(), Some("istios.operator.kyma-project.io"));
    assert_eq!(crd.spec.names.categories, Some(vec!["kyma-modules".to_owned(), "kyma-istio".to_owned()]));
}

#[test]
fn the_schema_has_no_defaults_nullables_or_unknown_formats() {
    let schema = spec_schema();
    assert!(!any_map_matches(&schema, &|map| map.contains_key("default")));
    assert!(!any_map_matches(&schema, &|map| map.contains_key("nullable")));
    assert!(!any_map_matches(&schema, &|map| {
        map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint"))
    }));
}

#[test]
fn fields_are_required_where_the_go_operator_requires_them() {
    let schema = spec_schema();
    for (path, required) in [
        ("", json!(null)),
        ("/properties/spec", json!(null)),
        ("/properties/status", json!(["state"])),
        ("/properties/spec/properties/config", json!(null)),
        ("/properties/spec/properties/config/properties/authorizers/items", json!(["name", "port"])),
        ("/properties/spec/properties/components/properties/pilot", json!(["k8s"])),
        ("/properties/spec/properties/components/properties/ingressGateway", json!(["k8s"])),
        ("/properties/spec/properties/components/properties/egressGateway", json!(null)),
        ("/properties/spec/properties/components/properties/cni", json!(["k8s"])),
        ("/properties/spec/properties/components/properties/proxy", json!(["k8s"])),
    ] {
        let part = schema.pointer(path).unwrap();
        assert_eq!(part["required"], required, "{path}");
    }
}

#[test]
fn rolling_update_parameters_have_validation_rules() {
    let rules = generated_text().matches("x-kubernetes-validations").count();
    assert_eq!(rules, 6);
}

#[test]
fn every_list_map_and_text_of_a_spec_is_bounded() {
    let schema = spec_schema();
    let spec = &schema["properties"]["spec"];
    // `anyOf` of a number or text repeats the types without bounds; its pattern bounds the text.
    let both = json!([{"type": "integer"}, {"type": "string"}]).to_string();
    let spec: Value = serde_json::from_str(&spec.to_string().replace(&both, "[]")).unwrap();
    assert!(!any_map_matches(&spec, &|map| match map.get("type").and_then(Value::as_str) {
        Some("array") => !map.contains_key("maxItems"),
        Some("string") => !map.contains_key("maxLength") && !map.contains_key("enum"),
        Some("object") => map.contains_key("additionalProperties") && !map.contains_key("maxProperties"),
        _ => false,
    }));
    for (path, keyword, most) in [
        ("config/properties/authorizers", "maxItems", 200),
        ("config/properties/authorizers/items/properties/name", "maxLength", 4096),
        ("patches", "maxItems", 100),
        ("patches/items/properties/json", "maxItems", 200),
    ] {
        assert_eq!(spec.pointer(&format!("/properties/{path}/{keyword}")), Some(&json!(most)), "{path}");
    }
}
