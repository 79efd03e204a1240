//! Large pods of a tenant do not fill the memory of the operator.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use istio_manager::api::Istio;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, Result};
use crate::restart::{counts, make_outdated};

const PODS: usize = 500;
/// Bytes of the variable that makes a pod large; etcd takes 1.5 MiB of the whole pod.
const SIZE: usize = 900_000;
/// Pods that are created at once.
const AT_ONCE: usize = 8;
/// The memory that the operator's Deployment gives it, in bytes.
const MEMORY_LIMIT: u64 = 128 << 20;
/// What the operator may hold at most, in bytes, its program file not counted: together with the 12 MiB of that of a release
/// build, 40 MiB. That of a debug build alone has 38 MiB in memory.
const MAX_PEAK_MEMORY: u64 = 28 << 20;
/// What pods of half a gigabyte take on a loaded machine: several programs here read them several times.
const DEADLINE: Duration = Duration::from_secs(400);
/// What it logs after a scan.
const SCAN_FINISHED: &str = "scanned the data plane";
/// They would only hold all pods once more.
const PAUSED_CONTROLLERS: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// What makes a pod large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LargePod {
    /// Its own container.
    Own,
    /// The container that looks injected: too large for one that is, so that the pod has no sidecar.
    Proxy,
    /// Its own container, and nothing is known about its owner, so that injection is asked about the whole pod.
    Owned,
}

impl LargePod {
    fn of(index: usize) -> Self {
        [Self::Own, Self::Proxy, Self::Owned][index % 3]
    }
}

/// A large pod that looks as if it had an outdated sidecar.
fn large_pod(index: usize) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("large-{index}"),
            "labels": {"app": "large", "security.istio.io/tlsMode": "istio", "sidecar.istio.io/inject": "false"},
            "annotations": {"sidecar.istio.io/status": r#"{"containers":["istio-proxy"],"revision":"default"}"#},
        },
        "spec": {"nodeName": "node-1", "containers": [
            {"name": "app", "image": "example.com/app:1"},
            {"name": "istio-proxy", "image": "example.com/proxyv2:1.0.0"},
        ]},
    });
    let kind = LargePod::of(index);
    let container = usize::from(kind == LargePod::Proxy);
    pod["spec"]["containers"][container]["env"] = json!([{"name": "LARGE", "value": "x".repeat(SIZE)}]);
    if kind == LargePod::Owned {
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "example.com/v1", "kind": "Unknown",
            "name": format!("owner-{index}"), "uid": format!("00000000-0000-4000-8000-{index:012}"), "controller": true}]);
    }
    pod
}

async fn create_all(control_plane: &ControlPlane) -> Result {
    let api: Api<Pod> = Api::namespaced(control_plane.client(), "large");
    let create = async |index: usize| -> Result {
        api.create(&PostParams::default(), &serde_json::from_value(large_pod(index))?).await?;
        Ok(())
    };
    stream::iter(0..PODS).map(create).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Waits until the status counts every large pod as outdated that has a sidecar.
async fn wait_until_all_are_counted(bed: &Bed<'_>) -> Result {
    let outdated = (0..PODS).filter(|index| LargePod::of(*index) != LargePod::Proxy).count();
    let is_counted =
        |resource: Option<&Istio>| resource.is_some_and(|resource| counts(resource)["stale"] == outdated);
    let what = "status with all large pods";
    let found = bed.control_plane.wait_for(bed.resources(), "default", what, DEADLINE, is_counted).await;
    found.map_err(|error| format!("{error}\noperator says:\n{}", bed.operator.log()))?;
    Ok(())
}

async fn wait_for_next_scan(bed: &Bed<'_>) -> Result {
    let times = bed.operator.count_in_log(SCAN_FINISHED) + 1;
    Ok(bed.operator.wait_for_log_times(SCAN_FINISHED, times, DEADLINE).await?)
}

pub async fn large_pods_do_not_fill_the_memory_of_the_operator(control_plane: &ControlPlane) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    bed.ensure_installed().await?;
    control_plane.create_namespace("large", &[]).await?;
    bed.wait_for_log(SCAN_FINISHED).await?;
    for process in
        control_plane.processes().iter().filter(|process| PAUSED_CONTROLLERS.contains(&process.name()))
    {
        process.pause()?;
    }
    bed.operator.limit_memory(MEMORY_LIMIT)?;
    bed.operator.reset_peak_memory()?;
    let (rest, program) = (bed.operator.peak_memory()?, bed.operator.program_memory()?);
    create_all(control_plane).await?;
    wait_until_all_are_counted(&bed).await?;
    // The next look asks about every workload.
    make_outdated(&bed, "large").await?;
    bed.wait_until_applied().await?;
    wait_for_next_scan(&bed).await?;
    let peak = bed.operator.peak_memory()?;
    println!(
        "memory of the operator: {rest} bytes before, {peak} at its peak, {program} of them its program file"
    );
    assert!(
        peak - program <= MAX_PEAK_MEMORY,
        "the operator held {peak} bytes, {program} of them its program file"
    );
    bed.stop().await
}
