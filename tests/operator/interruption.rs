//! Interruptions of every sort: what was begun is finished, and nobody waits for what hangs.

use istio_manager::api::conditions::State;
use istio_manager::api::names::LAST_APPLIED_ANNOTATION;
use kube::ResourceExt;
use serde_json::json;
use testbed::{ControlPlane, Failure, TestResult};

use crate::bed::Bed;
use crate::drift::{Target, wait_until_restored};
use crate::injected::sidecars_of_new_pod;

pub async fn an_installation_that_cannot_start_istiod_refuses_no_pod(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await?;
    control_plane.fail_pods("istio-system", "istiod", Failure::Pull).await?;
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_description("default", "waiting for Deployment istio-system/istiod").await?;
    assert_eq!(sidecars_of_new_pod(control_plane).await?, 0);
    control_plane.stop_failing_pods("istio-system", "istiod").await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(sidecars_of_new_pod(control_plane).await?, 1);
    bed.stop().await
}

pub async fn an_edit_does_not_wait_for_an_installation_that_hangs(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    control_plane.fail_pods("istio-system", "istiod", Failure::Hang).await?;
    let bed = Bed::start_with(control_plane, &["--install-timeout=1h"]).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_description("default", "waiting for Deployment istio-system/istiod").await?;
    bed.edit("default", json!({"config": {"trustDomain": "not-.valid"}})).await?;
    let refused = bed.wait_for_state("default", State::Warning).await?;
    let recorded = refused.annotations().contains_key(LAST_APPLIED_ANNOTATION);
    assert!(!recorded, "what was never installed completely counts as installed");
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    bed.stop().await
}

/// Each edit is taken back while its apply is under way, which is dropped then; the gateway's rollout makes it long enough.
pub async fn an_edit_that_is_reverted_at_once_does_not_stay_in_effect(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let mesh = Target::new("", "ConfigMap", Some("istio-system"), "istio");
    let trusts = |domain: &'static str| {
        wait_until_restored(control_plane, &mesh, move |map| {
            let mut lines = map.data["data"]["mesh"].as_str().unwrap_or_default().lines();
            lines.any(|line| line == format!("trustDomain: {domain}"))
        })
    };
    for _ in 0..8 {
        bed.edit("default", json!({"config": {"trustDomain": "other.example"}})).await?;
        trusts("other.example").await?;
        bed.edit("default", json!({"config": {"trustDomain": null}})).await?;
        trusts("cluster.local").await?;
    }
    bed.wait_for_state("default", State::Ready).await?;
    let metrics = bed.metrics().await?;
    assert!(!metrics.contains("istio_manager_repairs_total{"), "our own writes count as drift: {metrics}");
    bed.stop().await
}
