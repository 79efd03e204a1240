//! From a running Istio to none, without a loss.

use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, NAMESPACE, Result, told};

pub async fn a_resource_of_a_user_blocks_the_removal(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    control_plane.create_namespace("shop", &[]).await?;
    let kind =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1alpha3", "EnvoyFilter"));
    let filters: Api<DynamicObject> = Api::namespaced_with(control_plane.client(), "shop", &kind);
    let filter = DynamicObject::new("mine", &kind).data(json!({"spec": {}}));
    filters.create(&PostParams::default(), &filter).await?;
    bed.delete("default").await?;
    let blocked = bed.settles("default", State::Warning).await?;
    let (description, reason) = told(&blocked);
    assert_eq!(reason, "IstioCustomResourcesDangling");
    assert!(description.contains("EnvoyFilter shop/mine"), "{description}");
    filters.delete("mine", &DeleteParams::default()).await?;
    bed.goes("default").await?;
    bed.stop().await
}

pub async fn a_deleted_resource_takes_istio_with_it(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.settles("default", State::Ready).await?;
    bed.delete("default").await?;
    bed.goes("default").await?;
    nothing_is_left(&bed).await?;
    bed.stop().await
}

/// Neither a definition nor a webhook, the namespace or the inventory.
pub async fn nothing_is_left(bed: &Bed<'_>) -> Result {
    bed.namespace_goes().await?;
    let client = bed.control_plane.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let left: Vec<String> =
        definitions.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, ["istios.operator.kyma-project.io"]);
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        assert_eq!(api.list(&ListParams::default()).await?.items, [], "{kind}");
    }
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    assert!(secrets.get_opt("istio-manager-inventory").await?.is_none());
    Ok(())
}

pub async fn what_users_put_into_the_namespace_keeps_it(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.settles("default", State::Ready).await?;
    let secrets: Api<Secret> = Api::namespaced(control_plane.client(), "istio-system");
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "cacerts"}}))?;
    secrets.create(&PostParams::default(), &secret).await?;
    bed.delete("default").await?;
    bed.goes("default").await?;
    assert!(secrets.get_opt("cacerts").await?.is_some());
    let namespaces: Api<Namespace> = Api::all(control_plane.client());
    assert!(namespaces.get("istio-system").await?.metadata.deletion_timestamp.is_none());
    bed.stop().await
}
