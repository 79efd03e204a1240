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
        planned(spec);
    }
}

#[test]
fn a_value_of_each_path_on_the_list_is_accepted_by_name_and_kind() {
    let bundle = Bundle::embedded();
    let images = Images::official(bundle.version());
    let basis = Basis {
        bundle: &bundle,
        facts: &ClusterFacts::default(),
        images: &images,
        kubernetes_version: "v1.36.0",
        allow_patches: false,
        override_mode: OverrideMode::Restricted,
        administrator_values: &AdministratorValues::default(),
        owner: None,
    };
    let names = known_names(basis).unwrap();
    for (_, values) in configuration::allowed_samples() {
        let problems =
            check_values(values.as_object().unwrap(), OverrideMode::Restricted, &names, bundle.version());
        assert_eq!(problems, [], "{values}");
    }
}

/// All of them in one resource, as a rendering each would take minutes. Lists of maps are among the samples above only: their
/// fields need each other.
#[test]
fn allowed_values_pass_the_rendering_and_the_second_wall() {
    let mut together = json!({});
    for (path, values) in configuration::allowed_samples() {
        if !path.contains("[].") {
            istio_charts::strategic_merge::merge(&mut together, &values);
        }
    }
    planned(json!({"values": together}));
}
