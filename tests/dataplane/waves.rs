//! What happens during a restart wave: faults of the API server, edits, a deletion, another mesh. Nothing is restarted twice,
//! nothing is forgotten, and nothing waits for the wave.

use std::collections::BTreeMap;

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, Failure, FaultProxy, Mark, TestResult, eventually};

use crate::bed::{Bed, DEADLINE, Result, USER};
use crate::mesh::{Mesh, workload};
use crate::restart::{make_outdated, statistics};

/// Workloads of one test, in a namespace of its own.
const WORKLOADS: usize = 6;

async fn populate(mesh: &Mesh<'_>, namespace: &str) -> TestResult {
    mesh.namespace(namespace).await?;
    for index in 0..WORKLOADS {
        mesh.create(namespace, workload("Deployment", &format!("w{index}"), 1)).await?;
    }
    // Evictions leave less behind that tells whether they were made.
    mesh.create(namespace, workload("ReplicaSet", "evicted", 2)).await
}

/// A wave that restarts one workload at a time in each namespace.
async fn slow_down_waves(bed: &Bed<'_>) -> Result {
    bed.edit("default", json!({"restarter": {"enabled": true, "maxUnfinishedPerNamespace": 1}})).await?;
    Ok(())
}

/// Waits until so many Deployments of `namespace` were restarted by a wave that is not over.
async fn wait_for_some_restarts(
    control_plane: &ControlPlane,
    namespace: &str,
    restarted: usize,
) -> TestResult {
    let done = eventually(&format!("{restarted} restarts in {namespace}"), DEADLINE, async || {
        let generations = generations(control_plane, namespace).await?;
        let done = generations.values().filter(|generation| **generation > 1).count();
        Ok((done >= restarted).then_some(done))
    })
    .await?;
    assert!(done < WORKLOADS, "the wave is over");
    Ok(())
}

/// Waits until every pod of `namespace` has what `make_outdated` gave the mesh as `target`, and nothing there is told to be
/// outdated or under way. The status alone would not do: until the wave is told in it, it says what was true before.
pub async fn wait_until_converged(bed: &Bed<'_>, namespace: &str, target: &str) -> TestResult {
    let reached = eventually(&format!("pods of {namespace} with {target}"), 2 * DEADLINE, async || {
        let pods = pods_with_target(bed.control_plane, namespace, target).await?;
        Ok((!pods.is_empty() && pods.values().all(|has| *has)).then_some(()))
    })
    .await;
    reached.map_err(|error| format!("{error}\noperator says:\n{}", bed.operator.log()))?;
    let is_converged = |resource: &Istio| {
        let status = resource.status.clone().and_then(|status| status.data_plane).unwrap_or_default();
        let only_blocked = status.stale == i64::try_from(status.blocked_workloads.len()).unwrap_or_default();
        let here = status.blocked_workloads.iter().any(|workload| workload.namespace == namespace);
        status.restarting == 0 && only_blocked && !here && status.on_hold.is_none()
    };
    let is_finished = |resource: Option<&Istio>| {
        let over = ["ProxySidecarManualRestartRequired", "ProxySidecarRestartSucceeded"];
        resource.is_some_and(|r| over.contains(&crate::restart::sidecars(r).0.as_str()) && is_converged(r))
    };
    let found = bed
        .control_plane
        .wait_for(bed.resources(), "default", "settled wave", 2 * DEADLINE, is_finished)
        .await;
    found.map_err(|error| format!("{error}\noperator says:\n{}", bed.operator.log()))?;
    Ok(())
}

/// Asserts that each Deployment was rolled out `times`, and that all of them
/// have what `make_outdated` gave the mesh as `target`.
pub async fn assert_each_was_restarted(
    mesh: &Mesh<'_>,
    namespace: &str,
    times: i64,
    target: &str,
) -> TestResult {
    assert_each_generation(mesh, namespace, 1 + times).await?;
    assert_each_pod_has_target(mesh, namespace, target).await
}

/// Asserts that each Deployment is of this generation.
pub async fn assert_each_generation(mesh: &Mesh<'_>, namespace: &str, expected: i64) -> TestResult {
    let generations = generations(mesh.0, namespace).await?;
    assert!(!generations.is_empty(), "no Deployment is in {namespace}");
    assert!(generations.values().all(|generation| *generation == expected), "{namespace}: {generations:?}");
    Ok(())
}

