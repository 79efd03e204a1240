//! Lists of several pages.

use istio_manager::dataplane::requests::PAGE;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::{ControlPlane, FaultProxy, TestResult};

use crate::bed::Bed;
use crate::mesh::{Mesh, workload};
use crate::restart::make_outdated;
use crate::waves::{each_was_restarted, settled};

/// More than a page has, so that it is on two of them wherever it begins; few enough for the nodes, its rollout included.
const PODS: i64 = PAGE as i64 + 5;

pub async fn a_deployment_of_several_pages_is_restarted_once_though_its_list_expires(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 13).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    let mesh = Mesh(control_plane);
    mesh.namespace("crowd").await?;
    mesh.create("crowd", workload("Deployment", "crowd", PODS)).await?;
    bed.edit("default", json!({"restarter": null})).await?;
    proxy.expire_page_of_pods();
    make_outdated(&bed, "crowd").await?;
    settled(&bed, "crowd", "crowd").await?;
    assert_eq!(proxy.lost(), 1, "no list expired");
    each_was_restarted(&mesh, "crowd", 1, "crowd").await?;
    // So many pods would only slow the next tests down.
    let deployments: Api<Deployment> = Api::namespaced(control_plane.client(), "crowd");
    deployments.delete("crowd", &DeleteParams::default()).await?;
    bed.stop().await
}
