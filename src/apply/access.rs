//! Access to the namespace of the control plane takes effect a moment after it was granted: API servers learn of a new
//! `RoleBinding` by watches of their own.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::api::names::ISTIO_NAMESPACE;
use crate::inventory::Record;
use crate::kubernetes::ServiceAccountRef;
use crate::kubernetes::object::ObjectId;
use crate::plan::Stage;
use crate::plan::access::operator_role_binding;
use crate::ssa::apply;

/// How long the API server may take to learn of a binding; usually it takes milliseconds.
const ACCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const ACCESS_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until the API server knows of the access, for a limited time: whatever it still refuses then, it refuses for
/// another reason.
pub(super) async fn wait_until_effective(client: &Client) {
    let allowed = async {
        while !is_effective(client).await {
            tokio::time::sleep(ACCESS_POLL_INTERVAL).await;
        }
    };
    if tokio::time::timeout(ACCESS_TIMEOUT, allowed).await.is_err() {
        tracing::warn!(namespace = ISTIO_NAMESPACE, "access was granted but did not take effect");
    }
}

/// Asks for a permission that nothing but the binding gives. No answer counts as no permission: it is asked again.
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
    let answer = api.create(&PostParams::default(), &review).await;
    answer.is_ok_and(|review| review.status.is_some_and(|status| status.allowed))
}

/// Makes sure that `account` may take apart what is in the namespace, and returns the binding as the inventory has to know it.
///
/// An installation by an older version has no binding, and somebody may have deleted it. Without a namespace there is nothing
/// to have access to, and in one that is being deleted there is nothing left to do.
pub async fn ensure(client: &Client, account: &ServiceAccountRef) -> Option<(ObjectId, Record)> {
    let manifest = operator_role_binding(account);
    let id = ObjectId::of(&manifest).ok()?;
    let written = apply::apply(client, &id, &manifest).await;
    let written = written.inspect_err(|error| {
        tracing::info!(%error, "no access to the namespace of the control plane is granted");
    });
    let written = written.ok()?;
    wait_until_effective(client).await;
    let record =
        Record { uid: written.uid, origin: Some(written.origin), ..Record::planned(Stage::Namespace) };
    Some((id, record))
}
