//! Whatever fails on the way: the end is the same, nobody has to lend a hand, and the status tells the truth meanwhile.

use std::time::Duration;

use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use testbed::{ControlPlane, FaultProxy, HeldAnswer, Process, Request, Requests, TestResult};

use crate::bed::{Bed, DEADLINE, NAMESPACE, Result, USER};
use crate::drift::applied_objects;
use crate::removal::assert_nothing_is_left;

const SECOND_USER: &str = "system:serviceaccount:kyma-system:second";

pub async fn a_lossy_network_neither_stops_an_installation_nor_a_removal(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 31).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    proxy.lose(100);
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_all_workloads_are_available(control_plane).await?;
    let lost = proxy.lost_requests();
    assert!(lost > 5, "only {lost} requests were lost while installing");
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    assert!(proxy.lost_requests() > lost, "no request was lost while removing");
    assert_nothing_is_left(&bed).await?;
    bed.stop().await
}

/// Writes at which the API server is restarted, while the operator waits for the answer.
const RESTARTS: [&[(&str, &str)]; 2] = [
    &[("PATCH", "/clusterrolebindings/"), ("PATCH", "/deployments/istiod?")],
    &[("DELETE", "/mutatingwebhookconfigurations/"), ("DELETE", "/deployments/istiod?")],
];

pub async fn an_api_server_restart_stops_neither_installation_nor_removal(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 1).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    let mut server = None;
    let [installing, removing] = RESTARTS;
    bed.create("default", json!({})).await?;
    for write in installing {
        let held = intercept_write(&proxy, *write).await?;
        server = Some(control_plane.restart_api_server(server).await?);
        drop(held);
    }
    bed.wait_for_state("default", State::Ready).await?;
    assert_all_workloads_are_available(control_plane).await?;
    bed.delete("default").await?;
    for write in removing {
        let held = intercept_write(&proxy, *write).await?;
        server = Some(control_plane.restart_api_server(server).await?);
        drop(held);
    }
    bed.wait_until_gone("default").await?;
    assert_nothing_is_left(&bed).await?;
    bed.stop().await?;
    drop(server);
    Ok(())
}

/// Whoever says that Istio is ready must be right.
async fn assert_all_workloads_are_available(control_plane: &ControlPlane) -> Result {
    for target in applied_objects(control_plane).await? {
        let live = target.api(control_plane).get(&target.name).await?;
        let status = |field: &str| live.data["status"][field].as_i64().unwrap_or(0);
        let (wanted, available) = match target.kind.kind.as_str() {
            "Deployment" => {
                (live.data["spec"]["replicas"].as_i64().unwrap_or(1), status("availableReplicas"))
            }
            "DaemonSet" => (status("desiredNumberScheduled"), status("numberAvailable")),
            _ => continue,
        };
        assert!(wanted > 0 && available >= wanted, "{} has {available} of {wanted} pods", target.name);
    }
    Ok(())
}

/// Waits until the API server has done the write, whose answer is held back from the operator.
pub async fn intercept_write(proxy: &FaultProxy, (method, path): (&str, &str)) -> Result<HeldAnswer> {
    let mut held = proxy.hold_answer(method.parse()?, path);
    let caught = tokio::time::timeout(DEADLINE, held.caught()).await;
    caught.map_err(|_| format!("no {method} {path} within {DEADLINE:?}"))??;
    Ok(held)
}

/// For how long a slow disk makes etcd stand still, and for how long it then works.
const STALL: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(100)];

pub async fn a_slow_etcd_delays_but_stops_neither_installation_nor_removal(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    let work = async {
        bed.create("default", json!({})).await?;
        bed.wait_for_state("default", State::Ready).await?;
        assert_all_workloads_are_available(control_plane).await?;
        bed.delete("default").await?;
        bed.wait_until_gone("default").await
    };
    tokio::select! {
        done = work => done?,
        failed = stall_etcd(control_plane) => return Err(failed.err().unwrap_or_else(|| "etcd is gone".into())),
    }
    etcd(control_plane)?.resume()?;
    assert_nothing_is_left(&bed).await?;
    bed.stop().await
}

fn etcd(control_plane: &ControlPlane) -> Result<&Process> {
    Ok(control_plane.processes().iter().find(|process| process.name() == "etcd").ok_or("no etcd")?)
}