async fn assert_each_pod_has_target(mesh: &Mesh<'_>, namespace: &str, target: &str) -> TestResult {
    let pods = pods_with_target(mesh.0, namespace, target).await?;
    assert!(!pods.is_empty() && pods.values().all(|has| *has), "forgotten in {namespace}: {pods:?}");
    Ok(())
}

/// The pods of `namespace`, and whether each has what `make_outdated` gave the mesh under `name`.
async fn pods_with_target(
    control_plane: &ControlPlane,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, bool>> {
    let regexp = statistics(name);
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), namespace);
    let mut has_target = BTreeMap::new();
    for pod in pods.list(&ListParams::default()).await? {
        has_target.insert(pod.name_any(), serde_json::to_string(&pod.spec)?.contains(&regexp));
    }
    Ok(has_target)
}

/// Successful evictions in a namespace.
pub async fn evictions(control_plane: &ControlPlane, mark: &Mark, namespace: &str) -> Result<usize> {
    let requests = control_plane.audit().since(mark).await?.of(USER);
    let made = |request: &&testbed::Request| {
        request.resource == "pods/eviction" && request.namespace == namespace && request.code == 201
    };
    Ok(requests.iter().filter(made).count())
}

pub async fn a_lossy_network_in_a_wave_neither_repeats_nor_forgets_a_restart(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 7).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    crate::ensure_installed(&bed).await?;
    let mesh = Mesh(control_plane);
    populate(&mesh, "lossy").await?;
    slow_down_waves(&bed).await?;
    make_outdated(&bed, "lossy").await?;
    wait_for_some_restarts(control_plane, "lossy", 1).await?;
    let mark = control_plane.audit().mark().await?;
    proxy.lose(150);
    eventually("ten lost requests", DEADLINE, async || Ok((proxy.lost_requests() >= 10).then_some(())))
        .await?;
    proxy.lose(0);
    wait_until_converged(&bed, "lossy", "lossy").await?;
    assert_each_was_restarted(&mesh, "lossy", 1, "lossy").await?;
    assert!(evictions(control_plane, &mark, "lossy").await? <= 2, "a replacement was evicted");
    bed.stop().await
}

pub async fn a_wave_waits_for_an_unreachable_api_server(control_plane: &ControlPlane) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 11).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    crate::ensure_installed(&bed).await?;
    let mesh = Mesh(control_plane);
    populate(&mesh, "cut").await?;
    slow_down_waves(&bed).await?;
    make_outdated(&bed, "cut").await?;
    wait_for_some_restarts(control_plane, "cut", 1).await?;
    proxy.cut(true);
    // The last restart that was begun goes on without the operator, and it may be all that the wave waits for just now. The
    // Lease is renewed in any case. What was on its way when the cut came has arrived by its first failure.
    bed.wait_for_log_again("failed to read the Lease", 1).await?;
    let mark = control_plane.audit().mark().await?;
    bed.wait_for_log_again("failed to read the Lease", 2).await?;
    let meanwhile = control_plane.audit().since(&mark).await?.of(USER).writes();
    assert_eq!(meanwhile.len(), 0, "the cut lets requests through: {meanwhile:?}");
    proxy.cut(false);
    wait_until_converged(&bed, "cut", "cut").await?;
    assert_each_was_restarted(&mesh, "cut", 1, "cut").await?;
    bed.stop().await
}

type Generations = BTreeMap<String, i64>;

async fn generations(control_plane: &ControlPlane, namespace: &str) -> Result<Generations> {
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), namespace);
    let list = deployments.list(&ListParams::default()).await?;
    Ok(list.iter().map(|d| (d.name_any(), d.metadata.generation.unwrap_or(0))).collect())
}

pub async fn a_mesh_change_during_a_wave_causes_no_needless_second_restart(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    populate(&mesh, "retargeted").await?;
    slow_down_waves(&bed).await?;
    make_outdated(&bed, "first").await?;
    wait_for_some_restarts(control_plane, "retargeted", 2).await?;
    make_outdated(&bed, "second").await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "istio-system");
    let changed = |map: Option<&ConfigMap>| {
        map.and_then(|map| map.data.as_ref()?.get("mesh")).is_some_and(|text| text.contains("second"))
    };
    control_plane.wait_for(maps, "istio", "changed mesh", DEADLINE, changed).await?;
    let then = generations(control_plane, "retargeted").await?;
    assert!(then.values().any(|generation| *generation == 1), "the wave was over: {then:?}");
    wait_until_converged(&bed, "retargeted", "second").await?;
    let now = generations(control_plane, "retargeted").await?;
    // What was restarted for the first target is outdated again; the rest is restarted for the second one only. One may
    // just have begun.
    let twice = now.iter().filter(|(name, generation)| **generation > then[*name] + 1).count();
    assert!(twice <= 1, "{then:?} became {now:?}");
    assert_each_pod_has_target(&mesh, "retargeted", "second").await?;
    bed.stop().await
}

