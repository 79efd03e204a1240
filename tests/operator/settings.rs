//! Settings of the resource and of the cluster take effect, and end when they end.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use futures::stream::{self, StreamExt, TryStreamExt};
use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use istio_manager::kubernetes::object::ObjectId;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{Bed, DEADLINE, NAMESPACE, Result, description_and_reason, set_features};
use crate::matrix;

const ISTIO: &str = "istio-system";

pub async fn network_policies_are_created_and_deleted_by_their_setting(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.edit("default", json!({"networkPoliciesEnabled": true})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let policies: Api<NetworkPolicy> = Api::all(control_plane.client());
    let of_the_module = ListParams::default().labels("kyma-project.io/managed-by=kyma");
    assert_eq!(policies.list(&of_the_module).await?.items.len(), 7);
    let own: Api<NetworkPolicy> = Api::namespaced(control_plane.client(), NAMESPACE);
    let own = serde_json::to_value(own.get("kyma-project.io--allow-istio-controller-manager").await?)?;
    let port = control_plane_port(control_plane).await?;
    assert!(own["spec"]["egress"].to_string().contains(&format!("\"port\":{port}")), "{own}");
    bed.edit("default", json!({"networkPoliciesEnabled": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(policies.list(&of_the_module).await?.items, []);
    bed.stop().await
}

/// The port that connections to the API server have once its Service's address is replaced.
async fn control_plane_port(control_plane: &ControlPlane) -> Result<Value> {
    let services: Api<k8s_openapi::api::core::v1::Service> =
        Api::namespaced(control_plane.client(), "default");
    Ok(serde_json::to_value(services.get("kubernetes").await?)?["spec"]["ports"][0]["targetPort"].clone())
}

pub async fn features_apply_at_once_and_unreadable_ones_keep_the_last_value(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(control_plane.client(), ISTIO);
    let exists = |wanted: bool| move |set: Option<&DaemonSet>| set.is_some() == wanted;
    set_features(control_plane, r#"{"disableCni": true}"#).await?;
    let wait = |wanted| {
        control_plane.wait_for(daemon_sets.clone(), "istio-cni-node", "CNI", DEADLINE, exists(wanted))
    };
    wait(false).await?;
    set_features(control_plane, r#"{"disableCni": true"#).await?;
    let warned = bed.wait_for_state("default", State::Warning).await?;
    let (description, _) = description_and_reason(&warned);
    assert!(description.contains("ConfigMap kyma-system/istio-features"), "{description}");
    assert!(daemon_sets.get_opt("istio-cni-node").await?.is_none(), "what was said last stays in force");
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    maps.delete("istio-features", &DeleteParams::default()).await?;
    wait(true).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

pub async fn vertical_autoscalers_need_their_crd_and_follow_their_switch(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    let resource = bed.wait_for_state("default", State::Ready).await?;
    create_vpa_crd(control_plane).await?;
    let autoscaler = |namespace| -> Api<DynamicObject> {
        Api::namespaced_with(control_plane.client(), namespace, &vertical_autoscaler())
    };
    let own = control_plane
        .wait_for(autoscaler(NAMESPACE), "istio-operator-vpa", "autoscaler", DEADLINE, |o| o.is_some())
        .await?
        .ok_or("gone")?;
    assert_eq!(own.owner_references()[0].uid, resource.metadata.uid.unwrap_or_default());
    set_features(control_plane, r#"{"enableControlPlaneVPA": true}"#).await?;
    for name in ["istiod-vpa", "istio-ingressgateway-vpa", "istio-cni-node-vpa"] {
        control_plane.wait_for(autoscaler(ISTIO), name, "autoscaler", DEADLINE, |o| o.is_some()).await?;
    }
    assert!(autoscaler(ISTIO).get_opt("istio-egressgateway-vpa").await?.is_none(), "it has no target");
    set_features(control_plane, "{}").await?;
    control_plane
        .wait_for(autoscaler(ISTIO), "istiod-vpa", "no autoscaler", DEADLINE, |o| o.is_none())
        .await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert!(autoscaler(NAMESPACE).get_opt("istio-operator-vpa").await?.is_some());
    delete_vpa_crd(control_plane).await?;
    bed.edit("default", json!({"config": {"numTrustedProxies": 1}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

fn vertical_autoscaler() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("autoscaling.k8s.io", "v1", "VerticalPodAutoscaler"))
}

const VPA_CRD: &str = "verticalpodautoscalers.autoscaling.k8s.io";

fn crds(control_plane: &ControlPlane) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(control_plane.client(), &ApiResource::from_gvk(&kind))
}

/// The group is a protected one: its definitions need the annotation that names their approval.
async fn create_vpa_crd(control_plane: &ControlPlane) -> Result {
    let crd: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": VPA_CRD,
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/63797"},
        },
        "spec": {
            "group": "autoscaling.k8s.io",
            "names": {"kind": "VerticalPodAutoscaler", "plural": "verticalpodautoscalers"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    }))?;
    crds(control_plane).create(&PostParams::default(), &crd).await?;
    Ok(())
}

async fn delete_vpa_crd(control_plane: &ControlPlane) -> Result {
    let api = crds(control_plane);
    api.delete(VPA_CRD, &DeleteParams::default()).await?;
    control_plane.wait_for(api, VPA_CRD, "no definition", DEADLINE, |o| o.is_none()).await?;
    Ok(())
}

pub async fn an_envoy_filter_on_the_ingress_gateway_is_a_warning_until_deleted(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let kind =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1alpha3", "EnvoyFilter"));
    let filters: Api<DynamicObject> = Api::namespaced_with(control_plane.client(), ISTIO, &kind);
    for name in ["first", "second"] {
        let selector = json!({"labels": {"istio": "ingressgateway"}});
        let filter = DynamicObject::new(name, &kind).data(json!({"spec": {"workloadSelector": selector}}));
        filters.create(&PostParams::default(), &filter).await?;
    }
    let both = |resource: &Istio| {
        let (description, _) = description_and_reason(resource);
        description.contains("istio-system/first, istio-system/second")
    };
    let warned = bed.wait_until("default", "both filters named", both).await?;
    assert_eq!(warned.status.as_ref().map(|status| status.state), Some(State::Warning));
    assert_eq!(description_and_reason(&warned).1, "ReconcileFailed");
    assert_eq!(condition(&warned, "IngressTargetingUserResourceFound"), Some("True".to_owned()));
    for name in ["first", "second"] {
        filters.delete(name, &DeleteParams::default()).await?;
    }
    let ready = bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(condition(&ready, "IngressTargetingUserResourceFound"), Some("False".to_owned()));
    bed.stop().await
}

fn condition(resource: &Istio, type_: &str) -> Option<String> {
    let conditions = resource.status.as_ref()?.conditions.as_ref()?;
    Some(conditions.iter().find(|condition| condition.type_ == type_)?.status.clone())
}

pub async fn every_setting_of_the_mesh_is_accepted_by_istiod(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    let config = json!({
        "numTrustedProxies": 2,
        "forwardClientCertDetails": "APPEND_FORWARD",
        "authorizers": [{
            "name": "all-options", "service": "authz.shop.svc.cluster.local", "port": 8000, "timeout": "1m0.25s",
            "pathPrefix": "/check?x=",
            "headers": {
                "inCheck": {"include": ["x-a", "x-b-*"], "add": {"x-c": "1"}},
                "toUpstream": {"onAllow": ["x-d"]},
                "toDownstream": {"onAllow": ["x-e"], "onDeny": ["*-f"]},
            },
        }],
        "telemetry": {"metrics": {"prometheusMerge": true}},
        "trustDomain": "mesh.example.com",
        "enableDNSProxying": true,
        "proxyStatsMatcher": {"inclusionRegexps": ["cluster\\..*"]},
    });
    bed.edit("default", json!({"config": config, "compatibilityMode": true})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let metrics = bed.metrics().await?;
    for line in
        ["istio_trust_domain_configured 1", "istio_ext_auth_providers_total 1", "istio_egress_gateway_used 0"]
    {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is missing in\n{metrics}");
    }
    let mesh = mesh_of_istiod(control_plane, "mesh.example.com").await?;
    let providers = mesh["extensionProviders"].as_array().cloned().unwrap_or_default();
    let authorizer = &providers.last().ok_or("no provider")?["envoyExtAuthzHttp"];
    assert_eq!(authorizer["timeout"], "60.250s");
    assert_eq!(authorizer["includeAdditionalHeadersInCheck"], json!({"x-c": "1"}));
    assert_eq!(mesh["enablePrometheusMerge"], true);
    let proxy = &mesh["defaultConfig"];
    assert_eq!(proxy["gatewayTopology"]["numTrustedProxies"], 2);
    assert_eq!(proxy["proxyMetadata"]["ISTIO_META_DNS_CAPTURE"], "true");
    assert_eq!(proxy["proxyStatsMatcher"]["inclusionRegexps"], json!(["cluster\\..*"]));
    bed.edit("default", json!({"config": null, "compatibilityMode": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

/// The mesh configuration that a running istiod works with, once it names `trust_domain`. One that istiod does not
/// accept never gets there.
async fn mesh_of_istiod(control_plane: &ControlPlane, trust_domain: &str) -> Result<Value> {
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), ISTIO);
    eventually("mesh configuration in istiod", DEADLINE, async || {
        for pod in pods.list(&ListParams::default().labels("app=istiod")).await? {
            let Some(ip) = pod.status.and_then(|status| status.pod_ip) else { continue };
            let Ok(mesh) = debug(&ip, "/debug/mesh").await else { continue };
            if mesh["trustDomain"] == trust_domain {
                return Ok(Some(mesh));
            }
        }
        Ok(None)
    })
    .await
}

/// Asks a debug endpoint of istiod, which trusts callers from its own host only.
async fn debug(ip: &str, path: &str) -> Result<Value> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut connection = socket.connect(format!("{ip}:8080").parse()?).await?;
    connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok(serde_json::from_str(body)?)
}

/// Of everything that can be planned for any cluster.
pub async fn every_kind_of_installation_is_accepted_by_the_api_server(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let mut tried = BTreeSet::new();
    for case in matrix::pairwise() {
        let planned = case.planned()?;
        let fresh: Vec<_> = planned
            .into_iter()
            // Not defined here.
            .filter(|(id, _)| id.kind != "VerticalPodAutoscaler")
            .filter(|(_, object)| tried.insert(object.to_string()))
            .collect();
        stream::iter(&fresh)
            .map(|(id, object)| dry_run(control_plane, id, object))
            .buffer_unordered(8)
            .try_collect::<Vec<()>>()
            .await
            .map_err(|error| format!("{case:?}: {error}"))?;
    }
    bed.stop().await
}

async fn dry_run(control_plane: &ControlPlane, id: &ObjectId, object: &Value) -> Result {
    let params = PatchParams { dry_run: true, ..PatchParams::apply("istio-operator").force() };
    let applied = id.api(control_plane.client()).patch(&id.name, &params, &Patch::Apply(object)).await;
    applied.map(drop).map_err(|error| format!("{id}: {error}").into())
}
