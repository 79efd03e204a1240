//! From a running Istio to none, without a loss.

use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, NAMESPACE, Result, description_and_reason};

pub async fn a_resource_of_a_user_blocks_the_removal(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    control_plane.create_namespace("shop", &[]).await?;
    let kind =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1alpha3", "EnvoyFilter"));
    let filters: Api<DynamicObject> = Api::namespaced_with(control_plane.client(), "shop", &kind);
    let filter = DynamicObject::new("mine", &kind).data(json!({"spec": {}}));
    filters.create(&PostParams::default(), &filter).await?;
    bed.delete("default").await?;
    let blocked = bed.wait_for_state("default", State::Warning).await?;
    let (description, reason) = description_and_reason(&blocked);
    assert_eq!(reason, "IstioCustomResourcesDangling");
    assert!(description.contains("EnvoyFilter shop/mine"), "{description}");
    filters.delete("mine", &DeleteParams::default()).await?;
    bed.wait_until_gone("default").await?;
    bed.stop().await
}

pub async fn deleting_the_resource_removes_istio_but_no_copies_of_its_objects(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    control_plane.create_namespace("shop", &[]).await?;
    let client = control_plane.client();
    let original = Api::<ConfigMap>::namespaced(client.clone(), "istio-system").get("istio").await?;
    let mut copy = ConfigMap { data: original.data, ..ConfigMap::default() };
    copy.metadata.name = Some("istio".to_owned());
    copy.metadata.labels = original.metadata.labels;
    assert!(copy.labels().contains_key("operator.istio.io/component"), "{:?}", copy.labels());
    let copies: Api<ConfigMap> = Api::namespaced(client, "shop");
    copies.create(&PostParams::default(), &copy).await?;
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    assert_nothing_is_left(&bed).await?;
    assert!(copies.get_opt("istio").await?.is_some());
    copies.delete("istio", &DeleteParams::default()).await?;
    bed.stop().await
}

/// Neither a definition nor a webhook, the namespace or the inventory.
pub async fn assert_nothing_is_left(bed: &Bed<'_>) -> Result {
    bed.wait_until_namespace_is_gone().await?;
    let client = bed.control_plane.client();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let remaining: Vec<String> =
        crds.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    assert_eq!(remaining, ["istios.operator.kyma-project.io"]);
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        assert_eq!(api.list(&ListParams::default()).await?.items, [], "{kind}");
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    assert!(secrets.get_opt("istio-manager-inventory").await?.is_none());
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    assert!(maps.get_opt("istio-manager-cluster").await?.is_none());
    Ok(())
}

pub async fn user_objects_in_the_namespace_prevent_its_deletion(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let secrets: Api<Secret> = Api::namespaced(control_plane.client(), "istio-system");
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "cacerts"}}))?;
    secrets.create(&PostParams::default(), &secret).await?;
    create_pod_with_sidecar(control_plane).await?;
    bed.delete("default").await?;
    // The last word is in the status before the resource goes.
    let (description, reason) =
        description_and_reason(&bed.wait_for_description("default", "Istio is uninstalled").await?);
    assert_eq!(reason, "IstioUninstallSucceeded");
    for words in ["Secret istio-system/cacerts", "1 pods still have a sidecar", "Pod shop/cart"] {
        assert!(description.contains(words), "{description}");
    }
    bed.wait_until_gone("default").await?;
    assert!(secrets.get_opt("cacerts").await?.is_some());
    let namespaces: Api<Namespace> = Api::all(control_plane.client());
    assert!(namespaces.get("istio-system").await?.metadata.deletion_timestamp.is_none());
    bed.stop().await
}

/// A pod with a real sidecar and without an owner, which nobody can restart.
async fn create_pod_with_sidecar(control_plane: &ControlPlane) -> Result {
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await?;
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "shop");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "cart"},
        "spec": {"containers": [{"name": "cart", "image": "example.com/cart:1"}]},
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