pub async fn a_change_reverted_during_a_wave_is_rolled_back_without_approval(
    control_plane: &ControlPlane,
) -> TestResult {
    const NAMESPACE: &str = "taken-back";
    const INTERIM_TARGET: &str = "during";
    let bed = Bed::start_with(control_plane, &[]).await?;
    let mesh = Mesh(control_plane);
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.wait_until_data_plane_converged().await?;
    populate(&mesh, NAMESPACE).await?;
    slow_down_waves(&bed).await?;
    make_outdated(&bed, INTERIM_TARGET).await?;
    // More than a fifth of the mesh, and more than a few.
    wait_for_some_restarts(control_plane, NAMESPACE, 4).await?;
    bed.edit("default", json!({"config": {"proxyStatsMatcher": null}})).await?;
    let rolled_back = eventually("pods as they were", 2 * DEADLINE, async || {
        let pods = pods_with_target(control_plane, NAMESPACE, INTERIM_TARGET).await?;
        Ok((!pods.is_empty() && !pods.values().any(|has| *has)).then_some(()))
    });
    rolled_back.await.map_err(|error| format!("{error}\noperator says:\n{}", bed.operator.log()))?;
    bed.stop().await
}

/// Makes the wave hang: new pods in `namespace` never start.
async fn start_hanging_wave(bed: &Bed<'_>, namespace: &'static str) -> TestResult {
    let mesh = Mesh(bed.control_plane);
    mesh.namespace(namespace).await?;
    mesh.create(namespace, workload("Deployment", "hangs", 1)).await?;
    slow_down_waves(bed).await?;
    bed.control_plane.fail_new_pods(namespace, "hangs", Failure::Hang).await?;
    make_outdated(bed, namespace).await?;
    let deployments: Api<Deployment> = Api::namespaced(bed.control_plane.client(), namespace);
    let begun = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| deployment.metadata.generation == Some(2))
    };
    bed.control_plane.wait_for(deployments, "hangs", "begun restart", DEADLINE, begun).await?;
    Ok(())
}

pub async fn an_edit_and_a_deletion_do_not_wait_for_a_wave_that_hangs(
    control_plane: &ControlPlane,
) -> TestResult {
    const NAMESPACE: &str = "hanging";
    let bed = Bed::start_with(control_plane, &["--install-timeout=30s"]).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    start_hanging_wave(&bed, NAMESPACE).await?;
    let replicas = json!({"min": 2, "max": 7});
    let gateway =
        json!({"k8s": {"hpaSpec": {"minReplicas": replicas["min"], "maxReplicas": replicas["max"]}}});
    bed.edit("default", json!({"components": {"ingressGateway": gateway}})).await?;
    let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(control_plane.client(), "istio-system");
    let scaled =
        |scaler: Option<&HorizontalPodAutoscaler>| scaler.is_some_and(|scaler| scaler.spec.max_replicas == 7);
    control_plane.wait_for(scalers, "istio-ingressgateway", "edit", DEADLINE, scaled).await?;
    assert!(is_hanging(control_plane, NAMESPACE).await?, "the wave did not hang");
    bed.delete("default").await?;
    // The restart that hangs is waited for, until the deadline of the removal, and then named.
    bed.wait_until_gone("default").await?;
    assert!(is_hanging(control_plane, NAMESPACE).await?, "the wave did not hang");
    let log = bed.operator.log();
    assert!(log.contains("Deployment hanging/hangs"), "what is left is not named: {log}");
    control_plane.stop_failing_pods(NAMESPACE, "hangs").await?;
    bed.stop().await
}

async fn is_hanging(control_plane: &ControlPlane, namespace: &str) -> Result<bool> {
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), namespace);
    let status = deployments.get("hangs").await?.status.unwrap_or_default();
    Ok(status.replicas == Some(2) && status.available_replicas == Some(1))
}
