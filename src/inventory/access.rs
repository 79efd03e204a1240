//! The operator's access to the namespace of the control plane: grants it, and waits until it takes effect.
//!
//! API servers learn of a new `RoleBinding` through watches of their own, so access takes effect with a delay.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::api::names::ISTIO_NAMESPACE;
use crate::kubernetes::ServiceAccountRef;
use crate::kubernetes::object::ObjectId;
use crate::plan::Stage;
use crate::plan::access::operator_role_binding;
use crate::ssa::apply;

use super::Record;
use super::ownership::Origin;

/// How long the API server may take to learn of a binding. Usually it takes milliseconds.
const ACCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between checks.
const ACCESS_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until access takes effect, for a limited time: what the API server still refuses after that, it refuses for another
/// reason.
pub(crate) async fn wait_until_effective(client: &Client) {
    let allowed = async {
        while !is_effective(client).await {
            tokio::time::sleep(ACCESS_POLL_INTERVAL).await;
        }
    };
    if tokio::time::timeout(ACCESS_TIMEOUT, allowed).await.is_err() {
        tracing::warn!(namespace = ISTIO_NAMESPACE, "access to the namespace did not take effect in time");
    }
}

/// Checks a permission that only the binding grants. A failed check counts as no permission, so it is repeated.
async fn is_effective(client: &Client) -> bool {
    let attributes = ResourceAttributes {
        namespace: Some(ISTIO_NAMESPACE.to_owned()),
        verb: Some("create".to_owned()),
        resource: Some("secrets".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let response = api.create(&PostParams::default(), &review).await;
    response.is_ok_and(|review| review.status.is_some_and(|status| status.allowed))
}

/// Ensures that `account` may delete objects in the namespace, and returns the binding with its inventory record.
///
/// An installation by an older version has no binding, and users can delete it. Without a namespace, or in one that is being
/// deleted, no access can be granted, and none is needed.
pub async fn ensure(client: &Client, account: &ServiceAccountRef) -> Option<(ObjectId, Record)> {
    let manifest = operator_role_binding(account);
    let id = ObjectId::of(&manifest).ok()?;
    let written = apply::apply(client, &id, &manifest).await;
    let written = written.inspect_err(|error| {
        tracing::info!(%error, "cannot grant access to the namespace of the control plane");
    });
    let written = written.ok()?;
    wait_until_effective(client).await;
    let record = Record {
        origin: Some(Origin::of_first_write(&id, &written.metadata)),
        uid: written.metadata.uid,
        ..Record::planned(Stage::Namespace)
    };
    Some((id, record))
}
