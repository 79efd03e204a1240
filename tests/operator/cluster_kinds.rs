//! The kind of a cluster decides about the installation, and a change of it is followed while the operator runs.

use istio_manager::api::conditions::State;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Service};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, FaultProxy, TestResult};

use crate::bed::{Bed, DEADLINE, NAMESPACE, Result, description_and_reason, set_features};

const ISTIO: &str = "istio-system";

pub async fn the_size_changes_with_the_cluster_but_not_with_a_single_node(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(control_plane.client(), ISTIO);
    let fewest = |autoscaler: HorizontalPodAutoscaler| autoscaler.spec.min_replicas;
    assert_eq!(fewest(autoscalers.get("istio-ingressgateway").await?), Some(3));

    // Of 12 CPU 4 are left, less than the 5 of a production installation: but one node more and there are 8.
    let nodes: Api<Node> = Api::all(control_plane.client());
    for name in ["node-2", "node-3"] {
        nodes.delete(name, &DeleteParams::default()).await?;
    }
    // What changes at once shows that the nodes have been looked at.
    bed.edit("default", json!({"config": {"numTrustedProxies": 1}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(fewest(autoscalers.get("istio-ingressgateway").await?), Some(3));

    nodes.create(&PostParams::default(), &testbed::node("small", "2", "8Gi")).await?;
    nodes.delete("node-1", &DeleteParams::default()).await?;
    let is_small =
        |autoscaler: Option<&HorizontalPodAutoscaler>| autoscaler.cloned().and_then(fewest) == Some(1);
    control_plane
        .wait_for(autoscalers, "istio-ingressgateway", "evaluation size", DEADLINE, is_small)
        .await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    let remembered = maps.get("istio-manager-cluster").await?.data.unwrap_or_default();
    assert_eq!(remembered.get("size").map(String::as_str), Some("Evaluation"));
    let events: Vec<Event> = control_plane.events_of(NAMESPACE, "Istio", "default").await?;
    let is_reported = events.iter().any(|event| event.reason.as_deref() == Some("ClusterSizeChanged"));
    assert!(is_reported, "{:?}", events.iter().map(|event| &event.reason).collect::<Vec<_>>());
    bed.stop().await
}

/// Where the settings of a cluster come from: part of the address that is asked, and the name that is told.
const SOURCES: [(&str, &str); 8] = [
    ("/api/v1/nodes?", "the nodes"),
    ("metadata.name%3Distio-features", "ConfigMap kyma-system/istio-features"),
    ("metadata.name%3Dkyma-provisioning-info", "ConfigMap kyma-system/kyma-provisioning-info"),
    ("metadata.name%3Delb-deprecated", "ConfigMap istio-system/elb-deprecated"),
    ("/namespaces/istio-system/services?", "Service istio-system/istio-ingressgateway"),
    ("metadata.name%3Dkubernetes", "Service default/kubernetes"),
    ("metadata.name%3Dverticalpodautoscalers", "the CustomResourceDefinition of VerticalPodAutoscalers"),
    ("metadata.name%3Distio-manager-cluster", "ConfigMap istio-manager-cluster of the operator"),
];

pub async fn unreadable_settings_are_reported_and_block_the_reconcile(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 33).await?;
    let mut bed = Bed::start_through(control_plane, &proxy).await?;
    bed.ensure_installed().await?;
    proxy.fail_reads(&SOURCES.map(|(address, _)| address));
    // A new operator that has to do something, and knows nothing.
    bed.restart_with(&[]).await?;
    bed.edit("default", json!({"config": {"numTrustedProxies": 3}})).await?;
    let (description, _) = description_and_reason(&bed.wait_for_state("default", State::Error).await?);
    for (_, name) in SOURCES {
        assert!(description.contains(name), "{name} is missing in: {description}");
    }
    assert!(description.contains("injected fault"), "{description}");
    assert!(!mesh(control_plane).await?.contains("numTrustedProxies"));

    proxy.fail_reads(&[]);
    bed.wait_for_state("default", State::Ready).await?;
    assert!(mesh(control_plane).await?.contains("numTrustedProxies"));
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

pub async fn the_last_good_settings_stay_in_effect_while_reads_fail(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 34).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    bed.ensure_installed().await?;
    set_features(control_plane, r#"{"disableCni": true}"#).await?;
    let agents: Api<DaemonSet> = Api::namespaced(control_plane.client(), ISTIO);
    let exists = |wanted: bool| move |agent: Option<&DaemonSet>| agent.is_some() == wanted;
    control_plane.wait_for(agents.clone(), "istio-cni-node", "no agent", DEADLINE, exists(false)).await?;
    bed.wait_until_applied().await?;

    proxy.fail_reads(&SOURCES.map(|(address, _)| address));
    for (_, name) in SOURCES {
        bed.wait_for_log(&format!("failed to watch {name}")).await?;
    }
    bed.edit("default", json!({"config": {"numTrustedProxies": 3}})).await?;
    bed.wait_until_applied().await?;
    assert!(mesh(control_plane).await?.contains("numTrustedProxies"));
    assert!(agents.get_opt("istio-cni-node").await?.is_none(), "a read error counted as a default");

    // What is switched meanwhile takes effect when it can be read again.
    set_features(control_plane, "{}").await?;
    proxy.fail_reads(&[]);
    control_plane.wait_for(agents, "istio-cni-node", "agent", DEADLINE, exists(true)).await?;
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    maps.delete("istio-features", &DeleteParams::default()).await?;
    bed.stop().await
}

/// The mesh configuration in the cluster.
async fn mesh(control_plane: &ControlPlane) -> Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), ISTIO);
    Ok(maps.get("istio").await?.data.unwrap_or_default().remove("mesh").ok_or("no mesh configuration")?)
}

