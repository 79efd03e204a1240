//! Resources that are not followed are told why, and change nothing.

use istio_manager::api::conditions::State;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, is_held, told};

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
    control_plane.wait_for(api, "default", "gone Istio", crate::bed::DEADLINE, |r| r.is_none()).await?;
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
