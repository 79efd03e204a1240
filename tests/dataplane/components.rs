//! Istio's own workloads are restarted when they would not take a change in otherwise, once, and never else.

use istio_manager::api::conditions::State;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, DEADLINE, Result};

const RESTARTED_AT: &str = "istio-operator.kyma-project.io/restartedAt";

fn restarted_at(deployment: &Deployment) -> Option<String> {
    let metadata = deployment.spec.as_ref()?.template.metadata.as_ref()?;
    metadata.annotations.as_ref()?.get(RESTARTED_AT).cloned()
}

async fn present(control_plane: &ControlPlane, name: &str) -> Result<Option<String>> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    Ok(restarted_at(&api.get(name).await?))
}

pub async fn the_gateway_restarts_once_for_what_it_reads_at_its_start(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.settles("default", State::Ready).await?;
    crate::restart::told(&bed, "ProxySidecarRestartSucceeded", |_| true).await?;
    assert_eq!(
        present(control_plane, "istio-ingressgateway").await?,
        None,
        "restarted after an installation"
    );
    bed.edit("default", json!({"config": {"numTrustedProxies": 3}})).await?;
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    let is_restarted =
        |deployment: Option<&Deployment>| deployment.is_some_and(|d| restarted_at(d).is_some());
    let what = "restarted gateway";
    control_plane.wait_for(api, "istio-ingressgateway", what, DEADLINE, is_restarted).await?;
    let first = present(control_plane, "istio-ingressgateway").await?;
    bed.stop().await?;
    // A change of what it does not read, and a start of the operator, leave it alone.
    let bed = Bed::start(control_plane).await?;
    bed.edit("default", json!({"config": {"enableDNSProxying": true}})).await?;
    bed.settles("default", State::Ready).await?;
    crate::restart::looked_again(&bed).await?;
    assert_eq!(present(control_plane, "istio-ingressgateway").await?, first);
    assert_eq!(present(control_plane, "istiod").await?, None);
    bed.stop().await
}