pub async fn the_load_balancer_determines_the_proxy_protocol(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    control_plane.create_namespace("shop", &[]).await?;
    let kind =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1alpha3", "EnvoyFilter"));
    let filters: Api<DynamicObject> = Api::namespaced_with(control_plane.client(), ISTIO, &kind);
    assert_eq!(filters.list(&ListParams::default()).await?.items, []);

    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), ISTIO);
    let marker: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "elb-deprecated"}}))?;
    maps.create(&PostParams::default(), &marker).await?;
    let nodes: Api<Node> = Api::all(control_plane.client());
    for node in nodes.list(&ListParams::default()).await? {
        let patch = json!({"spec": {"providerID": format!("aws:///eu-central-1a/{}", node.name_any())}});
        nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    let exists = |wanted: bool| move |filter: Option<&DynamicObject>| filter.is_some() == wanted;
    control_plane.wait_for(filters.clone(), "proxy-protocol", "filter", DEADLINE, exists(true)).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(annotation(control_plane, "proxy-protocol").await?.as_deref(), Some("*"));

    maps.delete("elb-deprecated", &DeleteParams::default()).await?;
    control_plane.wait_for(filters, "proxy-protocol", "no filter", DEADLINE, exists(false)).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(annotation(control_plane, "proxy-protocol").await?, None);
    assert_eq!(annotation(control_plane, "type").await?.as_deref(), Some("nlb"));
    bed.stop().await
}

async fn annotation(control_plane: &ControlPlane, key: &str) -> Result<Option<String>> {
    let services: Api<Service> = Api::namespaced(control_plane.client(), ISTIO);
    let service = services.get("istio-ingressgateway").await?;
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{key}");
    Ok(service.annotations().get(&key).cloned())
}

pub async fn experimental_features_are_installed_if_allowed_and_can_be_removed(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start_with(control_plane, &["--allow-experimental"]).await?;
    let experimental = json!({
        "enableAmbient": true,
        "pilot": {"enableAlphaGatewayAPI": true, "enableMultiNetworkDiscoverGatewayAPI": true},
    });
    provisioning_info(control_plane, "networkDetails: {dualStackIPEnabled: true}").await?;
    bed.create("default", json!({"experimental": experimental})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(control_plane.client(), ISTIO);
    let ztunnel = daemon_sets.get("ztunnel").await?.status.unwrap_or_default();
    assert_eq!(ztunnel.number_ready, 3);
    let services: Api<Service> = Api::namespaced(control_plane.client(), ISTIO);
    for name in ["istiod", "istio-ingressgateway"] {
        let families = services.get(name).await?.spec.and_then(|spec| spec.ip_families);
        assert_eq!(families, Some(vec!["IPv4".to_owned(), "IPv6".to_owned()]), "{name}");
    }

    // The Services keep both families: the API server takes none away because a field is no longer applied.
    provisioning_info(control_plane, "networkDetails: {dualStackIPEnabled: false}").await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), ISTIO);
    let is_single = |map: Option<&ConfigMap>| {
        let mesh = map.and_then(|map| map.data.as_ref()?.get("mesh"));
        mesh.is_some_and(|mesh| !mesh.contains("ISTIO_DUAL_STACK"))
    };
    control_plane.wait_for(maps, "istio", "mesh of one IP family", DEADLINE, is_single).await?;
    bed.edit("default", json!({"experimental": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert!(daemon_sets.get_opt("ztunnel").await?.is_none());
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    crate::removal::assert_nothing_is_left(&bed).await?;
    bed.stop().await
}

async fn provisioning_info(control_plane: &ControlPlane, details: &str) -> Result {
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kyma-provisioning-info"},
        "data": {"details": details},
    });
    maps.patch("kyma-provisioning-info", &PatchParams::apply("test").force(), &Patch::Apply(&map)).await?;
    Ok(())
}
