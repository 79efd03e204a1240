//! Resources that are not followed are told why, and change nothing.

use istio_manager::api::conditions::State;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, DEADLINE, is_held, told};

pub async fn a_second_resource_is_told_which_one_is_in_charge(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("second", json!({})).await?;
    let refused = bed.settles("second", State::Warning).await?;
    let (description, reason) = told(&refused);
    assert_eq!(reason, "OlderCRExists");
    assert!(description.contains("kyma-system/default"), "{description}");
    assert!(!is_held(&refused));
    bed.delete("second").await?;
    bed.goes("second").await?;
    bed.settles("default", State::Ready).await?;
    bed.stop().await
}

pub async fn a_resource_in_another_namespace_is_refused(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    control_plane.create_namespace("elsewhere", &[]).await?;
    bed.create_in("elsewhere", "default", json!({})).await?;
    let refused = bed.settles_in("elsewhere", "default", State::Error).await?;
    let (description, reason) = told(&refused);
    assert_eq!(reason, "ReconcileFailed");
    assert!(description.contains("kyma-system"), "{description}");
    let api: Api<istio_manager::api::Istio> = Api::namespaced(control_plane.client(), "elsewhere");
    api.delete("default", &DeleteParams::default()).await?;
    control_plane.wait_for(api, "default", "gone Istio", DEADLINE, |r| r.is_none()).await?;
    bed.stop().await
}

pub async fn an_unusable_value_is_named_and_changes_nothing(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.settles("default", State::Ready).await?;
    let mark = control_plane.audit().mark().await?;
    let authorizer = json!({"name": "a", "service": "a.example.com", "port": 80, "timeout": "soon"});
    bed.edit("default", json!({"config": {"authorizers": [authorizer]}})).await?;
    let refused = bed.settles("default", State::Warning).await?;
    let (description, reason) = told(&refused);
    assert_eq!(reason, "ValidationFailed");
    assert!(description.contains("spec.config.authorizers[0].timeout"), "{description}");
    let writes = bed.writes_since(&mark).await?;
    assert!(writes.iter().all(|write| write.contains("istios") || write.contains("events")), "{writes:#?}");
    bed.edit("default", json!({"config": null})).await?;
    bed.settles("default", State::Ready).await?;
    bed.stop().await
}

/// Deeper than a recursive JSON parser follows, which would end the watch of all Istio resources.
pub async fn values_that_are_nested_too_deeply_are_refused_and_the_resource_is_still_followed(
    control_plane: &ControlPlane,
) -> TestResult {
    const LEVELS: usize = 1000;
    let mut bed = Bed::start(control_plane).await?;
    bed.settles("default", State::Ready).await?;
    let nested = format!("{}1{}", r#"{"a":"#.repeat(LEVELS), "}".repeat(LEVELS));
    patch_text(control_plane, &format!(r#"{{"spec":{{"values":{nested}}}}}"#)).await?;
    // Another reader than the operator cannot decode the resource, so its status alone is asked for.
    let refused = "spec.values: the field has more than 64 levels of maps and lists";
    bed.operator.says(refused, DEADLINE).await?;
    // The list with which a watch begins, too.
    bed.crash().await?;
    bed.operator.says(refused, DEADLINE).await?;
    patch_text(control_plane, r#"{"spec":{"values":null}}"#).await?;
    bed.settles("default", State::Ready).await?;
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
