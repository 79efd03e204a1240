//! Dry runs against a real istiod: how many at the same time, and repeated if it may not use the change yet.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, FaultProxy, Mark, Request, Requests, TestResult, eventually};

use crate::bed::{DEADLINE, Result, USER};
use crate::mesh::{Mesh, workload};
use crate::restart::make_outdated;
use crate::waves::{assert_each_generation, assert_each_was_restarted, wait_until_converged};

/// The dry runs among the requests.
pub fn injection_dry_runs(requests: Requests) -> Requests {
    requests.only(|request: &Request| {
        request.verb == "create" && request.resource == "pods" && request.uri.contains("dryRun=All")
    })
}

async fn count_injection_dry_runs(
    control_plane: &ControlPlane,
    mark: &Mark,
    namespace: &str,
) -> Result<usize> {
    let requests = control_plane.audit().since(mark).await?.of(USER);
    Ok(injection_dry_runs(requests).iter().filter(|request| request.namespace == namespace).count())
}

/// Waits until the autoscaler has made as many istiods as there are to be: one that comes while it cannot read its
/// configuration would have another one.
async fn wait_until_istiod_is_scaled(control_plane: &ControlPlane) -> TestResult {
    let client = control_plane.client();
    let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), "istio-system");
    let least = scalers.get("istiod").await?.spec.min_replicas;
    let scaled = |istiod: Option<&Deployment>| {
        istiod.and_then(|istiod| istiod.spec.as_ref()).is_some_and(|spec| spec.replicas >= least)
    };
    let deployments: Api<Deployment> = Api::namespaced(client, "istio-system");
    control_plane.wait_for(deployments, "istiod", "scaled istiod", DEADLINE, scaled).await?;
    Mesh(control_plane).wait_until_ready("istio-system", "istiod").await
}

/// Recreates all pods of istiod.
async fn replace_istiod(control_plane: &ControlPlane) -> TestResult {
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "istio-system");
    let all = ListParams::default().labels("app=istiod");
    let before: Vec<String> = pods.list(&all).await?.iter().filter_map(ResourceExt::uid).collect();
    pods.delete_collection(&DeleteParams::default(), &all).await?;
    eventually("another istiod", DEADLINE, async || {
        let current = pods.list(&all).await?;
        Ok((!current.iter().filter_map(ResourceExt::uid).any(|uid| before.contains(&uid))).then_some(()))
    })
    .await?;
    Mesh(control_plane).wait_until_ready("istio-system", "istiod").await
}

pub async fn an_istiod_without_the_latest_config_is_queried_again(
    control_plane: &ControlPlane,
) -> TestResult {
    const NAMESPACE: &str = "asked";
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    bed.edit("default", json!({"restarter": null})).await?;
    mesh.namespace(NAMESPACE).await?;
    mesh.create(NAMESPACE, workload("Deployment", "web", 1)).await?;
    wait_until_istiod_is_scaled(control_plane).await?;
    let account = control_plane.kubeconfig_for("istio-system", "istiod").await?;
    let proxy = FaultProxy::start_for(&account, 13).await?;
    control_plane.route_istiod(Some(&proxy))?;
    replace_istiod(control_plane).await?;
    proxy.fail_reads(&["/configmaps"]);
    let mark = control_plane.audit().mark().await?;
    make_outdated(&bed, NAMESPACE).await?;
    eventually("proof", DEADLINE, async || {
        Ok((count_injection_dry_runs(control_plane, &mark, NAMESPACE).await? > 0).then_some(()))
    })
    .await
    .map_err(|error| format!("{error}\n{}", bed.operator.log()))?;
    // Nothing is to be done, says an istiod that has not heard of the change.
    crate::restart::wait_for_next_scan(&bed).await?;
    assert_each_generation(&mesh, NAMESPACE, 1).await?;
    let dry_runs_before = count_injection_dry_runs(control_plane, &mark, NAMESPACE).await?;
    proxy.fail_reads(&[]);
    wait_until_converged(&bed, NAMESPACE, NAMESPACE).await?;
    assert_each_was_restarted(&mesh, NAMESPACE, 1, NAMESPACE).await?;
    assert!(
        count_injection_dry_runs(control_plane, &mark, NAMESPACE).await? > dry_runs_before,
        "restarted without a proof"
    );
    control_plane.route_istiod(None)?;
    replace_istiod(control_plane).await?;
    bed.stop().await
}
