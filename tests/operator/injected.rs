//! Pods that come into a labelled namespace: whether they are let in, and with how many sidecars.

use std::cell::Cell;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::ControlPlane;

use crate::bed::Result;

const NAMESPACE: &str = "shop";

/// How pods are created one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PodCreation {
    /// In dry runs: nothing is left of them, and nothing runs.
    DryRun,
    /// And deleted again.
    Persisted,
}

/// How many sidecars a pod in the labelled namespace would get now.
pub async fn sidecars_of_new_pod(control_plane: &ControlPlane) -> Result<usize> {
    Ok(sidecars(&create(&pods(control_plane), PodCreation::DryRun).await?))
}

/// Creates one pod after the other in a labelled namespace, which it makes, while `work` goes on: each has to be let in, with
/// one sidecar.
pub async fn while_pods_are_created<T>(
    control_plane: &ControlPlane,
    creation: PodCreation,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    control_plane.create_namespace(NAMESPACE, &[("istio-injection", "enabled")]).await?;
    let pods = pods(control_plane);
    let created = Cell::new(0_usize);
    let probe = async {
        loop {
            let number = created.get();
            let pod = create(&pods, creation).await;
            let pod = pod.map_err(|error| format!("pod {number} is refused: {error}"))?;
            let sidecars = sidecars(&pod);
            if sidecars != 1 {
                return Result::Err(format!("pod {number} has {sidecars} sidecars").into());
            }
            match creation {
                PodCreation::DryRun => tokio::time::sleep(Duration::from_millis(20)).await,
                PodCreation::Persisted => {
                    pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
                }
            }
            created.set(number + 1);
        }
    };
    let done = tokio::select! {
        done = work => done?,
        failed = probe => failed?,
    };
    assert!(created.get() > 0, "no pod was created meanwhile");
    Ok(done)
}

fn pods(control_plane: &ControlPlane) -> Api<Pod> {
    Api::namespaced(control_plane.client(), NAMESPACE)
}

async fn create(pods: &Api<Pod>, creation: PodCreation) -> Result<Pod> {
    let pod = serde_json::from_value(json!({
        "metadata": {"generateName": "cart-"},
        "spec": {"containers": [{"name": "cart", "image": "example.com/cart:1"}]},
    }))?;
    Ok(pods
        .create(&PostParams { dry_run: creation == PodCreation::DryRun, ..PostParams::default() }, &pod)
        .await?)
}

fn sidecars(pod: &Pod) -> usize {
    let spec = pod.spec.iter();
    let containers =
        spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.filter(|container| container.name == "istio-proxy").count()
}
