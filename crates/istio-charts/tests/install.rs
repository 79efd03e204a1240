//! What an `IstioOperator` document becomes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like the tests")]

use istio_charts::{Bundle, Component, ComponentName, Error, Limits, render};
use serde_json::{Value, json};
use std::error::Error as _;
use std::time::Instant;

const KUBERNETES: &str = "v1.36.3";

fn operator(spec: &Value) -> Value {
    json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": "default-operator", "namespace": "istio-system"},
        "spec": spec,
    })
}

fn rendered(spec: &Value) -> Vec<Component> {
    render(&Bundle::embedded(), &operator(spec), KUBERNETES, Limits::default())
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn failure(spec: &Value) -> Error {
    render(&Bundle::embedded(), &operator(spec), KUBERNETES, Limits::default()).unwrap_err()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn find<'a>(components: &'a [Component], kind: &str, name: &str) -> Option<&'a Value> {
    let mut objects = components.iter().flat_map(|component| &component.objects);
    objects.find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

fn get<'a>(components: &'a [Component], kind: &str, name: &str) -> &'a Value {
    find(components, kind, name).unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn env<'a>(deployment: &'a Value, name: &str) -> Option<&'a str> {
    let env = deployment.pointer("/spec/template/spec/containers/0/env")?.as_array()?;
    env.iter().find(|variable| variable["name"] == name)?.get("value")?.as_str()
}

#[test]
fn the_default_profile_installs_base_istiod_and_the_ingress_gateway() {
    let components = rendered(&json!({}));
    let names: Vec<_> = components.iter().map(|component| component.name).collect();
    assert_eq!(names, [ComponentName::Base, ComponentName::Pilot, ComponentName::IngressGateways]);
    for (kind, name) in [
        ("ServiceAccount", "istio-reader-service-account"),
        ("Deployment", "istiod"),
        ("ConfigMap", "istio"),
        ("ConfigMap", "istio-sidecar-injector"),
        ("Deployment", "istio-ingressgateway"),
        ("HorizontalPodAutoscaler", "istio-ingressgateway"),
    ] {
        get(&components, kind, name);
    }
    assert!(
        components
            .iter()
            .flat_map(|component| &component.objects)
            .all(|object| object["kind"] != "CustomResourceDefinition")
    );
}

#[test]
fn components_are_switched_by_the_document() {
    let components = rendered(&json!({"components": {
        "cni": {"enabled": true, "namespace": "kube-system"},
        "ingressGateways": [{"name": "istio-ingressgateway", "enabled": false}],
        "egressGateways": [{"name": "istio-egressgateway", "enabled": true}]}}));
    assert!(find(&components, "Deployment", "istio-ingressgateway").is_none());
    assert_eq!(get(&components, "Service", "istio-egressgateway")["spec"]["type"], "ClusterIP");
    assert_eq!(get(&components, "DaemonSet", "istio-cni-node")["metadata"]["namespace"], "kube-system");
}

#[test]
fn hub_tag_and_mesh_settings_reach_workloads_and_mesh_configuration() {
    let components = rendered(&json!({
        "hub": "example.com/istio", "tag": "1.31.0-distroless",
        "meshConfig": {"defaultConfig": {"gatewayTopology": {"numTrustedProxies": 2}}},
        "values": {"pilot": {"env": {"PILOT_HTTP10": "1"}}}}));
    let istiod = get(&components, "Deployment", "istiod");
    assert_eq!(
        istiod["spec"]["template"]["spec"]["containers"][0]["image"],
        "example.com/istio/pilot:1.31.0-distroless"
    );
    assert_eq!(env(istiod, "PILOT_HTTP10"), Some("1"));
    let mesh = get(&components, "ConfigMap", "istio")["data"]["mesh"].as_str().unwrap();
    assert!(mesh.contains("numTrustedProxies: 2\n"), "{mesh}");
}

#[test]
fn settings_of_a_component_are_patched_into_its_workload() {
    let components = rendered(&json!({"components": {"pilot": {"enabled": true, "k8s": {
        "env": [{"name": "FIRST", "value": "x"}],
        "hpaSpec": {"minReplicas": 3, "maxReplicas": 15},
        "resources": {"requests": {"cpu": "123m"}},
        "overlays": [{"kind": "Deployment", "name": "istiod", "patches": [
            {"path": "spec.template.metadata.labels.kyma-project\\.io/module", "value": "istio"}]}]}}}}));
    let istiod = get(&components, "Deployment", "istiod");
    let container = &istiod["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"][0], json!({"name": "FIRST", "value": "x"}));
    assert_eq!(container["resources"]["requests"]["cpu"], "123m");
    assert_eq!(istiod["spec"]["template"]["metadata"]["labels"]["kyma-project.io/module"], "istio");
    assert_eq!(get(&components, "HorizontalPodAutoscaler", "istiod")["spec"]["maxReplicas"], 15);
    // The budget exists only because the chart sees more than one replica.
    get(&components, "PodDisruptionBudget", "istiod");
}

