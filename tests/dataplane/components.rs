//! Istio's own workloads are restarted once if they would not use a change otherwise, and never else.

use std::collections::BTreeMap;

use istio_manager::api::conditions::State;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, TestResult, eventually};

use crate::bed::{Bed, DEADLINE, NAMESPACE, Result};
use crate::mesh::{Mesh, workload};
use crate::newcomers::{change_images, wait_until_replaced};

const RESTARTED_AT: &str = "istio-operator.kyma-project.io/restartedAt";

fn restarted_at(deployment: &Deployment) -> Option<String> {
    let metadata = deployment.spec.as_ref()?.template.metadata.as_ref()?;
    metadata.annotations.as_ref()?.get(RESTARTED_AT).cloned()
}

async fn live_restarted_at(control_plane: &ControlPlane, name: &str) -> Result<Option<String>> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    Ok(restarted_at(&api.get(name).await?))
}

/// When each of Istio's own workloads was restarted.
async fn restart_times(control_plane: &ControlPlane) -> Result<BTreeMap<String, Option<String>>> {
    let (client, mut restarts) = (control_plane.client(), BTreeMap::new());
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "istio-system");
    for deployment in deployments.list(&ListParams::default()).await? {
        restarts.insert(deployment.name_any(), restarted_at(&deployment));
    }
    let sets: Api<DaemonSet> = Api::namespaced(client, "istio-system");
    for set in sets.list(&ListParams::default()).await? {
        let metadata = set.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
        restarts.insert(set.name_any(), metadata.annotations.and_then(|all| all.get(RESTARTED_AT).cloned()));
    }
    Ok(restarts)
}

pub async fn an_evicted_old_istiod_pod_does_not_stop_restarts(control_plane: &ControlPlane) -> TestResult {
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "istio-system");
    let labels = json!({"app": "istiod", "istio": "pilot", "istio.io/rev": "default"});
    // A pod that waits for its place is nobody's to keep running.
    let pod = json!({"metadata": {"name": "istiod-evicted", "labels": labels}, "spec": {
        "schedulingGates": [{"name": "example.com/never"}],
        "containers": [{"name": "discovery", "image": "example.com/pilot:1.30.3"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let evicted = Patch::Merge(json!({"status": {"phase": "Failed", "reason": "Evicted"}}));
    pods.patch_status("istiod-evicted", &PatchParams::default(), &evicted).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("survivors").await?;
    mesh.create("survivors", workload("Deployment", "web", 1)).await?;
    let before = mesh.uids("survivors", "web").await?;
    let bed = crate::installed(control_plane).await?;
    bed.edit("default", json!({"restarter": null})).await?;
    change_images(&mesh, "survivors", "web").await?;
    wait_until_replaced(&bed, &mesh, "survivors", "web", &before).await?;
    mesh.report(&[]).await?;
    let ended = pods.get("istiod-evicted").await?.status.and_then(|status| status.phase);
    assert_eq!(ended.as_deref(), Some("Failed"));
    pods.delete("istiod-evicted", &DeleteParams::default().grace_period(0)).await?;
    bed.stop().await
}

pub async fn enabling_network_policies_restarts_istio_workloads_once(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    let egress = json!({"components": {"egressGateway": {"enabled": true}}, "networkPoliciesEnabled": true});
    bed.create("default", egress).await?;
    bed.wait_for_state("default", State::Ready).await?;
    crate::restart::wait_for_sidecar_condition(&bed, "ProxySidecarRestartSucceeded", |_| true).await?;
    let all = ["istio-cni-node", "istio-egressgateway", "istio-ingressgateway", "istiod"];
    let untouched = restart_times(control_plane).await?;
    assert_eq!(untouched.keys().collect::<Vec<_>>(), all);
    assert!(untouched.values().all(Option::is_none), "restarted after an installation: {untouched:?}");
    // Off: old connections are as good as new ones.
    bed.edit("default", json!({"networkPoliciesEnabled": false})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    crate::restart::wait_for_next_scan(&bed).await?;
    assert_eq!(restart_times(control_plane).await?, untouched);
    // On, without the CNI agent: what is not there is no failure, and no reason to restart the others again.
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    let features =
        json!({"metadata": {"name": "istio-features"}, "data": {"features": "{\"disableCni\": true}"}});
    maps.create(&PostParams::default(), &serde_json::from_value(features)?).await?;
    bed.edit("default", json!({"networkPoliciesEnabled": true})).await?;
    let first = eventually("restarts of three components", 2 * DEADLINE, async || {
        let restarts = restart_times(control_plane).await?;
        Ok((restarts.len() == 3 && restarts.values().all(Option::is_some)).then_some(restarts))
    })
    .await?;
    bed.stop().await?;
    let bed = Bed::start(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    crate::restart::wait_for_next_scan(&bed).await?;
    assert_eq!(restart_times(control_plane).await?, first);
    bed.stop().await
}

pub async fn the_gateway_restarts_once_for_settings_it_reads_at_startup(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    crate::restart::wait_for_sidecar_condition(&bed, "ProxySidecarRestartSucceeded", |_| true).await?;
    assert_eq!(
        live_restarted_at(control_plane, "istio-ingressgateway").await?,
        None,
        "restarted after an installation"
    );
    bed.edit("default", json!({"config": {"numTrustedProxies": 3}})).await?;
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    let is_restarted =
        |deployment: Option<&Deployment>| deployment.is_some_and(|d| restarted_at(d).is_some());
    let what = "restarted gateway";
    control_plane.wait_for(api, "istio-ingressgateway", what, DEADLINE, is_restarted).await?;
    let first = live_restarted_at(control_plane, "istio-ingressgateway").await?;
    bed.stop().await?;
    // A change of what it does not read, and a start of the operator, leave it alone.
    let bed = Bed::start(control_plane).await?;
    bed.edit("default", json!({"config": {"enableDNSProxying": true}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    crate::restart::wait_for_next_scan(&bed).await?;
    assert_eq!(live_restarted_at(control_plane, "istio-ingressgateway").await?, first);
    assert_eq!(live_restarted_at(control_plane, "istiod").await?, None);
    bed.stop().await
}
