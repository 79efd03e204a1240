use serde_json::{Value, json};

use super::*;
use crate::plan::AdministratorValues;
use crate::plan::cluster::{ApiPort, Features, LoadBalancer, Provider};
use crate::plan::configuration::{Images, build_configuration};
use crate::validate::{FeatureStage, validate};

fn spec(spec: Value) -> ValidatedSpec {
    validate(&serde_json::from_value(spec).unwrap(), FeatureStage::Experimental).unwrap()
}

fn build_extras(spec: &ValidatedSpec, facts: &ClusterFacts, owner: Option<&OwnerReference>) -> Vec<Value> {
    let document =
        build_configuration(spec, facts, &Images::official("1.31.0"), &AdministratorValues::default())
            .unwrap();
    extra_resources(spec, facts, &document, owner)
}

fn names(spec: &ValidatedSpec, facts: &ClusterFacts) -> Vec<String> {
    build_extras(spec, facts, None)
        .iter()
        .map(|object| {
            format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
        })
        .collect()
}

fn on(provider: Provider) -> ClusterFacts {
    ClusterFacts { provider, ..ClusterFacts::default() }
}

const MTLS: &str = "PeerAuthentication default";
const FILTER: &str = "EnvoyFilter proxy-protocol";

#[test]
fn a_plain_cluster_gets_the_mtls_policy_only() {
    assert_eq!(names(&ValidatedSpec::default(), &ClusterFacts::default()), [MTLS]);
}

#[test]
fn the_gateway_reads_the_proxy_protocol_of_load_balancers() {
    let (network, classic) = (LoadBalancer::Network, LoadBalancer::Classic);
    for (facts, expected) in [
        (on(Provider::Unknown), false),
        (on(Provider::Gke), false),
        (on(Provider::K3d), false),
        (on(Provider::Aws { load_balancer: network }), false),
        (ClusterFacts { dual_stack: true, ..on(Provider::Aws { load_balancer: network }) }, true),
        (on(Provider::Aws { load_balancer: classic }), true),
        (on(Provider::OpenStack { garden_linux: true }), true),
        (on(Provider::OpenStack { garden_linux: false }), false),
    ] {
        let found = names(&spec(json!({})), &facts).contains(&FILTER.to_owned());
        assert_eq!(found, expected, "{facts:?}");
    }
    let dual = ClusterFacts { dual_stack: true, ..on(Provider::Aws { load_balancer: network }) };
    assert_eq!(names(&ValidatedSpec::default(), &dual), [MTLS], "dual stack is experimental");
}

#[test]
fn a_proxy_protocol_annotation_of_a_user_adds_the_filter() {
    let annotated = |value: &str| {
        spec(json!({"values": {"gateways": {"istio-ingressgateway": {
            "serviceAnnotations": {"loadbalancer.openstack.org/proxy-protocol": value},
        }}}}))
    };
    for (value, expected) in [("v2", true), ("true", true), ("false", false)] {
        let found = names(&annotated(value), &on(Provider::OpenStack { garden_linux: false }));
        assert_eq!(found.contains(&FILTER.to_owned()), expected, "{value}");
    }
}

#[test]
fn network_policies_are_a_choice() {
    let found = names(&spec(json!({"networkPoliciesEnabled": true})), &ClusterFacts::default());
    let expected = [
        "istio-cni-node",
        "istio-ingressgateway-egress",
        "istio-egressgateway",
        "istio-ingressgateway",
        "allow-istio-controller-manager",
        "istio-pilot",
        "istio-pilot-jwks",
    ]
    .map(|name| format!("NetworkPolicy kyma-project.io--{name}"));
    assert_eq!(found[1..], expected);
    assert_eq!(names(&spec(json!({"networkPoliciesEnabled": false})), &ClusterFacts::default()), [MTLS]);
}

#[test]
fn clients_of_the_api_server_may_reach_its_target_port() {
    let facts = ClusterFacts { api_port: ApiPort(6443), ..ClusterFacts::default() };
    let objects = build_extras(&spec(json!({"networkPoliciesEnabled": true})), &facts, None);
    let reaching: Vec<&str> = objects
        .iter()
        .filter(|object| object["spec"]["egress"].to_string().contains("6443"))
        .filter_map(|object| object["metadata"]["name"].as_str())
        .collect();
    assert_eq!(
        reaching,
        ["istio-cni-node", "allow-istio-controller-manager", "istio-pilot"]
            .map(|name| format!("kyma-project.io--{name}"))
    );
}

#[test]
fn vertical_autoscalers_need_the_crd_the_switch_and_a_target() {
    let features = |disable_cni, enable_control_plane_vpa| Features { disable_cni, enable_control_plane_vpa };
    let cluster = |vertical_autoscaling, features| ClusterFacts {
        features,
        vertical_autoscaling,
        ..ClusterFacts::default()
    };
    let egress = spec(json!({"components": {"egressGateway": {"enabled": true}}}));
    let plain = ValidatedSpec::default();
    for (spec, facts, expected) in [
        (&plain, cluster(false, features(false, true)), vec![]),
        (&plain, cluster(true, features(false, false)), vec!["istio-operator"]),
        (
            &plain,
            cluster(true, features(false, true)),
            vec!["istio-operator", "istiod", "istio-ingressgateway", "istio-cni-node"],
        ),
        (
            &egress,
            cluster(true, features(true, true)),
            vec!["istio-operator", "istiod", "istio-ingressgateway", "istio-egressgateway"],
        ),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|name| format!("VerticalPodAutoscaler {name}-vpa")).collect();
        assert_eq!(names(spec, &facts)[1..], expected, "{facts:?}");
    }
}

#[test]
fn the_operators_own_autoscaler_belongs_to_the_resource() {
    let facts = ClusterFacts { vertical_autoscaling: true, ..ClusterFacts::default() };
    let owner = OwnerReference {
        api_version: "operator.kyma-project.io/v1alpha2".into(),
        kind: "Istio".into(),
        name: "default".into(),
        uid: "u".into(),
        ..OwnerReference::default()
    };
    let found: Vec<Value> =
        build_extras(&spec(json!({"networkPoliciesEnabled": true})), &facts, Some(&owner))
            .into_iter()
            .filter(|object| object["metadata"].get("ownerReferences").is_some())
            .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["metadata"]["name"], "istio-operator-vpa");
    assert_eq!(found[0]["metadata"]["ownerReferences"][0]["uid"], "u");
    assert!(found[0]["metadata"]["ownerReferences"][0].get("controller").is_none());
}

#[test]
fn every_extra_resource_has_owner_and_version_labels() {
    let facts = ClusterFacts {
        vertical_autoscaling: true,
        features: Features { enable_control_plane_vpa: true, ..Features::default() },
        ..on(Provider::OpenStack { garden_linux: true })
    };
    for object in build_extras(&spec(json!({"networkPoliciesEnabled": true})), &facts, None) {
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["app.kubernetes.io/version"], env!("CARGO_PKG_VERSION"), "{object}");
        assert_eq!(metadata["annotations"][names::DISCLAIMER_ANNOTATION], names::DISCLAIMER, "{object}");
    }
}
