//! Values and patches of users, and definitions that must not be replaced.

use istio_manager::api::conditions::State;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, Result, description_and_reason};

async fn deployment(control_plane: &ControlPlane, name: &str) -> Result<Value> {
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), "istio-system");
    Ok(serde_json::to_value(api.get(name).await?)?)
}

pub async fn a_value_reaches_the_cluster_and_an_unknown_one_is_refused(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::installed(control_plane).await?;
    bed.edit("default", json!({"values": {"pilot": {"nodeSelector": {"kubernetes.io/os": "linux"}}}}))
        .await?;
    bed.wait_for_state("default", State::Ready).await?;
    let selector = "/spec/template/spec/nodeSelector";
    let istiod = deployment(control_plane, "istiod").await?;
    assert_eq!(istiod.pointer(selector), Some(&json!({"kubernetes.io/os": "linux"})));

    bed.edit("default", json!({"values": {"pilot": {"nodeSelctor": {"kubernetes.io/os": "plan9"}}}})).await?;
    let refused = bed.wait_for_state("default", State::Warning).await?;
    let (description, reason) = description_and_reason(&refused);
    assert_eq!(reason, "ValidationFailed");
    for words in ["spec.values.pilot.nodeSelctor", "did you mean pilot.nodeSelector?"] {
        assert!(description.contains(words), "{description}");
    }
    assert_eq!(deployment(control_plane, "istiod").await?["spec"], istiod["spec"]);

    bed.edit("default", json!({"values": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(deployment(control_plane, "istiod").await?.pointer(selector), None);
    bed.stop().await
}

pub async fn patches_are_applied_only_if_the_operator_allows_them(
    control_plane: &ControlPlane,
) -> TestResult {
    let mut bed = Bed::installed(control_plane).await?;
    let grace =
        |seconds: u32| json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": seconds}}}});
    let patch =
        |name: &str, content: Value| json!({"kind": "Deployment", "name": name, "strategicMerge": content});
    bed.edit("default", json!({"patches": [patch("istiod", grace(77))]})).await?;
    let refused = bed.wait_for_state("default", State::Warning).await?;
    assert!(
        description_and_reason(&refused).0.contains("--allow-patches"),
        "{:?}",
        description_and_reason(&refused)
    );

    bed.restart_with(&["--allow-patches"]).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let period = "/spec/template/spec/terminationGracePeriodSeconds";
    assert_eq!(deployment(control_plane, "istiod").await?.pointer(period), Some(&json!(77)));

    bed.edit("default", json!({"patches": [patch("gone", json!({})), patch("istiod", grace(78))]})).await?;
    let warned = bed.wait_for_state("default", State::Warning).await?;
    let (description, reason) = description_and_reason(&warned);
    assert_eq!(reason, "ReconcileSucceeded");
    assert!(description.contains("spec.patches[0] changes nothing"), "{description}");
    assert_eq!(deployment(control_plane, "istiod").await?.pointer(period), Some(&json!(78)));

    let host = json!({"spec": {"template": {"spec": {"hostNetwork": true}}}});
    bed.edit("default", json!({"patches": [patch("istiod", host)]})).await?;
    let refused = bed.wait_for_state("default", State::Warning).await?;
    assert!(
        description_and_reason(&refused).0.contains("spec.template.spec.hostNetwork"),
        "{:?}",
        description_and_reason(&refused)
    );
    assert_eq!(deployment(control_plane, "istiod").await?.pointer("/spec/template/spec/hostNetwork"), None);

    bed.edit("default", json!({"patches": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

pub async fn a_crd_that_would_lose_fields_is_kept_and_reported_until_fixed(
    control_plane: &ControlPlane,
) -> TestResult {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let crds: Api<DynamicObject> = Api::all_with(control_plane.client(), &ApiResource::from_gvk(&kind));
    let (lossy, newer) = ("telemetries.telemetry.istio.io", "wasmplugins.extensions.istio.io");
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for name in [lossy, newer] {
        let mut crd = bundled(name)?;
        crd["metadata"]["labels"] =
            if name == newer { json!({"operator.istio.io/version": "1.99.0"}) } else { Value::Null };
        crd.pointer_mut(field).ok_or("no such schema")?["ofTheFuture"] = json!({"type": "string"});
        crds.create(&PostParams::default(), &serde_json::from_value(crd)?).await?;
    }

    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    let warned = bed.wait_for_state("default", State::Warning).await?;
    let (description, _) = description_and_reason(&warned);
    for words in [lossy, "v1.spec.ofTheFuture"] {
        assert!(description.contains(words), "{words} is missing in: {description}");
    }
    assert!(!description.contains(newer), "{description}");
    for name in [lossy, newer] {
        let crd = crds.get(name).await?;
        assert!(crd.data.pointer(&format!("{field}/ofTheFuture")).is_some(), "{name} was replaced");
    }
    let (_, shown, _) = crate::diff::diff(control_plane, json!({})).await?;
    assert!(!shown.contains("CustomResourceDefinition"), "{shown}");
    let reconciles = bed.operator.log().matches("reconciled").count();
    assert!(reconciles < 4, "what is kept was taken for drift {reconciles} times");

    let stamp = Patch::Merge(json!({"metadata": {"labels": {"operator.istio.io/version": "1.30.0"}}}));
    crds.patch(lossy, &PatchParams::default(), &stamp).await?;
    bed.edit("default", json!({"compatibilityMode": false})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let replaced = crds.get(lossy).await?;
    assert!(replaced.data.pointer(&format!("{field}/ofTheFuture")).is_none(), "it was not replaced");
    bed.stop().await
}

fn bundled(name: &str) -> Result<Value> {
    for crd in istio_charts::Bundle::embedded().crds() {
        let crd = crd?;
        if crd["metadata"]["name"] == name {
            return Ok(crd);
        }
    }
    Err(format!("Istio has no {name}").into())
}
