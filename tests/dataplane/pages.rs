//! Lists of several pages.

use istio_manager::dataplane::requests::MAX_PAGE_ITEMS;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::{ControlPlane, FaultProxy, TestResult};

use crate::bed::Bed;
use crate::mesh::{Mesh, workload};
use crate::restart::make_outdated;
use crate::waves::{assert_each_was_restarted, wait_until_converged};

/// More than a page has, so that it is on two of them wherever it begins; few enough for the nodes, its rollout included.
const PODS: i64 = MAX_PAGE_ITEMS as i64 + 5;

pub async fn a_deployment_on_several_pages_restarts_once_if_its_list_expires(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 13).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    crate::ensure_installed(&bed).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("crowd").await?;
    mesh.create("crowd", workload("Deployment", "crowd", PODS)).await?;
    bed.edit("default", json!({"restarter": null})).await?;
    proxy.expire_page_of_pods();
    make_outdated(&bed, "crowd").await?;
    wait_until_converged(&bed, "crowd", "crowd").await?;
    assert_eq!(proxy.lost_requests(), 1, "no list expired");
    assert_each_was_restarted(&mesh, "crowd", 1, "crowd").await?;
    // So many pods would only slow the next tests down.
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "crowd");
    deployments.delete("crowd", &DeleteParams::default()).await?;
    bed.stop().await
}
