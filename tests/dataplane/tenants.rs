//! What tenants do in their own namespaces stays there: forged owners, long annotations, failing workloads.

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::held::{MAINTENANCE_WINDOW, blocked_by, fill_quota};
use crate::mesh::{Mesh, workload};
use crate::restart::{make_outdated, sidecars, wait_for_sidecar_condition};

const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// A pod with an outdated sidecar, both of which somebody wrote by hand.
fn forged(name: &str, labels: &Value, owner: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"security.istio.io/tlsMode": "istio", "sidecar.istio.io/inject": "false"},
            "annotations": {"sidecar.istio.io/status": r#"{"containers":["istio-proxy"],"revision":"default"}"#},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "istio-proxy", "image": "example.com/proxyv2:1.0.0"}]},
    });
    for (key, value) in labels.as_object().into_iter().flatten() {
        pod["metadata"]["labels"][key] = value.clone();
    }
    pod
}

/// Two ways to name a Deployment as the owner: directly, and by its `ReplicaSet` with another UID.
fn forgeries(victim: &Deployment, of_victim: &Pod) -> [(Value, &'static str); 2] {
    let directly = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": victim.name_any(), "uid": victim.uid(),
        "controller": true});
    let mut by_replica_set = json!(of_victim.owner_references().first());
    by_replica_set["uid"] = json!("00000000-0000-4000-8000-000000000000");
    [
        (forged("directly", &json!({"app": "victim"}), &directly), "does not own pods directly"),
        (
            forged("by-replica-set", &json!(of_victim.labels()), &by_replica_set),
            "does not exist with the UID",
        ),
    ]
}

pub async fn a_forged_owner_restarts_nothing_and_raises_no_warning(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    bed.ensure_installed().await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("forgers").await?;
    mesh.create("forgers", workload("Deployment", "victim", 1)).await?;
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "forgers");
    let victim = deployments.get("victim").await?;
    let of_victim = mesh.pods("forgers", "victim").await?.pop().ok_or("the victim has no pod")?;
    // It would delete the pod whose owner does not exist, which is a race that a tenant may win.
    for process in control_plane.processes().iter().filter(|process| process.name() == CONTROLLER_MANAGER) {
        process.pause()?;
    }
    let forgeries = forgeries(&victim, &of_victim);
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "forgers");
    for (pod, _) in &forgeries {
        pods.create(&PostParams::default(), &serde_json::from_value(pod.clone())?).await?;
    }
    let names = forgeries.each_ref().map(|(pod, _)| pod["metadata"]["name"].as_str().unwrap_or_default());
    let listed = |resource: &Istio| names.iter().all(|name| !blocked_by(resource, name).is_empty());
    let resource = wait_for_sidecar_condition(&bed, "ProxySidecarRestartSucceeded", listed).await?;
    for (name, (_, words)) in names.into_iter().zip(&forgeries) {
        let why = blocked_by(&resource, name);
        assert!(why.contains(words), "{name}: {why}");
    }
    assert_eq!(resource.status.map(|status| status.state), Some(State::Ready));
    let after = deployments.get("victim").await?;
    assert_eq!((after.uid(), after.spec), (victim.uid(), victim.spec), "the victim was changed");
    assert!(pods.get(&of_victim.name_any()).await?.metadata.deletion_timestamp.is_none());
    bed.stop().await
}

pub async fn a_window_of_any_length_does_not_freeze_the_status(control_plane: &ControlPlane) -> TestResult {
    const LARGEST_STATUS: usize = 256 << 10;
    let bed = crate::installed(control_plane).await?;
    bed.ensure_installed().await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("long").await?;
    let names = ["one", "two", "three", "four"];
    // In JSON, each of these characters takes six bytes.
    let window = format!("a b {}", "\u{1}".repeat(200_000));
    for name in names {
        let mut object = workload("Deployment", name, 1);
        object["metadata"]["annotations"] = json!({MAINTENANCE_WINDOW: window});
        mesh.create("long", object).await?;
    }
    make_outdated(&bed, "long").await?;
    let listed = |resource: &Istio| names.iter().all(|name| !blocked_by(resource, name).is_empty());
    let resource = wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", listed).await?;
    for name in names {
        let why = blocked_by(&resource, name);
        assert!(why.contains("invalid maintenance window: window is longer than"), "{name}: {why}");
    }
    let status = serde_json::to_string(&resource.status)?;
    assert!(status.len() <= LARGEST_STATUS && !status.contains("\\u0001"), "{} bytes", status.len());
    // The status goes on to follow the resource.
    make_outdated(&bed, "longer").await?;
    bed.wait_until_applied().await?;
    bed.stop().await
}

pub async fn failures_in_one_namespace_do_not_stop_another(control_plane: &ControlPlane) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let limits = json!({"failureLimit": 2, "maxUnfinished": 1, "maxUnfinishedPerNamespace": 1});
    bed.ensure_installed().await?;
    bed.edit("default", json!({"restarter": limits})).await?;
    let mesh = Mesh(control_plane);
    // The namespace that fails is the first of the wave, and has the most workloads.
    let names = ["one", "two", "three", "four"];
    for namespace in ["a-failing", "b-healthy"] {
        mesh.namespace(namespace).await?;
    }
    for name in names {
        let mut object = workload("Deployment", name, 1);
        object["spec"]["progressDeadlineSeconds"] = json!(3);
        mesh.create("a-failing", object).await?;
    }
    mesh.create("b-healthy", workload("Deployment", "web", 1)).await?;
    let before = mesh.uids("b-healthy", "web").await?;
    fill_quota(control_plane, "a-failing", 4).await?;
    make_outdated(&bed, "failures").await?;
    let suspended = wait_for_sidecar_condition(&bed, "ProxySidecarManualRestartRequired", |resource| {
        sidecars(resource).1.contains("Restarts in namespace a-failing were stopped after 2 failed rollouts")
    })
    .await?;
    let on_hold = names.iter().filter(|name| blocked_by(&suspended, name) == "restarts are on hold");
    assert_eq!(on_hold.count(), 2, "{:?}", suspended.status);
    let after = mesh.uids("b-healthy", "web").await?;
    assert!(after.iter().all(|uid| !before.contains(uid)), "the other namespace was not restarted");
    bed.stop().await
}
