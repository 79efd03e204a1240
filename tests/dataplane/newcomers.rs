//! Sidecars that become outdated without a change of the mesh: found by the watch or by the periodic scan of all pods; too
//! many of them at the same time need approval.

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, Failure, TestResult, eventually};

use crate::bed::{Bed, DEADLINE, Result};
use crate::mesh::{Mesh, workload};
use crate::restart::wait_for_sidecar_condition;

/// Gives the pods of a workload another proxy image, as tools do that change images in place.
pub async fn change_images(mesh: &Mesh<'_>, namespace: &str, name: &str) -> Result {
    let api: Api<Pod> = Api::namespaced(mesh.0.client(), namespace);
    for pod in mesh.pods(namespace, name).await? {
        let image = json!([{"name": "istio-proxy", "image": "registry.example/proxyv2:patched"}]);
        let patch = Patch::Strategic(json!({"spec": {"containers": image}}));
        api.patch(&pod.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// Waits until every pod of a workload was replaced.
pub async fn wait_until_replaced(
    bed: &Bed<'_>,
    mesh: &Mesh<'_>,
    namespace: &str,
    name: &str,
    before: &[String],
) -> TestResult {
    // The next look without a trigger is ten minutes away.
    let ended = eventually(&format!("restart of {name}"), DEADLINE, async || {
        let is_old = mesh.uids(namespace, name).await?.iter().any(|uid| before.contains(uid));
        Ok((!is_old).then_some(()))
    })
    .await;
    ended.map_err(|error| format!("{error}\n{}", bed.operator.log()).into())
}

pub async fn outdated_pods_are_found_by_the_watch_or_else_by_the_full_scan(
    control_plane: &ControlPlane,
) -> TestResult {
    let mesh = Mesh(control_plane);
    let bed = crate::installed(control_plane).await?;
    bed.edit("default", json!({"restarter": null})).await?;
    bed.wait_until_applied().await?;
    mesh.namespace("changing").await?;
    for name in ["watched", "unlabelled"] {
        mesh.create("changing", workload("Deployment", name, 1)).await?;
    }
    crate::restart::wait_for_next_scan(&bed).await?;
    let before = mesh.uids("changing", "watched").await?;
    change_images(&mesh, "changing", "watched").await?;
    wait_until_replaced(&bed, &mesh, "changing", "watched", &before).await?;
    bed.stop().await?;

    let before = mesh.uids("changing", "unlabelled").await?;
    change_images(&mesh, "changing", "unlabelled").await?;
    let api: Api<Pod> = Api::namespaced(control_plane.client(), "changing");
    for pod in mesh.pods("changing", "unlabelled").await? {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"security.istio.io/tlsMode": null}}}));
        api.patch(&pod.name_any(), &PatchParams::default(), &patch).await?;
    }
    let bed = crate::installed(control_plane).await?;
    wait_until_replaced(&bed, &mesh, "changing", "unlabelled", &before).await?;
    bed.stop().await
}

pub async fn an_unready_workload_is_restarted_once_it_is_ready(control_plane: &ControlPlane) -> TestResult {
    let mesh = Mesh(control_plane);
    let bed = crate::installed(control_plane).await?;
    mesh.namespace("unready").await?;
    mesh.create("unready", workload("Deployment", "web", 1)).await?;
    let before = mesh.uids("unready", "web").await?;
    control_plane.fail_pods("unready", "web", Failure::Unready).await?;
    crate::restart::make_outdated(&bed, "unready").await?;
    let is_reported = |resource: &Istio| {
        let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
        let web = status.blocked_workloads.iter().find(|workload| workload.namespace == "unready");
        web.is_some_and(|web| web.blocked_by.contains("0 of 1 pods are available"))
    };
    bed.wait_until("default", "workload that is not ready", is_reported).await?;
    assert_eq!(mesh.uids("unready", "web").await?, before);
    control_plane.stop_failing_pods("unready", "web").await?;
    wait_until_replaced(&bed, &mesh, "unready", "web", &before).await?;
    bed.stop().await
}

pub async fn unexpected_drift_of_much_of_the_mesh_waits_for_approval(
    control_plane: &ControlPlane,
) -> TestResult {
    let mesh = Mesh(control_plane);
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    mesh.namespace("mirrored").await?;
    let names = ["a", "b", "c", "d"];
    for name in names {
        mesh.create("mirrored", workload("Deployment", name, 1)).await?;
    }
    bed.wait_until_data_plane_converged().await?;
    // One after the other they would be no surprise.
    bed.edit("default", json!({"restarter": {"enabled": false}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let mut before = Vec::new();
    for name in names {
        change_images(&mesh, "mirrored", name).await?;
        before.extend(mesh.uids("mirrored", name).await?);
    }
    let is_counted = |resource: &Istio| {
        resource.status.clone().and_then(|status| status.data_plane).is_some_and(|status| status.stale == 4)
    };
    bed.wait_until("default", "four outdated workloads", is_counted).await?;
    bed.edit("default", json!({"restarter": null})).await?;
    let suspended = wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", |resource| {
        crate::restart::sidecars(resource).1.contains("without a change of Istio's version or configuration")
    })
    .await?;
    for name in names {
        assert!(
            mesh.uids("mirrored", name).await?.iter().all(|uid| before.contains(uid)),
            "{name} was restarted"
        );
    }
    let text = crate::restart::sidecars(&suspended).1;
    let (key, approval) =
        text.rsplit_once(' ').and_then(|(_, last)| last.split_once('=')).ok_or("no release is told")?;
    let patch = json!({"metadata": {"annotations": {key: approval}}});
    bed.resources().patch("default", &PatchParams::default(), &Patch::Merge(patch)).await?;
    for name in names {
        wait_until_replaced(&bed, &mesh, "mirrored", name, &before).await?;
    }
    bed.stop().await
}
