//! Block reasons of restarts are respected and reported.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::Result;
use crate::mesh::{Mesh, workload};
use crate::restart::{make_outdated, wait_for_sidecar_condition};

const EXCLUDE: &str = "restarter.istio-operator.kyma-project.io/exclude";
pub const MAINTENANCE_WINDOW: &str = "restarter.istio-operator.kyma-project.io/maintenance-window";

/// A window of a day that is not today, nor about to begin.
pub fn closed_window() -> String {
    let day = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs() / 86_400);
    // The epoch was a Thursday.
    let names = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let name = names.get(usize::try_from((day + 3) % 7).unwrap_or_default()).copied().unwrap_or("Thu");
    format!("{name} 02:00-03:00")
}

fn annotated(name: &str, key: &str, value: &str) -> Value {
    let mut object = workload("Deployment", name, 1);
    object["metadata"]["annotations"] = json!({key: value});
    object
}

pub fn blocked_by(resource: &istio_manager::api::Istio, name: &str) -> String {
    let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
    status
        .blocked_workloads
        .into_iter()
        .find(|workload| workload.name == name)
        .map(|left| left.blocked_by)
        .unwrap_or_default()
}

pub async fn workloads_that_must_not_be_restarted_are_skipped_and_listed(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("held").await?;
    let mut recreate = workload("Deployment", "recreate", 1);
    recreate["spec"]["strategy"] = json!({"type": "Recreate"});
    let mut guarded = workload("Deployment", "guarded", 2);
    guarded["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    let mut on_delete = workload("StatefulSet", "on-delete", 2);
    on_delete["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    for object in [
        annotated("excluded", EXCLUDE, "true"),
        annotated("weekend", MAINTENANCE_WINDOW, &closed_window()),
        annotated("nonsense", MAINTENANCE_WINDOW, "whenever"),
        workload("Deployment", "paused", 1),
        recreate,
        guarded,
        on_delete,
        workload("StatefulSet", "single", 1),
        workload("Deployment", "refused", 1),
    ] {
        mesh.create("held", object).await?;
    }
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "held");
    let pause = Patch::Merge(json!({"spec": {"paused": true}}));
    deployments.patch("paused", &PatchParams::default(), &pause).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(control_plane.client(), "held");
    let budget = json!({"metadata": {"name": "all"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "guarded"}}}});
    budgets.create(&PostParams::default(), &serde_json::from_value(budget)?).await?;
    refuse_restarts_of(&mesh, "refused").await?;
    let on_delete = mesh.uids("held", "on-delete").await?;
    let names = ["excluded", "weekend", "nonsense", "paused", "recreate", "guarded", "single", "refused"];
    let mut before = Vec::new();
    for name in names {
        before.push(mesh.uids("held", name).await?);
    }
    bed.edit("default", json!({"restarter": {"enabled": true}})).await?;
    make_outdated(&bed, "held").await?;
    let resource = wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", |resource| {
        let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
        let only_blocked = status.stale == i64::try_from(status.blocked_workloads.len()).unwrap_or_default();
        only_blocked && names.iter().all(|name| !blocked_by(resource, name).is_empty())
    })
    .await?;
    for (name, words) in [
        ("excluded", "excluded by annotation"),
        ("weekend", "outside of the maintenance window"),
        ("nonsense", "invalid maintenance window"),
        ("paused", "paused"),
        ("recreate", "would interrupt"),
        ("guarded", "would violate PodDisruptionBudget all"),
        ("single", "would interrupt"),
        ("refused", "restart was rejected"),
    ] {
        let why = blocked_by(&resource, name);
        assert!(why.contains(words), "{name}: {why}");
    }
    for (name, before) in names.into_iter().zip(before) {
        assert_eq!(mesh.uids("held", name).await?, before, "{name}");
    }
    let after = mesh.uids("held", "on-delete").await?;
    assert!(
        after.iter().all(|uid| !on_delete.contains(uid)),
        "pods that only go when deleted were not evicted"
    );
    crate::refused::allow(control_plane.client(), "held").await?;
    bed.stop().await
}

/// A policy that rejects every change of one Deployment.
async fn refuse_restarts_of(mesh: &Mesh<'_>, name: &str) -> Result {
    let changes = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"],
        "resources": ["deployments"]});
    let other = json!({"expression": format!("object.metadata.name != '{name}'"), "message": "frozen"});
    crate::refused::forbid(mesh.0.client(), "held", &changes, &other).await?;
    let deployments: Api<Deployment> = Api::namespaced(mesh.0.client(), "held");
    let change = Patch::Merge(json!({"metadata": {"annotations": {"change": "1"}}}));
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    testbed::eventually("refusal of restarts", crate::bed::DEADLINE, async || {
        Ok(deployments.patch(name, &dry_run, &change).await.is_err().then_some(()))
    })
    .await
}

/// A quota that rejects new pods in a namespace, dry runs included.
pub async fn fill_quota(control_plane: &ControlPlane, namespace: &str, pods: u32) -> Result {
    let quotas: Api<ResourceQuota> = Api::namespaced(control_plane.client(), namespace);
    let quota = json!({"metadata": {"name": "full"}, "spec": {"hard": {"pods": pods.to_string()}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
    let counted = |quota: Option<&ResourceQuota>| {
        quota
            .and_then(|quota| quota.status.as_ref()?.used.as_ref()?.get("pods").cloned())
            .is_some_and(|used| used.0 == pods.to_string())
    };
    control_plane.wait_for(quotas, "full", "counted quota", crate::bed::DEADLINE, counted).await?;
    Ok(())
}

pub async fn failed_rollouts_suspend_the_wave_until_it_is_approved(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("full").await?;
    for name in ["one", "three", "two"] {
        let mut object = workload("Deployment", name, 1);
        object["spec"]["progressDeadlineSeconds"] = json!(3);
        mesh.create("full", object).await?;
    }
    fill_quota(control_plane, "full", 3).await?;
    bed.edit("default", json!({"restarter": {"failureLimit": 2, "maxUnfinishedPerNamespace": 1}})).await?;
    make_outdated(&bed, "full").await?;
    let suspended = wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", |resource| {
        crate::restart::sidecars(resource).1.contains("stopped after 2 failed rollouts")
    })
    .await?;
    // The dry run was refused by the quota, so that istiod itself was asked.
    assert!(
        blocked_by(&suspended, "one").contains("rollout failed after the restart"),
        "{}",
        blocked_by(&suspended, "one")
    );
    assert_eq!(blocked_by(&suspended, "two"), "restarts are on hold");
    let message = crate::restart::sidecars(&suspended).1;
    let approval = message.rsplit('=').next().ok_or("no approval in the message")?;
    let annotation = json!({"metadata": {"annotations": {"restarter.istio-operator.kyma-project.io/approve-restarts": approval}}});
    bed.resources().patch("default", &PatchParams::default(), &Patch::Merge(annotation)).await?;
    let tried = |resource: &istio_manager::api::Istio| {
        blocked_by(resource, "two").contains("rollout failed after the restart")
    };
    wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", tried).await?;
    // What failed for want of room goes on by itself when there is room.
    let quotas: Api<ResourceQuota> = Api::namespaced(control_plane.client(), "full");
    quotas.delete("full", &kube::api::DeleteParams::default()).await?;
    for name in ["one", "two", "three"] {
        mesh.wait_until_ready("full", name).await?;
    }
    bed.edit("default", json!({"restarter": null})).await?;
    bed.stop().await
}
