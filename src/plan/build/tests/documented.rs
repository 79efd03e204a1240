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
    let test = TestInput::on(ClusterFacts::default());
    let names = known_value_names(&test.bundle).unwrap();
    let document = document(&ValidatedSpec::default(), test.input()).unwrap();
    let rules = ValueRules { names: &names, version: test.bundle.version(), document: &document };
    for (_, values) in configuration::allowed_samples() {
        let checked = check_values(values.as_object().unwrap(), OverrideMode::Restricted, rules);
        assert_eq!(checked.problems, [], "{values}");
    }
}

/// A test that fails when the list allows what the comparison of renderings refuses, so that no document
/// calls a value allowed that is refused.
///
/// Many in one resource, as a rendering each would take minutes. Items of lists replace each other when they are merged, so
/// that complete ones follow as one resource.
#[test]
fn allowed_values_pass_the_rendering_policy() {
    let ports = json!([
        {"name": "status-port", "port": 15021, "targetPort": 15021, "protocol": "TCP"},
        {"name": "https", "port": 443, "targetPort": 8443, "nodePort": 30443, "appProtocol": "https"},
    ]);
    let headers = json!([{"name": "x-tenant", "value": "a: {b} #c"}]);
    let items = json!({
        "gateways": {"istio-ingressgateway": {"ports": ports}, "istio-egressgateway": {"ports": ports}},
        "meshConfig": {"extensionProviders": [
            {"name": "a", "zipkin": {"service": "z.o", "port": 9411, "timeout": "5s", "path": "/x", "headers": headers}},
            {"name": "b", "opentelemetry": {"service": "o/p.q", "port": 1, "http": {"path": "/x", "timeout": "1s", "headers": headers}}},
            {"name": "c", "opentelemetry": {"service": "o.p", "port": 1, "grpc": {"timeout": "500ms", "initialMetadata": headers},
                "resourceDetectors": {"environment": {}}}},
            {"name": "d", "envoyHttpAls": {"service": "o.p", "port": 1, "additionalRequestHeadersToLog": [":path", "x-a"]}},
            {"name": "e", "envoyFileAccessLog": {"path": "/dev/stdout", "logFormat": {"labels": {"a": "%PROTOCOL%", "b": {"c": "%REQ(X)%"}}}}},
            {"name": "f", "envoyOtelAls": {"service": "o.p", "port": 1, "logName": "x", "logFormat": {"text": "%START_TIME%\n"}}},
            {"name": "g", "datadog": {"service": "o.p", "port": 1}},
            {"name": "h", "skywalking": {"service": "o.p", "port": 1, "accessToken": "abc=="}},
            {"name": "i", "prometheus": {}},
        ]},
    });
    let samples: Vec<Value> = configuration::allowed_samples()
        .into_iter()
        .filter(|(path, _)| !path.contains("[]."))
        .map(|(_, values)| values)
        .chain([items])
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
