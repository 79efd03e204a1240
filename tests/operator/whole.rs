//! What somebody does to every object of an installation, or to one of every kind, is put right.

use std::collections::BTreeMap;

use istio_manager::api::conditions::State;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use serde_json::{Map, Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, DEADLINE, Result};
use crate::crash::remove_fields_set_by_others;
use crate::drift::{Target, applied_objects, content, edit, wait_until_restored};

const MODULE_LABEL: &str = "kyma-project.io/module";
/// The API server's own on each namespace, which nobody can change.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A field of ours with another value, as a merge patch: one that hurts, where there is one that may be changed.
fn edit_patch(object: &DynamicObject, kind: &str) -> Result<Value> {
    let all = |fields: Option<&Map<String, Value>>| -> Map<String, Value> {
        fields.into_iter().flatten().map(|(key, _)| (key.clone(), json!("edited"))).collect()
    };
    Ok(match kind {
        "ClusterRole" | "Role" => json!({"rules": []}),
        "ClusterRoleBinding" | "RoleBinding" => json!({"subjects": []}),
        "ConfigMap" => json!({"data": all(object.data["data"].as_object())}),
        "Service" => json!({"spec": {"selector": {"app": "mine"}}}),
        "Deployment" => json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 7}}}}),
        "DaemonSet" => json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 7}}}}),
        "HorizontalPodAutoscaler" => json!({"spec": {"maxReplicas": 77}}),
        "PodDisruptionBudget" => json!({"spec": {"selector": {"matchLabels": {"app": "mine"}}}}),
        "CustomResourceDefinition" => json!({"spec": {"names": {"categories": ["mine"]}}}),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => json!({"webhooks": []}),
        "NetworkPolicy" => json!({"spec": {"podSelector": {"matchLabels": {"app": "mine"}}}}),
        "PeerAuthentication" => json!({"spec": {"mtls": {"mode": "DISABLE"}}}),
        // Nothing but labels is ours.
        "Namespace" | "ServiceAccount" => {
            let is_ours = |label: &&String| ![MODULE_LABEL, NAME_LABEL].contains(&label.as_str());
            let label = object.labels().keys().find(is_ours);
            json!({"metadata": {"labels": {label.map_or(MODULE_LABEL, String::as_str): "edited"}}})
        }
        other => return Err(format!("no edit for {other}").into()),
    })
}

/// Annotations that count rollouts, and that with which the data plane begins one.
const ROLLOUT_ANNOTATIONS: [&str; 3] = [
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
    "istio-operator.kyma-project.io/restartedAt",
];

/// What an object says but for what others fill in.
fn our_content(target: &Target, object: &DynamicObject) -> Value {
    let mut content = content(object);
    remove_fields_set_by_others(&target.kind.kind, &mut content);
    for annotations in ["/annotations", "/data/spec/template/metadata/annotations"] {
        if let Some(annotations) = content.pointer_mut(annotations).and_then(Value::as_object_mut) {
            annotations.retain(|annotation, _| !ROLLOUT_ANNOTATIONS.contains(&annotation.as_str()));
        }
    }
    content
}

