//! What the documentation shows is accepted in restricted mode, and so is a value of each path on the allow-list.

use gotemplate::yaml;

use super::*;

/// The YAML blocks of a page.
fn blocks(page: &str) -> Vec<Value> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| yaml::parse_json(block).unwrap()).collect()
}

#[test]
fn every_example_of_the_documentation_is_accepted_in_restricted_mode() {
    let pages =
        [include_str!("../../../../docs/user/README.md"), include_str!("../../../../docs/user/sidecars.md")];
    let mut examples: Vec<Value> = pages.iter().flat_map(|page| blocks(page)).collect();
    examples.push(yaml::parse_json(include_str!("../../../../config/samples/istio.yaml")).unwrap());
    let specs: Vec<Value> = examples.iter().filter_map(|example| example.get("spec").cloned()).collect();
    assert!(specs.iter().filter(|spec| spec.get("values").is_some()).count() >= 2, "{specs:?}");
    for spec in specs {
        built_plan(spec);
    }
}

#[test]
fn a_value_of_each_path_on_the_list_is_accepted_by_name_and_kind() {
    let bundle = Bundle::embedded();
    let images = Images::official(bundle.version());
    let input = PlanInput {
        bundle: &bundle,
        facts: &ClusterFacts::default(),
        images: &images,
        kubernetes_version: "v1.36.0",
        allow_patches: false,
        override_mode: OverrideMode::Restricted,
        administrator_values: &AdministratorValues::default(),
        owner: None,
    };
    let names = known_value_names(input).unwrap();
    for (_, values) in configuration::allowed_samples() {
        let problems =
            check_values(values.as_object().unwrap(), OverrideMode::Restricted, &names, bundle.version());
        assert_eq!(problems, [], "{values}");
    }
}

/// A test that fails when the list allows what the comparison of renderings refuses, so that nobody is told that a value
/// is allowed which is not.
///
/// Many in one resource, as a rendering each would take minutes. The fields of a list's items need each other, so that they
/// are among the samples above only.
#[test]
fn allowed_values_pass_the_rendering_policy() {
    let samples: Vec<Value> = configuration::allowed_samples()
        .into_iter()
        .filter(|(path, _)| !path.contains("[]."))
        .map(|(_, values)| values)
        .collect();
    let mut refused = Vec::new();
    for values in samples.chunks(24) {
        let mut left: Vec<&Value> = values.iter().collect();
        while !left.is_empty() {
            let together = merge_compatible(&mut left);
            if let PlanOutcome::Rejected(rejection) = plan_outcome(json!({"values": together}), false) {
                refused.push(rejection.message);
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

/// Merges those of the values that do not exclude each other, and keeps the others.
fn merge_compatible(values: &mut Vec<&Value>) -> Value {
    let mut together = json!({});
    values.retain(|value| {
        let mut merged = together.clone();
        istio_charts::strategic_merge::merge(&mut merged, value);
        let excludes = !configuration::check_mesh_oneofs(&merged["meshConfig"], "").is_empty();
        if !excludes {
            together = merged;
        }
        excludes
    });
    together
}
