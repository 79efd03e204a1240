//! What the tests of the command line do and look at.

use std::collections::BTreeMap;
use std::path::Path;

use istio_manager::api::Istio;
use istio_manager::api::v1alpha2::DataPlaneStatus;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, Process, ProcessSpec};

use crate::bed::{Bed, DEADLINE, Result};
use crate::mesh::{Mesh, workload};

pub const NAMESPACE: &str = "byhand";
pub const REPORT_ONLY: &[&str] = &["--report-restarts-only"];
const PROGRAM: &str = env!("CARGO_BIN_EXE_istio-manager");
/// What must not be restarted.
const NEVER_RESTARTED: [&str; 2] = ["excluded", "weekend"];

/// Five workloads, one that is excluded, and one whose maintenance window is not open today.
pub async fn populate(mesh: &Mesh<'_>) -> Result {
    mesh.namespace(NAMESPACE).await?;
    for index in 0..5 {
        mesh.create(NAMESPACE, workload("Deployment", &format!("web-{index}"), 1)).await?;
    }
    for (name, key, value) in
        [("excluded", "exclude", "true".to_owned()), ("weekend", "maintenance-window", closed_window()?)]
    {
        let mut object = workload("Deployment", name, 1);
        object["metadata"]["annotations"] =
            json!({format!("restarter.istio-operator.kyma-project.io/{key}"): value});
        mesh.create(NAMESPACE, object).await?;
    }
    Ok(())
}

/// A window of a day that is not today, nor about to begin.
fn closed_window() -> Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    // The epoch was a Thursday.
    let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let in_three_days = usize::try_from((now / 86_400 + 3) % 7)?;
    Ok(format!("{} 02:00-03:00", days[in_three_days]))
}

/// Changes the mesh so that every sidecar is outdated. `name` tells the changes of the tests apart.
pub async fn make_outdated(bed: &Bed<'_>, name: &str) -> Result {
    let regexps = json!({"inclusionRegexps": [format!(".*{name}.*")]});
    bed.edit("default", json!({"config": {"proxyStatsMatcher": regexps}})).await?;
    Ok(())
}

pub fn status(resource: &Istio) -> DataPlaneStatus {
    resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default()
}

/// The reason and message of the condition about sidecars.
pub fn sidecars(resource: &Istio) -> (String, String) {
    let conditions = resource.status.as_ref().and_then(|status| status.conditions.clone());
    let found = conditions.into_iter().flatten().find(|c| c.type_ == "ProxySidecarRestartSucceeded");
    found.map(|condition| (condition.reason, condition.message)).unwrap_or_default()
}

/// The generation of each workload: it tells how often one was restarted.
pub async fn generations(control_plane: &ControlPlane) -> Result<BTreeMap<String, i64>> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), NAMESPACE);
    let list = api.list(&ListParams::default()).await?;
    Ok(list.items.iter().map(|d| (d.name_any(), d.metadata.generation.unwrap_or_default())).collect())
}

/// Whether everything was restarted exactly once but what must not be.
pub fn all_restarted_once(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Result {
    let expected: BTreeMap<String, i64> = before
        .iter()
        .map(|(name, generation)| {
            (name.clone(), generation + i64::from(!NEVER_RESTARTED.contains(&name.as_str())))
        })
        .collect();
    if *after == expected { Ok(()) } else { Err(format!("{after:?} is not {expected:?}").into()) }
}

/// The reasons of the Events on a workload.
pub async fn events(control_plane: &ControlPlane, name: &str) -> Result<Vec<String>> {
    let api: Api<Event> = Api::namespaced(control_plane.client(), NAMESPACE);
    let about =
        ListParams::default().fields(&format!("involvedObject.name={name},involvedObject.kind=Deployment"));
    Ok(api.list(&about).await?.items.into_iter().filter_map(|event| event.reason).collect())
}

/// Starts `restarts --apply` and waits until it has begun a restart.
pub async fn start_restarts(control_plane: &ControlPlane) -> Result<Process> {
    let kubeconfig = format!("--kubeconfig={}", control_plane.kubeconfig().display());
    let spec =
        ProcessSpec::new("restarts", PROGRAM).args(["restarts".to_owned(), "--apply".to_owned(), kubeconfig]);
    let process = control_plane.start(spec.only_given_env())?;
    process.wait_for_log(", 1 in progress", DEADLINE).await?;
    Ok(process)
}

/// Ctrl-C.
pub async fn interrupt(process: &Process) -> Result {
    let kill = format!("kill -INT {}", process.pid());
    testbed::run(Path::new("/bin/sh"), ["-c", &kill], &[]).await?;
    Ok(())
}

/// What the program shows on a terminal.
pub async fn on_a_terminal(control_plane: &ControlPlane, arguments: &str) -> Result<String> {
    let line = format!("{PROGRAM} {arguments} --kubeconfig={}", control_plane.kubeconfig().display());
    let output = testbed::run(Path::new("/usr/bin/script"), ["-qec", &line, "/dev/null"], &[]).await?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(shown) } else { Err(format!("{arguments} failed: {shown}").into()) }
}
