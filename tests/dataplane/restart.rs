//! Outdated workloads are restarted once, and others are reported.

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, DEADLINE, Result};
use crate::mesh::Mesh;

/// The reason and message of the condition about sidecars.
pub fn sidecars(resource: &Istio) -> (String, String) {
    let conditions = resource.status.as_ref().and_then(|status| status.conditions.clone());
    let found = conditions.into_iter().flatten().find(|c| c.type_ == "ProxySidecarRestartSucceeded");
    found.map(|condition| (condition.reason, condition.message)).unwrap_or_default()
}

/// Waits until the status says `reason` about the sidecars and what `settled` asks for.
pub async fn wait_for_sidecar_condition(
    bed: &Bed<'_>,
    reason: &str,
    condition: impl Fn(&Istio) -> bool,
) -> Result<Istio> {
    let is_reported = |resource: Option<&Istio>| {
        resource.is_some_and(|resource| sidecars(resource).0 == reason && condition(resource))
    };
    let what = format!("sidecars {reason}");
    let found = bed.control_plane.wait_for(bed.resources(), "default", &what, DEADLINE, is_reported).await;
    let found = found.map_err(|error| format!("{error}\noperator says:\n{}", bed.operator.log()))?;
    Ok(found.ok_or("the resource is gone")?)
}

/// Changes the mesh so that every sidecar is outdated. `name` tells the changes of the tests apart.
pub async fn make_outdated(bed: &Bed<'_>, name: &str) -> Result {
    let regexps = json!({"inclusionRegexps": [statistics(name)]});
    bed.edit("default", json!({"config": {"proxyStatsMatcher": regexps}})).await?;
    Ok(())
}

/// The statistics that a sidecar gives after `make_outdated` with `name`. Not the bare name, which a sidecar may contain
/// as that of its namespace.
pub fn statistics(name: &str) -> String {
    format!(".*{name}.*")
}

/// Waits until the operator has scanned the data plane once more.
pub async fn wait_for_next_scan(bed: &Bed<'_>) -> Result {
    bed.wait_for_log_again("scanned the data plane", 1).await
}

pub fn counts(resource: &Istio) -> Value {
    let status = resource.status.as_ref().and_then(|status| status.data_plane.clone()).unwrap_or_default();
    json!({"total": status.total, "stale": status.stale, "restarting": status.restarting})
}

pub async fn outdated_workloads_are_restarted_and_the_rest_is_reported(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    let names = [
        ("kinds", "deployment"),
        ("kinds", "statefulset"),
        ("kinds", "daemonset"),
        ("kinds", "replicaset"),
        ("settings", "amounts"),
        ("settings", "declared-proxy"),
    ];
    let mut before = Vec::new();
    for (namespace, name) in names {
        before.push(mesh.uids(namespace, name).await?);
    }
    let bare = mesh.uids("kinds", "bare").await?;
    bed.edit("default", json!({"restarter": {"enabled": true}})).await?;
    let resource =
        wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", |r| counts(r)["stale"] == 1)
            .await?;
    assert_eq!(
        sidecars(&resource).1,
        "The sidecars of the following workloads could not be restarted: kinds/bare"
    );
    assert_eq!(resource.status.as_ref().map(|status| status.state), Some(State::Warning));
    for ((namespace, name), before) in names.into_iter().zip(before) {
        mesh.wait_until_ready(namespace, name).await?;
        let after = mesh.uids(namespace, name).await?;
        assert!(after.iter().all(|uid| !before.contains(uid)), "{namespace}/{name} kept a pod");
    }
    assert_eq!(mesh.uids("kinds", "bare").await?, bare);
    let report = mesh.report(&[]).await?;
    assert_eq!(report["stale"], 1, "{report:#}");
    let events = control_plane.events_of("kinds", "Deployment", "deployment").await?;
    let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == "RestartSuccess").count(), 1, "{reasons:?}");
    bed.stop().await
}

/// Starts an operator and waits until it has scanned the mesh once.
async fn start_and_scan(control_plane: &ControlPlane) -> Result<Bed<'_>> {
    let bed = crate::installed(control_plane).await?;
    bed.wait_for_log("scanned the data plane").await?;
    Ok(bed)
}

pub async fn a_converged_mesh_is_left_unchanged_by_a_starting_operator(
    control_plane: &ControlPlane,
) -> TestResult {
    // The operator of the test before may have been stopped ahead of its last look.
    start_and_scan(control_plane).await?.stop().await?;
    let mark = control_plane.audit().mark().await?;
    let bed = start_and_scan(control_plane).await?;
    let writes = bed.writes_since(&mark).await?;
    assert_eq!(writes, Vec::<String>::new());
    bed.stop().await
}
