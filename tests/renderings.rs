//! What is rendered for installations of our own choosing, word for word, so that no change goes unseen.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test --test renderings`, and read the difference.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod matrix_cases;

use istio_manager::object::ObjectId;
use serde_json::Value;

use matrix_cases::Case;

/// Everything but the definitions, one object after the other. Of injection only what depends on the resource: the rest
/// of its templates is Istio's.
fn text(case: &Case) -> String {
    case.planned().unwrap().iter().map(|(id, object)| format!("{id}\n{}\n\n", shown(id, object))).collect()
}

fn shown(id: &ObjectId, object: &Value) -> String {
    let mut object = object.clone();
    if id.name == "istio-sidecar-injector" && id.kind == "ConfigMap" {
        let values: Value = serde_json::from_str(object["data"]["values"].as_str().unwrap()).unwrap();
        object["data"] = values;
    }
    if id.name == "values" && id.kind == "ConfigMap" {
        object["data"] = "a copy of all values, for debugging".into();
    }
    serde_json::to_string_pretty(&object).unwrap()
}

#[test]
fn a_small_cluster_without_any_wish() {
    insta::assert_snapshot!(text(&Case::plain().with("small", 1)));
}

#[test]
fn a_classic_load_balancer_on_aws_with_every_extra_resource() {
    let case = Case::plain()
        .with("provider", 4)
        .with("features", 2)
        .with("autoscaler definition", 1)
        .with("network policies", 1)
        .with("egress gateway", 1)
        .with("mesh and components", 1);
    insta::assert_snapshot!(text(&case));
}
