//! What was applied stays as it was applied, whoever touches it.

use std::collections::BTreeMap;

use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult, eventually};

use crate::bed::{Bed, DEADLINE, NAMESPACE, Result, description_and_reason};

/// One object of ours.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: ApiResource,
    pub namespace: Option<String>,
    pub name: String,
}

impl Target {
    pub fn new(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        let version = if kind == "HorizontalPodAutoscaler" { "v2" } else { "v1" };
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Self { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    pub fn api(&self, control_plane: &ControlPlane) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(control_plane.client(), namespace, &self.kind),
            None => Api::all_with(control_plane.client(), &self.kind),
        }
    }
}

/// All objects that the operator applied, but its definitions: theirs are tried one by one.
pub async fn applied_objects(control_plane: &ControlPlane) -> Result<Vec<Target>> {
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(control_plane.client(), NAMESPACE);
    let secret = secrets.get("istio-manager-inventory").await?;
    let data = secret.data.unwrap_or_default().remove("objects").ok_or("no inventory")?;
    let objects: Vec<Value> = serde_json::from_slice(&data.0)?;
    let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let targets = objects.iter().map(|object| {
        let gvk =
            GroupVersionKind::gvk(&text(object, "group"), &text(object, "version"), &text(object, "kind"));
        Target {
            kind: ApiResource::from_gvk(&gvk),
            namespace: object["namespace"].as_str().map(str::to_owned),
            name: text(object, "name"),
        }
    });
    Ok(targets.collect())
}

/// Everything about an object that the operator writes, so that a repair can be told from a near miss.
pub fn content(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    if let Some(data) = data.as_object_mut() {
        data.remove("status");
    }
    json!({"labels": object.labels(), "annotations": object.annotations(), "data": data})
}

pub async fn wait_until_restored(
    control_plane: &ControlPlane,
    target: &Target,
    condition: impl Fn(&DynamicObject) -> bool,
) -> Result {
    let what = format!("{} put back", target.kind.kind);
    let api = target.api(control_plane);
    control_plane
        .wait_for(api, &target.name, &what, DEADLINE, |object| object.is_some_and(&condition))
        .await?;
    Ok(())
}

/// The Events of one reason about the resource, by the object that they are about.
pub async fn events(control_plane: &ControlPlane, reason: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let api: Api<Event> = Api::namespaced(control_plane.client(), NAMESPACE);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in api.list(&ListParams::default()).await?.items {
        if event.reason.as_deref() == Some(reason) {
            let about = event.related.unwrap_or_default();
            let key = format!("{} {}", about.kind.unwrap_or_default(), about.name.unwrap_or_default());
            found.entry(key).or_default().push(event.message.unwrap_or_default());
        }
    }
    Ok(found)
}

/// Events are written after the fact, so they are waited for.
pub async fn wait_for_event(
    control_plane: &ControlPlane,
    reason: &str,
    about: &str,
    words: &[&str],
) -> Result {
    eventually(&format!("Event {reason} about {about} with {words:?}"), DEADLINE, async || {
        let notes = events(control_plane, reason).await?.remove(about).unwrap_or_default();
        Ok(notes.iter().any(|note| words.iter().all(|word| note.contains(word))).then_some(()))
    })
    .await
}

/// Merge-patches one object as someone else.
pub async fn edit(control_plane: &ControlPlane, target: &Target, patch: Value) -> Result {
    let params = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
    target.api(control_plane).patch(&target.name, &params, &Patch::Merge(patch)).await?;
    Ok(())
}

pub async fn an_edited_object_is_reverted_with_an_event_and_a_metric(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let service = Target::new("", "Service", Some("istio-system"), "istio-ingressgateway");
    edit(control_plane, &service, json!({"spec": {"selector": {"app": "mine"}}})).await?;
    wait_until_restored(control_plane, &service, |object| {
        object.data["spec"]["selector"]["app"] == "istio-ingressgateway"
    })
    .await?;
    wait_for_event(
        control_plane,
        "DriftRepaired",
        "Service istio-ingressgateway",
        &["somebody changed spec.selector"],
    )
    .await?;
    let metrics = bed.metrics().await?;
    let count = "istio_manager_repairs_total{kind=\"Service\",namespace=\"istio-system\",name=\"istio-ingressgateway\"} 1";
    assert!(metrics.contains(count), "{metrics}");
    bed.stop().await
}

