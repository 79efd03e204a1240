//! Resources that are not followed are told why, and change nothing.

use istio_manager::api::conditions::State;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, DEADLINE, description_and_reason, has_finalizer};

pub async fn a_second_resource_reports_which_resource_is_active(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.create("second", json!({})).await?;
    let refused = bed.wait_for_state("second", State::Warning).await?;
    let (description, reason) = description_and_reason(&refused);
    assert_eq!(reason, "OlderCRExists");
    assert!(description.contains("kyma-system/default"), "{description}");
    assert!(!has_finalizer(&refused));
    bed.delete("second").await?;
    bed.wait_until_gone("second").await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

pub async fn a_resource_in_another_namespace_is_refused(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    control_plane.create_namespace("elsewhere", &[]).await?;
    bed.create_in("elsewhere", "default", json!({})).await?;
    let refused = bed.wait_for_state_in("elsewhere", "default", State::Error).await?;
    let (description, reason) = description_and_reason(&refused);
    assert_eq!(reason, "ReconcileFailed");
    assert!(description.contains("kyma-system"), "{description}");
    let api: Api<istio_manager::api::Istio> = Api::namespaced(control_plane.client(), "elsewhere");
    api.delete("default", &DeleteParams::default()).await?;
    control_plane.wait_for(api, "default", "gone Istio", DEADLINE, |r| r.is_none()).await?;
    bed.stop().await
}

pub async fn an_invalid_value_is_reported_and_changes_nothing(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let mark = control_plane.audit().mark().await?;
    let authorizer = json!({"name": "a", "service": "a.example.com", "port": 80, "timeout": "soon"});
    bed.edit("default", json!({"config": {"authorizers": [authorizer]}})).await?;
    let refused = bed.wait_for_state("default", State::Warning).await?;
    let (description, reason) = description_and_reason(&refused);
    assert_eq!(reason, "ValidationFailed");
    assert!(description.contains("spec.config.authorizers[0].timeout"), "{description}");
    let writes = bed.writes_since(&mark).await?;
    assert!(writes.iter().all(|write| write.contains("istios") || write.contains("events")), "{writes:#?}");
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

/// Deeper than a recursive JSON parser follows, which would end the watch of all Istio resources.
pub async fn deeply_nested_values_are_refused_and_do_not_break_the_watch(
    control_plane: &ControlPlane,
) -> TestResult {
    const LEVELS: usize = 1000;
    let mut bed = Bed::installed(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let nested = format!("{}1{}", r#"{"a":"#.repeat(LEVELS), "}".repeat(LEVELS));
    patch_text(control_plane, &format!(r#"{{"spec":{{"values":{nested}}}}}"#)).await?;
    // Another reader than the operator cannot decode the resource, so its status alone is asked for.
    let refused = "spec.values: the field has more than 64 levels of maps and lists";
    bed.operator.wait_for_log(refused, DEADLINE).await?;
    // The list with which a watch begins, too.
    bed.crash().await?;
    bed.operator.wait_for_log(refused, DEADLINE).await?;
    patch_text(control_plane, r#"{"spec":{"values":null}}"#).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

/// Merges a text into the resource `default`. kube's own calls parse the answer, which may be nested too deeply.
async fn patch_text(control_plane: &ControlPlane, patch: &str) -> TestResult {
    let request =
        http::Request::patch("/apis/operator.kyma-project.io/v1alpha2/namespaces/kyma-system/istios/default")
            .header("Content-Type", "application/merge-patch+json")
            .body(patch.as_bytes().to_vec())?;
    control_plane.client().request_text(request).await?;
    Ok(())
}