pub async fn every_object_comes_back_after_it_was_edited(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    bed.edit("default", json!({"networkPoliciesEnabled": true})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let mut before = Vec::new();
    for target in applied_objects(control_plane).await? {
        let object = target.api(control_plane).get(&target.name).await?;
        before.push((target, object));
    }
    assert!(before.len() > 40, "{}", before.len());
    for (target, object) in &before {
        edit(control_plane, target, edit_patch(object, &target.kind.kind)?).await?;
    }
    for (target, object) in &before {
        wait_until_restored(control_plane, target, |live| {
            our_content(target, live) == our_content(target, object)
        })
        .await?;
    }
    bed.wait_for_state("default", State::Ready).await?;
    let metrics = bed.metrics().await?;
    for (target, _) in &before {
        let repaired = metrics.lines().any(|line| {
            line.contains(&format!("kind=\"{}\"", target.kind.kind))
                && line.contains(&format!("name=\"{}\"", target.name))
        });
        assert!(repaired, "no repair of {target:?} is counted in\n{metrics}");
    }
    bed.edit("default", json!({"networkPoliciesEnabled": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

pub async fn every_object_comes_back_after_its_label_was_stripped(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let targets = applied_objects(control_plane).await?;
    assert!(targets.len() > 40, "{}", targets.len());
    for target in &targets {
        edit(control_plane, target, json!({"metadata": {"labels": {MODULE_LABEL: null}}})).await?;
    }
    for target in &targets {
        wait_until_restored(control_plane, target, has_our_label).await?;
    }
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

/// What may be deleted without taking more along. To delete the namespace is to delete everything, which is another test; with
/// istiod's account its token dies, which kubelets renew and the test bed does not.
fn may_be_deleted(target: &Target) -> bool {
    target.kind.kind != "Namespace"
        && (target.kind.kind.as_str(), target.name.as_str()) != ("ServiceAccount", "istiod")
}

async fn by_kind(control_plane: &ControlPlane) -> Result<BTreeMap<String, Vec<Target>>> {
    let mut by_kind: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    for target in applied_objects(control_plane).await?.into_iter().filter(may_be_deleted) {
        by_kind.entry(target.kind.kind.clone()).or_default().push(target);
    }
    Ok(by_kind)
}

pub async fn every_object_comes_back_after_it_was_deleted(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    for targets in by_kind(control_plane).await?.values() {
        let mut before = Vec::new();
        for target in targets {
            before.push(target.api(control_plane).get_metadata(&target.name).await?.metadata.uid);
            target.api(control_plane).delete(&target.name, &DeleteParams::default()).await?;
        }
        for (target, before) in targets.iter().zip(before) {
            wait_until_restored(control_plane, target, |object| {
                object.metadata.uid != before && object.metadata.deletion_timestamp.is_none()
            })
            .await?;
        }
    }
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

pub async fn an_object_of_any_kind_recreated_by_others_is_adopted(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let by_kind = by_kind(control_plane).await?;
    let targets: Vec<&Target> = by_kind.values().filter_map(|targets| targets.first()).collect();
    assert!(targets.len() > 10, "{targets:?}");
    // Stopped, the operator cannot be faster than the one who recreates them.
    bed.operator.pause()?;
    for target in &targets {
        recreate(control_plane, target).await?;
    }
    bed.operator.resume()?;
    for target in &targets {
        wait_until_restored(control_plane, target, |object| {
            has_our_label(object) && is_managed_by_us(object)
        })
        .await?;
    }
    bed.ensure_installed().await?;
    bed.stop().await
}

/// Deletes an object and makes it anew as somebody else does who has a copy of it: without our label and our manager.
async fn recreate(control_plane: &ControlPlane, target: &Target) -> Result {
    let api = target.api(control_plane);
    let before = api.get(&target.name).await?;
    api.delete(&target.name, &DeleteParams::background()).await?;
    let gone = |object: Option<&DynamicObject>| {
        object.is_none_or(|object| object.metadata.uid != before.metadata.uid)
    };
    control_plane.wait_for(api.clone(), &target.name, "gone object", DEADLINE, gone).await?;
    let mut copy = DynamicObject::new(&target.name, &target.kind).data(before.data.clone());
    copy.metadata.labels.clone_from(&before.metadata.labels);
    copy.labels_mut().remove(MODULE_LABEL);
    let params = PostParams { field_manager: Some("somebody".into()), ..PostParams::default() };
    api.create(&params, &copy).await?;
    Ok(())
}

fn is_managed_by_us(object: &DynamicObject) -> bool {
    object.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some("istio-operator"))
}

fn has_our_label(object: &DynamicObject) -> bool {
    object.labels().contains_key(MODULE_LABEL)
}
