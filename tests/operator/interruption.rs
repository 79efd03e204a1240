//! Interruptions of every sort: what was begun is finished, and nobody waits for what hangs.

use istio_manager::api::conditions::State;
use istio_manager::api::names::LAST_APPLIED_ANNOTATION;
use kube::ResourceExt;
use serde_json::json;
use testbed::{ControlPlane, Failure, TestResult};

use crate::bed::Bed;
use crate::injected::sidecars_of_a_pod;

pub async fn an_installation_that_cannot_start_istiod_refuses_no_pod(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await?;
    control_plane.fail_pods("istio-system", "istiod", Failure::Pull).await?;
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.says("default", "waiting for Deployment istio-system/istiod").await?;
    assert_eq!(sidecars_of_a_pod(control_plane).await?, 0);
    control_plane.stop_failing_pods("istio-system", "istiod").await?;
    bed.settles("default", State::Ready).await?;
    assert_eq!(sidecars_of_a_pod(control_plane).await?, 1);
    bed.stop().await
}

pub async fn an_edit_does_not_wait_for_an_installation_that_hangs(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    control_plane.fail_pods("istio-system", "istiod", Failure::Hang).await?;
    let bed = Bed::start_with(control_plane, &["--install-timeout=1h"]).await?;
    bed.create("default", json!({})).await?;
    bed.says("default", "waiting for Deployment istio-system/istiod").await?;
    bed.edit("default", json!({"config": {"trustDomain": "not-.valid"}})).await?;
    let refused = bed.settles("default", State::Warning).await?;
    let recorded = refused.annotations().contains_key(LAST_APPLIED_ANNOTATION);
    assert!(!recorded, "what was never installed completely counts as installed");
    bed.delete("default").await?;
    bed.goes("default").await?;
    bed.stop().await
}