pub async fn fields_added_by_others_are_kept(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let service = Target::new("", "Service", Some("istio-system"), "istio-ingressgateway");
    let mark = control_plane.audit().mark().await?;
    edit(control_plane, &service, json!({"metadata": {"annotations": {"example.com/mine": "yes"}}})).await?;
    // An edit of ours behind it shows that the first was seen and left alone.
    edit(control_plane, &service, json!({"spec": {"selector": {"app": "mine"}}})).await?;
    wait_until_restored(control_plane, &service, |object| {
        object.data["spec"]["selector"]["app"] == "istio-ingressgateway"
    })
    .await?;
    let object = service.api(control_plane).get(&service.name).await?;
    assert_eq!(object.annotations().get("example.com/mine").map(String::as_str), Some("yes"));
    let writes = bed.writes_since(&mark).await?;
    assert_eq!(
        writes.iter().filter(|write| write.contains("istio-ingressgateway")).count(),
        1,
        "{writes:#?}"
    );
    bed.stop().await
}

/// The annotation `value` on the resource itself.
async fn pause_all(bed: &Bed<'_>, value: Value) -> Result {
    let patch = json!({"metadata": {"annotations": {"istios.operator.kyma-project.io/pause": value}}});
    bed.resources().patch("default", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

pub async fn a_paused_resource_is_reported_and_nothing_is_written(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    pause_all(&bed, json!("true")).await?;
    let paused = bed.wait_for_state("default", State::Warning).await?;
    let (description, reason) = description_and_reason(&paused);
    assert_eq!(reason, "ReconcilePaused");
    assert!(description.contains("istios.operator.kyma-project.io/pause"), "{description}");
    let mark = control_plane.audit().mark().await?;
    let service = Target::new("", "Service", Some("istio-system"), "istio-ingressgateway");
    edit(control_plane, &service, json!({"spec": {"selector": {"app": "mine"}}})).await?;
    bed.edit("default", json!({"config": {"gatewayExternalTrafficPolicy": "Local"}})).await?;
    bed.wait_for_state("default", State::Warning).await?;
    let writes = bed.writes_since(&mark).await?;
    assert!(writes.iter().all(|write| write.contains("istios") || write.contains("events")), "{writes:#?}");
    pause_all(&bed, Value::Null).await?;
    bed.wait_for_state("default", State::Ready).await?;
    wait_until_restored(control_plane, &service, |object| {
        object.data["spec"]["selector"]["app"] == "istio-ingressgateway"
            && object.data["spec"]["externalTrafficPolicy"] == "Local"
    })
    .await?;
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

pub async fn a_paused_object_is_skipped_until_its_pause_expires(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let service = Target::new("", "Service", Some("istio-system"), "istio-ingressgateway");
    let until = k8s_openapi::jiff::Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_secs(8);
    let pause = json!({"istios.operator.kyma-project.io/pause": until.to_string()});
    edit(control_plane, &service, json!({"metadata": {"annotations": pause}})).await?;
    let (description, _) = description_and_reason(&bed.wait_for_state("default", State::Warning).await?);
    assert!(
        description.contains("Service istio-system/istio-ingressgateway is paused until"),
        "{description}"
    );
    edit(control_plane, &service, json!({"spec": {"selector": {"app": "mine"}}})).await?;
    let other = Target::new("", "Service", Some("istio-system"), "istiod");
    edit(control_plane, &other, json!({"spec": {"selector": {"app": "mine"}}})).await?;
    wait_until_restored(control_plane, &other, |object| object.data["spec"]["selector"]["app"] == "istiod")
        .await?;
    if k8s_openapi::jiff::Timestamp::now() < until {
        let object = service.api(control_plane).get(&service.name).await?;
        assert_eq!(object.data["spec"]["selector"]["app"], "mine", "a repair in spite of the pause");
    }
    wait_until_restored(control_plane, &service, |object| {
        object.data["spec"]["selector"]["app"] == "istio-ingressgateway"
    })
    .await?;
    bed.wait_for_state("default", State::Ready).await?;
    let none = json!({"istios.operator.kyma-project.io/pause": null});
    edit(control_plane, &service, json!({"metadata": {"annotations": none}})).await?;
    bed.stop().await
}

pub async fn repeated_changes_by_another_manager_are_reported_with_a_backoff(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let service = Target::new("", "Service", Some("istio-system"), "istio-ingressgateway");
    for _ in 0..3 {
        edit(control_plane, &service, json!({"spec": {"selector": {"app": "mine"}}})).await?;
        wait_until_restored(control_plane, &service, |object| {
            object.data["spec"]["selector"]["app"] == "istio-ingressgateway"
        })
        .await?;
    }
    edit(control_plane, &service, json!({"spec": {"selector": {"app": "mine"}}})).await?;
    let warned = bed.wait_for_state("default", State::Warning).await?;
    let (description, reason) = description_and_reason(&warned);
    assert_eq!(reason, "DriftNotRepaired");
    for words in
        ["Service istio-system/istio-ingressgateway", "somebody changed spec.selector", "keeps being changed"]
    {
        assert!(description.contains(words), "{description}");
    }
    let object = service.api(control_plane).get(&service.name).await?;
    assert_eq!(object.data["spec"]["selector"]["app"], "mine");
    // A new configuration is not part of the fight.
    bed.edit("default", json!({"config": {"gatewayExternalTrafficPolicy": "Local"}})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let object = service.api(control_plane).get(&service.name).await?;
    assert_eq!(object.data["spec"]["selector"]["app"], "istio-ingressgateway");
    bed.edit("default", json!({"config": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

/// A policy that changes each Service of the name on its way in.
async fn create_mutating_policy(
    control_plane: &ControlPlane,
    service: &str,
) -> Result<Vec<(Api<DynamicObject>, String)>> {
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["services"]}]);
    let selector = "Object{spec: Object.spec{externalTrafficPolicy: 'Local'}}";
    let policy = json!({
        "matchConstraints": {"resourceRules": rules},
        "matchConditions": [{"name": "name", "expression": format!("object.metadata.name == '{service}'")}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": selector}}],
    });
    let mut made = Vec::new();
    for (kind, spec) in [
        ("MutatingAdmissionPolicy", policy),
        ("MutatingAdmissionPolicyBinding", json!({"policyName": "undo"})),
    ] {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
        let api: Api<DynamicObject> = Api::all_with(control_plane.client(), &kind);
        api.create(&PostParams::default(), &DynamicObject::new("undo", &kind).data(json!({"spec": spec})))
            .await?;
        made.push((api, "undo".to_owned()));
    }
    Ok(made)
}

pub async fn a_value_reverted_by_admission_is_reported_and_not_rewritten(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    let service = Target::new("", "Service", Some("istio-system"), "istio-ingressgateway");
    let made = create_mutating_policy(control_plane, &service.name).await?;
    // Policies act a moment after they were made: until an edit of ours shows it.
    edit_until_policy_acts(control_plane, &service).await?;
    bed.edit("default", json!({"config": {"gatewayExternalTrafficPolicy": "Cluster"}})).await?;
    let (description, reason) = description_and_reason(&bed.wait_for_state("default", State::Warning).await?);
    assert_eq!(reason, "DriftNotRepaired", "{description}");
    for words in ["Service istio-system/istio-ingressgateway", "admission", "spec.externalTrafficPolicy"] {
        assert!(description.contains(words), "{description}");
    }
    let mark = control_plane.audit().mark().await?;
    bed.edit("default", json!({"compatibilityMode": true})).await?;
    bed.wait_for_state("default", State::Warning).await?;
    let writes = bed.writes_since(&mark).await?;
    assert!(!writes.iter().any(|write| write.contains("istio-ingressgateway")), "{writes:#?}");
    for (api, name) in made.iter().rev() {
        api.delete(name, &DeleteParams::default()).await?;
    }
    bed.edit("default", json!({"compatibilityMode": null, "config": null})).await?;
    bed.stop().await
}

/// Edits a note on the Service until the policy has changed it on the way.
async fn edit_until_policy_acts(control_plane: &ControlPlane, service: &Target) -> Result {
    let mut attempt = 0;
    eventually("policy that acts", DEADLINE, async || {
        attempt += 1;
        let note = json!({"metadata": {"annotations": {"example.com/round": attempt.to_string()}}});
        edit(control_plane, service, note).await?;
        let live = service.api(control_plane).get(&service.name).await?;
        Ok((live.data["spec"]["externalTrafficPolicy"] == "Local").then_some(()))
    })
    .await
}