/// Lets etcd stand still most of the time, until this is dropped.
async fn stall_etcd(control_plane: &ControlPlane) -> Result {
    let etcd = etcd(control_plane)?;
    let [still, working] = STALL;
    loop {
        etcd.pause()?;
        tokio::time::sleep(still).await;
        etcd.resume()?;
        tokio::time::sleep(working).await;
    }
}

pub async fn a_leader_that_hangs_during_an_install_is_replaced_and_stops_writing(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 2).await?;
    let bed = Bed::start_with_short_lease(control_plane, &proxy).await?;
    assert_leader_is_replaced(bed, &proxy, LeaderFailure::Hangs).await
}

pub async fn a_leader_cut_off_during_an_install_is_replaced_and_stops_writing(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 3).await?;
    let bed = Bed::start_with_short_lease(control_plane, &proxy).await?;
    assert_leader_is_replaced(bed, &proxy, LeaderFailure::CutOff).await
}

pub async fn a_leader_killed_during_an_install_is_replaced_and_stops_writing(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 4).await?;
    let bed = Bed::start_with_short_lease(control_plane, &proxy).await?;
    assert_leader_is_replaced(bed, &proxy, LeaderFailure::Killed).await
}

/// How a leader is lost.
#[derive(Clone, Copy, PartialEq)]
enum LeaderFailure {
    Killed,
    Hangs,
    CutOff,
}

/// The leader is lost in the middle of an installation, another replica finishes it, and the first one comes back.
async fn assert_leader_is_replaced(
    mut bed: Bed<'_>,
    proxy: &FaultProxy,
    failure: LeaderFailure,
) -> TestResult {
    let control_plane = bed.control_plane;
    create_second_account(control_plane).await?;
    let mark = control_plane.audit().mark().await?;
    bed.create("default", json!({})).await?;
    let held = intercept_write(proxy, ("PATCH", "/deployments/istiod?")).await?;
    match failure {
        LeaderFailure::Killed => bed.operator.kill().await?,
        LeaderFailure::Hangs => bed.operator.pause()?,
        LeaderFailure::CutOff => proxy.cut(true),
    }
    drop(held);
    let follower = bed.replica("second").await?;
    follower.wait_for_log("reconciled", DEADLINE).await?;
    bed.wait_for_state("default", State::Ready).await?;
    match failure {
        LeaderFailure::Killed => {}
        LeaderFailure::Hangs => bed.operator.resume()?,
        LeaderFailure::CutOff => proxy.cut(false),
    }
    let ended = bed.operator.wait(DEADLINE).await?;
    if failure != LeaderFailure::Killed {
        assert_eq!(ended.code(), Some(1), "{}", bed.operator.log());
    }
    let writes = control_plane.audit().since(&mark).await?.writes();
    let late = writes_after_leader_change(&writes);
    assert!(late.is_empty(), "{late:?}");
    drop(follower);
    Ok(())
}

/// What the first replica still wrote after the second had the Lease, by the clock of the API server.
fn writes_after_leader_change(writes: &Requests) -> Vec<&Request> {
    let leader_change = writes.iter().find(|write| {
        write.user == SECOND_USER && write.resource == "leases.coordination.k8s.io" && write.code == 200
    });
    let Some(leader_change) = leader_change else { return writes.iter().collect() };
    writes.iter().filter(|write| write.user == USER && write.received > leader_change.received).collect()
}

/// A ServiceAccount with the operator's permissions, so that the audit log tells two replicas apart.
async fn create_second_account(control_plane: &ControlPlane) -> Result {
    let client = control_plane.client();
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "second"}}))?;
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &account).await?;
    let subject = json!([{"kind": "ServiceAccount", "name": "second", "namespace": NAMESPACE}]);
    let role =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let everywhere: ClusterRoleBinding = serde_json::from_value(json!({"metadata": {"name": "second"},
        "subjects": subject, "roleRef": role("ClusterRole", "istio-manager-role")}))?;
    Api::all(client.clone()).create(&PostParams::default(), &everywhere).await?;
    let here: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "second"},
        "subjects": subject, "roleRef": role("Role", "istio-leader-election-role")}))?;
    Api::namespaced(client, NAMESPACE).create(&PostParams::default(), &here).await?;
    Ok(())
}