pub async fn an_orphaned_installation_is_adopted_by_the_next_resource(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let policy =
        json!({"metadata": {"annotations": {"istios.operator.kyma-project.io/deletion-policy": "orphan"}}});
    bed.resources().patch("default", &PatchParams::default(), &Patch::Merge(policy)).await?;
    let mark = control_plane.audit().mark().await?;
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    let deletes =
        |writes: Vec<String>| writes.into_iter().filter(|w| w.contains("delete")).collect::<Vec<_>>();
    assert_eq!(deletes(bed.writes_since(&mark).await?), Vec::<String>::new());
    let mark = control_plane.audit().mark().await?;
    bed.create("next", json!({})).await?;
    bed.wait_for_state("next", State::Ready).await?;
    let writes = bed.writes_since(&mark).await?;
    let about_istio = |write: &&String| {
        !["istios", "events", "istio-manager-inventory"].iter().any(|word| write.contains(word))
    };
    assert_eq!(writes.iter().filter(about_istio).collect::<Vec<_>>(), Vec::<&String>::new());
    bed.delete("next").await?;
    bed.wait_until_gone("next").await?;
    bed.stop().await
}

pub async fn the_next_oldest_resource_takes_over_when_the_oldest_is_deleted(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    bed.create("second", json!({})).await?;
    bed.wait_for_state("second", State::Warning).await?;
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    bed.wait_for_state("second", State::Ready).await?;
    bed.delete("second").await?;
    bed.wait_until_gone("second").await?;
    bed.stop().await
}

pub async fn an_invalid_resource_can_be_deleted_and_istio_is_uninstalled(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    bed.edit("default", json!({"experimental": {}})).await?;
    bed.wait_for_state("default", State::Error).await?;
    bed.delete("default").await?;
    bed.wait_until_gone("default").await?;
    assert_nothing_is_left(&bed).await?;
    bed.stop().await
}

pub async fn a_manually_removed_installation_can_still_be_deleted(
    control_plane: &ControlPlane,
) -> TestResult {
    // Stopped, the operator cannot repair what goes.
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    bed.operator.pause()?;
    let crds: Api<CustomResourceDefinition> = Api::all(control_plane.client());
    for crd in crds.list(&ListParams::default()).await? {
        let name = crd.name_any();
        if name.ends_with(".istio.io") {
            crds.delete(&name, &DeleteParams::default()).await?;
        }
    }
    let namespaces: Api<Namespace> = Api::all(control_plane.client());
    namespaces.delete("istio-system", &DeleteParams::default()).await?;
    bed.wait_until_namespace_is_gone().await?;
    bed.resources().delete("default", &DeleteParams::default()).await?;
    bed.operator.resume()?;
    bed.wait_until_gone("default").await?;
    assert_nothing_is_left(&bed).await?;
    bed.stop().await
}

/// Names like those of the module's own objects protect nothing: only what the inventory lists is ours.
pub async fn an_object_named_like_one_of_ours_blocks_the_removal(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    control_plane.create_namespace("istio-system-2", &[]).await?;
    let kinds = [
        ("security.istio.io", "v1", "PeerAuthentication", "my-default", json!({})),
        (
            "extensions.istio.io",
            "v1alpha1",
            "TrafficExtension",
            "mine",
            json!({"wasm": {"url": "oci://example.com/x:1"}}),
        ),
    ];
    let mut objects = Vec::new();
    for (group, version, kind, name, spec) in kinds {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(control_plane.client(), "istio-system-2", &kind);
        api.create(&PostParams::default(), &DynamicObject::new(name, &kind).data(json!({"spec": spec})))
            .await?;
        objects.push((api, name));
    }
    bed.delete("default").await?;
    let (description, _) = description_and_reason(&bed.wait_for_state("default", State::Warning).await?);
    for words in ["PeerAuthentication istio-system-2/my-default", "TrafficExtension istio-system-2/mine"] {
        assert!(description.contains(words), "{description}");
    }
    for (api, name) in objects {
        api.delete(name, &DeleteParams::default()).await?;
    }
    bed.wait_until_gone("default").await?;
    bed.stop().await
}
