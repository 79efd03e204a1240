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
    let annotated = |value: &Value| {
        spec(json!({"values": {"gateways": {"istio-ingressgateway": {
            "serviceAnnotations": {"loadbalancer.openstack.org/proxy-protocol": value},
        }}}}))
    };
    for (value, expected) in [
        (json!("v2"), true),
        (json!("true"), true),
        (json!(true), true),
        (json!("false"), false),
        (json!(false), false),
        (Value::Null, false),
    ] {
        let found = names(&annotated(&value), &on(Provider::OpenStack { garden_linux: false }));
        assert_eq!(found.contains(&FILTER.to_owned()), expected, "{value}");
    }
}

/// What the administrator's values make of the extra resources of a plain resource.
fn extras_with(administrator: Value, spec: &ValidatedSpec, facts: &ClusterFacts) -> Vec<Value> {
    let Value::Object(values) = administrator else { panic!("values are a map") };
    let document = build_configuration(spec, facts, &Images::official("1.31.0"), &values.into()).unwrap();
    extra_resources(spec, facts, &document, None)
}

#[test]
fn proxy_protocol_of_the_gateway_topology_hangs_no_connection() {
    let classic = on(Provider::Aws { load_balancer: LoadBalancer::Classic });
    let topology = json!({"gatewayTopology": {"proxyProtocol": {}}});
    let gateway = |values: Value| json!({"gateways": {"istio-ingressgateway": values}});
    let text = topology.to_string();
    for (values, has_filter) in [
        (json!({}), true),
        (json!({"meshConfig": {"defaultConfig": topology}}), false),
        (json!({"meshConfig": {"defaultConfig": {"gatewayTopology": {"proxyProtocol": null}}}}), true),
        (json!({"meshConfig": {"defaultConfig": {"gatewayTopology": {"numTrustedProxies": 1}}}}), true),
        (gateway(json!({"podAnnotations": {"proxy.istio.io/config": text}})), false),
        (
            gateway(
                json!({"podAnnotations": {"proxy.istio.io/config": "gatewayTopology:\n  proxyProtocol: {}"}}),
            ),
            false,
        ),
        (gateway(json!({"podAnnotations": {"proxy.istio.io/config": "concurrency: 2"}})), true),
        (gateway(json!({"env": {"PROXY_CONFIG": text}})), false),
    ] {
        let objects = extras_with(values.clone(), &ValidatedSpec::default(), &classic);
        let filters = objects.iter().filter(|object| object["kind"] == "EnvoyFilter").count();
        assert_eq!(filters, usize::from(has_filter), "{values}");
    }
}

/// A rule of the policy for the ingress gateway.
fn gateway_rules(values: Value, direction: &str) -> Vec<Value> {
    let spec = spec(json!({"networkPoliciesEnabled": true}));
    let objects = extras_with(values, &spec, &ClusterFacts::default());
    policy_rules(&objects, "istio-ingressgateway", direction)
}

fn policy_rules(objects: &[Value], name: &str, direction: &str) -> Vec<Value> {
    let name = format!("kyma-project.io--{name}");
    let policy = objects.iter().find(|object| object["metadata"]["name"] == name.as_str()).unwrap();
    policy["spec"][direction].as_array().unwrap().clone()
}

#[test]
fn network_policies_let_the_gateway_reach_its_external_ca() {
    let in_namespace = |namespace: &str| json!({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]});
    let at_port = |port: u16| json!({"ports": [{"protocol": "TCP", "port": port}]});
    let plain = gateway_rules(json!({}), "egress");
    for (address, expected) in [
        ("cert-manager-istio-csr.cert-manager.svc:443", vec![in_namespace("cert-manager")]),
        ("https://csr.pki.svc.cluster.local:8443", vec![in_namespace("pki")]),
        ("ca.example.com:8443", vec![at_port(8443)]),
        ("ca.pki:443", vec![in_namespace("pki"), at_port(443)]),
        (
            "10.1.2.3:443",
            vec![json!({
                "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"protocol": "TCP", "port": 443}],
            })],
        ),
        (
            "[fd00::1]:443",
            vec![json!({
                "to": [{"ipBlock": {"cidr": "fd00::1/128"}}], "ports": [{"protocol": "TCP", "port": 443}],
            })],
        ),
        ("istiod.istio-system.svc:15012", vec![]),
        ("", vec![]),
    ] {
        for values in [
            json!({"global": {"caAddress": address}}),
            json!({"gateways": {"istio-ingressgateway": {"env": {"CA_ADDR": address}}}}),
            json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"CA_ADDR": address}}}}),
        ] {
            let rules = gateway_rules(values.clone(), "egress");
            assert_eq!(rules, [plain.clone(), expected.clone()].concat(), "{values}");
        }
    }
}

#[test]
fn network_policies_let_istiod_reach_the_ca_that_signs_for_it() {
    let spec = spec(json!({"networkPoliciesEnabled": true}));
    let ca = json!({"meshConfig": {"ca": {"address": "ca.pki.svc:9443"}}});
    let rules = policy_rules(&extras_with(ca, &spec, &ClusterFacts::default()), "istio-pilot", "egress");
    assert!(rules.last().unwrap().to_string().contains("\"pki\""), "{rules:?}");
}

#[test]
fn network_policies_open_the_ports_of_the_users_gateway() {
    let ports = |rules: Vec<Value>| -> Vec<String> {
        let ports = rules[0]["ports"].as_array().unwrap().iter();
        ports.map(|port| format!("{} {}", port["protocol"].as_str().unwrap(), port["port"])).collect()
    };
    let gateway = |values: Value| json!({"gateways": {"istio-ingressgateway": values}});
    let usual = json!([{"name": "http2", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": 8443}]);
    let mut more = usual.as_array().unwrap().clone();
    more.extend([
        json!({"name": "status-port", "port": 15021, "targetPort": 15021}),
        json!({"name": "tcp", "port": 31400}),
        json!({"name": "h3", "port": 443, "targetPort": 8443, "protocol": "UDP"}),
        json!({"name": "text", "port": 9000, "targetPort": "9001"}),
    ]);
    for (values, expected) in [
        (json!({}), vec!["TCP 8080", "TCP 8443"]),
        (gateway(json!({"ports": usual})), vec!["TCP 8080", "TCP 8443"]),
        (gateway(json!({"ports": more})), vec!["TCP 8080", "TCP 8443", "TCP 31400", "UDP 8443", "TCP 9001"]),
        (
            gateway(json!({"ingressPorts": [{"name": "a", "port": 9443}]})),
            vec!["TCP 8080", "TCP 8443", "TCP 9443"],
        ),
    ] {
        assert_eq!(ports(gateway_rules(values.clone(), "ingress")), expected, "{values}");
    }
}

#[test]
fn an_egress_gateway_by_values_has_a_vertical_autoscaler_too() {
    let facts = ClusterFacts {
        vertical_autoscaling: true,
        features: Features { enable_control_plane_vpa: true, ..Features::default() },
        ..ClusterFacts::default()
    };
    let values = json!({"gateways": {"istio-egressgateway": {"enabled": true}}});
    let objects = extras_with(values, &ValidatedSpec::default(), &facts);
    assert!(objects.iter().any(|object| object["metadata"]["name"] == "istio-egressgateway-vpa"));
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
