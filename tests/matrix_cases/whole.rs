//! What holds for every installation, whatever the kind of cluster and the settings.

use std::collections::BTreeSet;

use istio_manager::kubernetes::object::ObjectId;
use serde_json::Value;

use super::Case;

/// Fails if what is planned for the case is no whole installation.
pub fn check(case: &Case, planned: &[(ObjectId, Value)]) {
    assert_identities_are_unique_and_labelled(case, planned);
    assert_disclaimer_annotations(case, planned);
    assert_switches_are_followed(case, planned);
    assert_proxy_protocol_matches_load_balancer(case, planned);
    assert_autoscalers_are_consistent(case, planned);
    assert_images_are_expected(case, planned);
}

fn find<'a>(planned: &'a [(ObjectId, Value)], kind: &str, name: &str) -> Option<&'a Value> {
    planned.iter().find(|(id, _)| id.kind == kind && id.name == name).map(|(_, object)| object)
}

fn assert_identities_are_unique_and_labelled(case: &Case, planned: &[(ObjectId, Value)]) {
    let unique: BTreeSet<&ObjectId> = planned.iter().map(|(id, _)| id).collect();
    assert_eq!(unique.len(), planned.len(), "{case:?}");
    for (id, object) in planned {
        assert_eq!(object["metadata"]["labels"]["kyma-project.io/module"], "istio", "{case:?} {id}");
        let pods = &object["spec"]["template"]["metadata"]["labels"];
        assert!(pods.is_null() || pods["kyma-project.io/module"] == "istio", "{case:?} {id}");
    }
}

/// Users see it on the objects that they would change first.
fn assert_disclaimer_annotations(case: &Case, planned: &[(ObjectId, Value)]) {
    const NOTE: &str = "istios.operator.kyma-project.io/managed-by-disclaimer";
    let metadata = |kind, name| &find(planned, kind, name).unwrap()["metadata"];
    let namespace = metadata("Namespace", "istio-system");
    assert_eq!(namespace["labels"]["namespaces.warden.kyma-project.io/validate"], "enabled", "{case:?}");
    let pods = |name| &find(planned, "Deployment", name).unwrap()["spec"]["template"]["metadata"];
    for (what, metadata) in [
        ("namespace", namespace),
        ("policy", metadata("PeerAuthentication", "default")),
        ("Service of istiod", metadata("Service", "istiod")),
        ("Service of the gateway", metadata("Service", "istio-ingressgateway")),
        ("pods of istiod", pods("istiod")),
        ("pods of the gateway", pods("istio-ingressgateway")),
    ] {
        assert!(metadata["annotations"][NOTE].is_string(), "{case:?}: {what}");
    }
}

fn assert_switches_are_followed(case: &Case, planned: &[(ObjectId, Value)]) {
    for (kind, name, wanted) in [
        ("DaemonSet", "istio-cni-node", !case.disables_cni()),
        ("DaemonSet", "ztunnel", case.is_ambient()),
        ("Deployment", "istio-egressgateway", case.is("egress gateway")),
        ("PeerAuthentication", "default", true),
        ("VerticalPodAutoscaler", "istio-operator-vpa", case.is("autoscaler definition")),
    ] {
        assert_eq!(find(planned, kind, name).is_some(), wanted, "{case:?} {kind} {name}");
    }
    let policies = planned.iter().filter(|(id, _)| id.name.starts_with("kyma-project.io--")).count();
    assert_eq!(policies, if case.is("network policies") { 7 } else { 0 }, "{case:?}");
    let service = find(planned, "Service", "istio-ingressgateway").unwrap();
    assert_eq!(service["spec"]["ipFamilyPolicy"] == "RequireDualStack", case.is("dual stack"), "{case:?}");
}

/// One without the other is an outage.
fn assert_proxy_protocol_matches_load_balancer(case: &Case, planned: &[(ObjectId, Value)]) {
    let service = find(planned, "Service", "istio-ingressgateway").unwrap();
    let speaks = service["metadata"]["annotations"].as_object().unwrap().keys().any(|key| {
        key.ends_with("load-balancer-proxy-protocol") || key == "loadbalancer.openstack.org/proxy-protocol"
    });
    assert_eq!(find(planned, "EnvoyFilter", "proxy-protocol").is_some(), speaks, "{case:?}");
}

fn assert_autoscalers_are_consistent(case: &Case, planned: &[(ObjectId, Value)]) {
    for (id, object) in planned {
        let target = match id.kind.as_str() {
            "HorizontalPodAutoscaler" => {
                let bound = |name: &str| object["spec"][name].as_i64().unwrap();
                assert!(bound("minReplicas") <= bound("maxReplicas"), "{case:?} {id}");
                &object["spec"]["scaleTargetRef"]
            }
            "VerticalPodAutoscaler" if id.namespace.as_deref() == Some("istio-system") => {
                &object["spec"]["targetRef"]
            }
            _ => continue,
        };
        let (kind, name) = (target["kind"].as_str().unwrap(), target["name"].as_str().unwrap());
        assert!(
            find(planned, kind, name).is_some(),
            "{case:?} {id} scales {kind} {name}, which is not there"
        );
    }
    let vertical = planned
        .iter()
        .filter(|(id, _)| {
            id.kind == "VerticalPodAutoscaler" && id.namespace.as_deref() == Some("istio-system")
        })
        .count();
    assert_eq!(vertical > 0, case.scales_vertically() && case.is("autoscaler definition"), "{case:?}");
}

fn assert_images_are_expected(case: &Case, planned: &[(ObjectId, Value)]) {
    for (id, object) in planned {
        let pod = &object["spec"]["template"]["spec"];
        let containers = ["initContainers", "containers"].into_iter().filter_map(|kind| pod[kind].as_array());
        for container in containers.flatten() {
            let image = container["image"].as_str().unwrap();
            let is_known = image == "auto"
                || image.starts_with("docker.io/istio/") && image.ends_with(":1.31.0-distroless");
            assert!(is_known, "{case:?} {id}: {image}");
        }
    }
}
