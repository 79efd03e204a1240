use serde_json::{Value, json};

use super::*;

fn node(cpu: &str, memory: &str) -> Value {
    json!({"kind": "Node", "metadata": {"name": "n"}, "status": {"capacity": {"cpu": cpu, "memory": memory}}})
}

fn config_map(namespace: &str, name: &str, data: &Value) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": data})
}

#[test]
fn the_size_follows_the_capacity_of_all_nodes() {
    for (nodes, size) in [
        (vec![node("5", "10G")], Size::Production),
        (vec![node("2500m", "5G"), node("2500m", "5G")], Size::Production),
        (vec![node("4999m", "64Gi")], Size::Evaluation),
        (vec![node("64", "9999999999")], Size::Evaluation),
        (vec![node("nonsense", "64Gi")], Size::Evaluation),
        (vec![], Size::Production),
    ] {
        assert_eq!(ClusterFacts::from_objects(&nodes).unwrap().size, size, "{nodes:?}");
    }
}

#[test]
fn lists_and_plain_numbers_are_read_as_well() {
    let written = json!({"kind": "Node", "metadata": {"name": "n"}, "status": {"capacity": {"cpu": 8, "memory": "32Gi"}}});
    let list = json!({"kind": "List", "items": [written]});
    let small = json!({"kind": "List", "items": [node("1", "1Gi")]});
    assert_eq!(ClusterFacts::from_objects(&[list]).unwrap().size, Size::Production);
    assert_eq!(ClusterFacts::from_objects(&[small]).unwrap().size, Size::Evaluation);
}

#[test]
fn the_provider_is_that_of_the_first_node_with_a_known_one() {
    let node = |kubelet: &str, id: &str, os: &str| {
        json!({
            "kind": "Node", "metadata": {"name": "n"}, "spec": {"providerID": id},
            "status": {"nodeInfo": {"kubeletVersion": kubelet, "osImage": os}},
        })
    };
    let aws = Provider::Aws { load_balancer: LoadBalancer::Network };
    for (nodes, provider) in [
        (vec![node("v1.36.3", "", "")], Provider::Unknown),
        (vec![node("v1.36.3", "azure:///x", "")], Provider::Unknown),
        (vec![node("v1.35.1-gke.200", "gce://x", "")], Provider::Unknown),
        (vec![node("v1.35.1+k3s1", "aws://x", "")], Provider::Unknown),
        (vec![node("v1.36.3", "AWS:///eu/i-0", "")], aws),
        (vec![node("v1.36.3", "", ""), node("v1.36.3", "aws:///x", "")], aws),
        (vec![node("v1.36.3", "openstack:///x", "Ubuntu")], Provider::OpenStack { garden_linux: false }),
        (
            vec![node("v1.36.3", "openstack:///x", "Ubuntu"), node("v1.36.3", "", "Garden Linux 1592.5")],
            Provider::OpenStack { garden_linux: true },
        ),
    ] {
        assert_eq!(ClusterFacts::from_objects(&nodes).unwrap().provider, provider, "{nodes:?}");
    }
}

#[test]
fn the_platform_is_found_beside_the_provider() {
    let node = |label: &str, id: &str| json!({"kind": "Node", "metadata": {"name": "n", "labels": {label: "x"}}, "spec": {"providerID": id}});
    let facts =
        ClusterFacts::from_objects(&[node("a", ""), node("node.openshift.io/os_id", "aws:///x")]).unwrap();
    assert_eq!(facts.platform, Some(Platform::OpenShift));
    assert_eq!(facts.provider, Provider::Aws { load_balancer: LoadBalancer::Network });
}

#[test]
fn a_classic_load_balancer_stays_until_the_service_has_been_moved() {
    let service = |kind: &str| {
        json!({"kind": "Service", "metadata": {
            "namespace": "istio-system", "name": "istio-ingressgateway",
            "annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": kind},
        }})
    };
    let marker = config_map("istio-system", "elb-deprecated", &json!(null));
    let node = json!({"kind": "Node", "spec": {"providerID": "aws:///x"}});
    for (objects, load_balancer) in [
        (vec![], LoadBalancer::Network),
        (vec![marker.clone()], LoadBalancer::Classic),
        (vec![marker.clone(), service("nlb")], LoadBalancer::Network),
        (vec![marker.clone(), service("external")], LoadBalancer::Network),
        (vec![marker, service("elb")], LoadBalancer::Classic),
    ] {
        let objects: Vec<_> = objects.into_iter().chain([node.clone()]).collect();
        assert_eq!(
            ClusterFacts::from_objects(&objects).unwrap().provider,
            Provider::Aws { load_balancer },
            "{objects:?}"
        );
    }
}