#[test]
fn the_default_tag_injects_and_the_canonical_injector_is_switched_off() {
    let components = rendered(&json!({}));
    let never = json!({"matchLabels": {"istio.io/deactivated": "never-match"}});
    let canonical = get(&components, "MutatingWebhookConfiguration", "istio-sidecar-injector");
    let tag = get(&components, "MutatingWebhookConfiguration", "istio-revision-tag-default");
    let webhooks = |configuration: &Value| configuration["webhooks"].as_array().unwrap().clone();
    assert_eq!((webhooks(canonical).len(), webhooks(tag).len()), (4, 4));
    assert!(
        webhooks(canonical)
            .iter()
            .all(|webhook| webhook["namespaceSelector"] == never && webhook["objectSelector"] == never)
    );
    assert!(webhooks(tag).iter().all(|webhook| webhook["namespaceSelector"]["matchExpressions"].is_array()));
    let validator = get(&components, "ValidatingWebhookConfiguration", "istiod-default-validator");
    assert_eq!(validator["webhooks"][0]["failurePolicy"], "Ignore");
    assert_eq!(
        get(&components, "Service", "istiod-revision-tag-default")["spec"]["selector"],
        json!({"app": "istiod", "istio": "pilot"})
    );
    for object in [tag, validator] {
        assert_eq!(object["metadata"]["labels"]["istio.io/tag"], "default");
        assert_eq!(
            object["metadata"]["labels"]["install.operator.istio.io/owning-resource-not-pruned"],
            "true"
        );
    }
    for configuration in [canonical, tag, validator] {
        assert!(
            webhooks(configuration).iter().all(|webhook| webhook["clientConfig"].get("caBundle").is_none())
        );
    }
}

#[test]
fn another_revision_has_no_default_tag_and_a_live_injector() {
    let components = rendered(&json!({"revision": "canary"}));
    let injector = get(&components, "MutatingWebhookConfiguration", "istio-sidecar-injector-canary");
    assert!(injector["webhooks"][0]["namespaceSelector"]["matchExpressions"].is_array());
    assert!(find(&components, "MutatingWebhookConfiguration", "istio-revision-tag-default").is_none());
}

#[test]
fn every_object_carries_the_owner_labels() {
    for component in rendered(&json!({"components": {"cni": {"enabled": true}}})) {
        for object in &component.objects {
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["operator.istio.io/component"], component.name.as_str(), "{object}");
            assert_eq!(labels["operator.istio.io/version"], Bundle::embedded().version());
            assert!(
                labels["istio.io/rev"].is_string()
                    && labels["install.operator.istio.io/owning-resource"].is_string()
            );
        }
    }
}

#[test]
fn what_istio_does_not_know_is_refused_by_its_path() {
    let cases = [
        (json!({"components": {"pilots": {}}}), "unknown field 'pilots' at 'spec.components.pilots'"),
        (
            json!({"components": {"pilot": {"replicas": 1}}}),
            "unknown field 'replicas' at 'spec.components.pilot'",
        ),
        (
            json!({"components": {"cni": {"k8s": {"resource": {}}}}}),
            "unknown field 'resource' at 'spec.components.cni.k8s'",
        ),
        (json!({"components": {"ingressGateways": {}}}), "'spec.components.ingressGateways' is not a list"),
    ];
    for (spec, expected) in cases {
        assert_eq!(failure(&spec).to_string(), expected);
    }
}

#[test]
fn an_error_of_a_chart_names_its_place_and_what_the_chart_says() {
    let error = failure(&json!({"values": {"profile": "nope"}}));
    let text = chain(&error);
    for part in ["component Base", "zzz_profile.yaml", "unknown profile nope"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(error.source().is_some());
}

#[test]
fn a_rendering_does_not_depend_on_earlier_ones() {
    let spec = json!({"components": {"cni": {"enabled": true}}});
    let first = rendered(&spec);
    rendered(&json!({"values": {"global": {"proxy": {"logLevel": "debug"}}}}));
    assert_eq!(rendered(&spec), first);
}

#[test]
fn the_time_of_a_rendering_is_printed() {
    let (bundle, document) =
        (Bundle::embedded(), operator(&json!({"components": {"cni": {"enabled": true}}})));
    let started = Instant::now();
    let components = render(&bundle, &document, KUBERNETES, Limits::default()).unwrap();
    let rendered = started.elapsed();
    let definitions = bundle.crds().count();
    let objects: usize = components.iter().map(|component| component.objects.len()).sum();
    println!(
        "{objects} objects in {rendered:?}, {definitions} definitions in {:?}",
        started.elapsed().saturating_sub(rendered)
    );
    assert!(objects > 30);
}
