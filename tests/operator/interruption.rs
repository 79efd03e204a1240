//! Interruptions of every sort: what was begun is finished, and nobody waits for what hangs.

use std::time::Duration;

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use serde_json::json;
use testbed::{ControlPlane, Failure, TestResult};

use crate::bed::{Bed, DEADLINE, told};
use crate::removal::nothing_is_left;

pub async fn an_image_that_cannot_be_pulled_is_told_in_the_pods_words(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    control_plane.fail_pods("istio-system", "istio-ingressgateway", Failure::Pull).await?;
    let bed = Bed::start_with(control_plane, &["--install-timeout=10s"]).await?;
    bed.create("default", json!({})).await?;
    let failed = bed.settles("default", State::Error).await?;
    let (description, reason) = told(&failed);
    assert_eq!(reason, "IstioInstallUninstallFailed");
    for words in ["Deployment istio-system/istio-ingressgateway", "ImagePullBackOff", "proxyv2"] {
        assert!(description.contains(words), "{description}");
    }
    control_plane.stop_failing_pods("istio-system", "istio-ingressgateway").await?;
    bed.settles("default", State::Ready).await?;
    bed.stop().await
}

pub async fn an_operator_that_is_killed_again_and_again_finishes_the_installation(
    control_plane: &ControlPlane,
) -> TestResult {
    let mut bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    for stage in ["custom resource definitions", "roles and bindings", "istiod", "gateways"] {
        shows(&bed, stage).await?;
        bed.crash().await?;
    }
    bed.settles("default", State::Ready).await?;
    bed.stop().await
}

pub async fn an_edit_does_not_wait_for_an_installation_that_hangs(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    control_plane.fail_pods("istio-system", "istiod", Failure::Hang).await?;
    let bed = Bed::start_with(control_plane, &["--install-timeout=1h"]).await?;
    bed.create("default", json!({})).await?;
    shows(&bed, "waiting for Deployment istio-system/istiod").await?;
    bed.edit("default", json!({"config": {"trustDomain": "not-.valid"}})).await?;
    bed.settles("default", State::Warning).await?;
    bed.delete("default").await?;
    bed.goes("default").await?;
    bed.stop().await
}

pub async fn an_operator_that_is_killed_while_removing_finishes_the_removal(
    control_plane: &ControlPlane,
) -> TestResult {
    let mut bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.settles("default", State::Ready).await?;
    bed.delete("default").await?;
    // Kills at whatever point half a second of work leads to, until nothing is left to interrupt.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        bed.crash().await?;
    }
    bed.goes("default").await?;
    nothing_is_left(&bed).await?;
    bed.stop().await
}

/// Waits until the description of the resource, or the log, shows that the installation has come so far.
pub async fn shows(bed: &Bed<'_>, text: &str) -> TestResult {
    let shown = |resource: Option<&Istio>| {
        let description = resource.and_then(|resource| resource.status.as_ref()?.description.as_deref());
        description.is_some_and(|description| description.contains(text))
            || bed.operator.log().contains(text)
            || is_ready(resource)
    };
    bed.control_plane.wait_for(bed.resources(), "default", text, DEADLINE, shown).await?;
    Ok(())
}

/// An installation may be faster than the one who watches it; then it needs no more interruption.
fn is_ready(resource: Option<&Istio>) -> bool {
    resource.and_then(|resource| resource.status.as_ref()).is_some_and(|status| status.state == State::Ready)
}