#[test]
fn unreadable_switches_are_an_error() {
    let switches = |json: &str| config_map("kyma-system", "istio-features", &json!({"features": json}));
    let read =
        ClusterFacts::from_objects(&[switches(r#"{"disableCni": true, "later": 1}"#)]).unwrap().features;
    assert_eq!(read, Features { disable_cni: true, enable_control_plane_vpa: false });
    assert!(matches!(ClusterFacts::from_objects(&[switches("{")]), Err(Error::Features { .. })));

    let details = |yaml: &str| config_map("kyma-system", "kyma-provisioning-info", &json!({"details": yaml}));
    assert!(
        ClusterFacts::from_objects(&[details("networkDetails: {dualStackIPEnabled: true}")])
            .unwrap()
            .dual_stack
    );
    assert!(
        !ClusterFacts::from_objects(&[details("networkDetails: {dualStackIPEnabled: 'yes'}")])
            .unwrap()
            .dual_stack
    );
    assert!(matches!(ClusterFacts::from_objects(&[details("a: [")]), Err(Error::ProvisioningInfo { .. })));
}

fn features(json: &str) -> ObservedCluster {
    ObservedCluster { features: Some(json.to_owned()), ..ObservedCluster::default() }
}

#[test]
fn an_unreadable_setting_keeps_the_last_valid_value() {
    let good = decide(&features(r#"{"disableCni": true}"#), &RememberedFacts::default());
    assert!(good.is_decided && good.errors.is_empty());
    let bad = decide(&features(r#"{"disableCni": tru"#), &good.remembered);
    assert!(bad.is_decided);
    assert_eq!((bad.facts.features, bad.remembered), (good.facts.features, good.remembered));
    let [error] = &bad.errors[..] else { panic!("{:?}", bad.errors) };
    assert!(error.to_string().contains("ConfigMap kyma-system/istio-features"), "{error}");
    let gone = decide(&ObservedCluster::default(), &bad.remembered);
    assert_eq!(gone.facts.features, Features::default(), "no switches is an answer, too");
}

#[test]
fn an_unreadable_setting_without_a_valid_predecessor_is_undecided() {
    let decision = decide(&features("{"), &RememberedFacts::default());
    assert!(!decision.is_decided);
    assert_eq!(decision.remembered.features, None);
    let details =
        ObservedCluster { provisioning_details: Some("a: [".to_owned()), ..ObservedCluster::default() };
    assert!(!decide(&details, &RememberedFacts::default()).is_decided);
}

#[test]
fn a_cluster_without_nodes_keeps_its_size() {
    let remembered = RememberedFacts { size: Some(Size::Evaluation), ..RememberedFacts::default() };
    assert_eq!(decide(&ObservedCluster::default(), &remembered).facts.size, Size::Evaluation);
    let unknown = decide(&ObservedCluster::default(), &RememberedFacts::default());
    assert_eq!(
        (unknown.facts.size, unknown.remembered.size),
        (Size::Production, None),
        "a guess is not remembered"
    );
}

#[test]
fn the_port_of_the_api_server_is_the_one_behind_its_service() {
    let service = |ports: Value| {
        json!({
            "kind": "Service", "metadata": {"namespace": "default", "name": "kubernetes"}, "spec": {"ports": ports},
        })
    };
    for (ports, port) in [
        (json!([{"name": "other", "port": 1}, {"name": "https", "port": 443, "targetPort": 6443}]), 6443),
        (json!([{"name": "https", "port": 8443}]), 8443),
        (json!([{"name": "https", "port": 443, "targetPort": "named"}]), 443),
        (json!([]), 443),
    ] {
        let facts = ClusterFacts::from_objects(&[service(ports.clone())]).unwrap();
        assert_eq!(facts.api_port, ApiPort(port), "{ports}");
    }
}
