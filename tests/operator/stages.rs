//! A fault at each stage, one after the other: each is told while it lasts, and the next stage begins when it is over.

use istio_manager::api::Istio;
use istio_manager::api::conditions::State;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, Failure, FaultProxy, TestResult};

use crate::bed::{Bed, Result, USER, description_and_reason};
use crate::drift::{Target, wait_until_restored};
use crate::injected::sidecars_of_new_pod;
use crate::removal::assert_nothing_is_left;

/// What is refused at each stage of an installation, and the word for it in the status. Webhooks cannot refuse webhooks.
const WRITES: [(&str, &str); 10] = [
    ("resource == 'namespaces'", "stage namespace"),
    ("resource == 'customresourcedefinitions'", "stage custom resource definitions"),
    ("resource == 'serviceaccounts'", "stage service accounts"),
    ("resource == 'clusterroles'", "stage roles"),
    ("resource == 'clusterrolebindings'", "stage role bindings"),
    ("resource == 'configmaps' && request.namespace == 'istio-system'", "stage configuration"),
    ("resource == 'deployments' && request.name == 'istiod'", "stage istiod"),
    ("resource == 'daemonsets'", "stage CNI"),
    ("resource == 'deployments' && request.name == 'istio-ingressgateway'", "stage gateways"),
    ("resource == 'peerauthentications'", "stage extra resources"),
];

/// The same of a removal, with the object that the status names.
const DELETIONS: [(&str, &str); 8] = [
    ("resource == 'peerauthentications'", "PeerAuthentication istio-system/default"),
    ("resource == 'deployments' && request.name == 'istio-ingressgateway'", "istio-ingressgateway"),
    ("resource == 'deployments' && request.name == 'istiod'", "Deployment istio-system/istiod"),
    ("resource == 'daemonsets'", "DaemonSet istio-system/istio-cni-node"),
    ("resource == 'clusterrolebindings'", "ClusterRoleBinding"),
    ("resource == 'serviceaccounts'", "ServiceAccount"),
    ("resource == 'customresourcedefinitions'", "CustomResourceDefinition"),
    ("resource == 'namespaces'", "Namespace istio-system"),
];

const WEBHOOK: &str = "policy.example.com";

pub async fn a_failing_foreign_webhook_is_reported_at_each_stage(control_plane: &ControlPlane) -> TestResult {
    let bed = Bed::start_with(control_plane, &["--failure-max-delay=1s"]).await?;
    refuse(control_plane, WRITES[0].0).await?;
    bed.create("default", json!({})).await?;
    for (what, stage) in WRITES {
        refuse(control_plane, what).await?;
        wait_for_status(&bed, State::Error, &[stage, WEBHOOK]).await?;
    }
    refuse_nothing(control_plane).await?;
    bed.wait_for_state("default", State::Ready).await?;
    refuse(control_plane, DELETIONS[0].0).await?;
    bed.delete("default").await?;
    for (what, object) in DELETIONS {
        refuse(control_plane, what).await?;
        wait_for_status(&bed, State::Error, &[object, WEBHOOK]).await?;
    }
    refuse_nothing(control_plane).await?;
    bed.wait_until_gone("default").await?;
    assert_nothing_is_left(&bed).await?;
    bed.stop().await
}

fn webhooks(control_plane: &ControlPlane) -> (Api<DynamicObject>, ApiResource) {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
    let kind = ApiResource::from_gvk(&kind);
    (Api::all_with(control_plane.client(), &kind), kind)
}

/// Has the operator's writes of this sort refused by a webhook that nobody answers, and no others.
async fn refuse(control_plane: &ControlPlane, what: &str) -> Result {
    let (webhooks, kind) = webhooks(control_plane);
    let expression = format!("request.userInfo.username == '{USER}' && request.resource.{what}");
    let configuration = DynamicObject::new("policy", &kind).data(json!({"webhooks": [{
        "name": WEBHOOK,
        "clientConfig": {"service": {"namespace": "default", "name": "policy", "path": "/"}},
        "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}],
        "matchConditions": [{"name": "what", "expression": expression}],
        "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
    }]}));
    let params = PatchParams::apply("somebody").force();
    webhooks.patch("policy", &params, &Patch::Apply(&configuration)).await?;
    Ok(())
}

async fn refuse_nothing(control_plane: &ControlPlane) -> Result {
    webhooks(control_plane).0.delete("policy", &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until the resource is in the state and says all of the words.
async fn wait_for_status(bed: &Bed<'_>, state: State, words: &[&str]) -> Result {
    let is_shown = |resource: &Istio| {
        let (description, _) = description_and_reason(resource);
        resource.status.as_ref().is_some_and(|status| status.state == state)
            && words.iter().all(|word| description.contains(word))
    };
    bed.wait_until("default", &words.join(", "), is_shown).await?;
    Ok(())
}

/// What keeps the pods of each stage from running, one after the other.
const FAILURES: [(&str, &str, Failure, &str); 3] = [
    ("istiod", "Deployment istio-system/istiod", Failure::Pull, "ImagePullBackOff"),
    ("istio-cni-node", "DaemonSet istio-system/istio-cni-node", Failure::Crash, "CrashLoopBackOff"),
    (
        "istio-ingressgateway",
        "Deployment istio-system/istio-ingressgateway",
        Failure::Pull,
        "ImagePullBackOff",
    ),
];

pub async fn pod_failures_of_each_stage_are_reported_and_end_with_their_cause(
    control_plane: &ControlPlane,
) -> TestResult {
    control_plane.create_namespace("istio-system", &[]).await?;
    cordon(control_plane, true).await?;
    let bed = Bed::start_with(control_plane, &["--install-timeout=7s", "--failure-max-delay=1s"]).await?;
    bed.create("default", json!({})).await?;
    wait_for_status(&bed, State::Error, &["Deployment istio-system/istiod", "nodes are available"]).await?;
    for (pods, _, failure, _) in FAILURES {
        control_plane.fail_pods("istio-system", pods, failure).await?;
    }
    cordon(control_plane, false).await?;
    for (pods, object, _, words) in FAILURES {
        wait_for_status(&bed, State::Error, &[object, words]).await?;
        assert_eq!(
            description_and_reason(&bed.resources().get("default").await?).1,
            "IstioInstallUninstallFailed"
        );
        control_plane.stop_failing_pods("istio-system", pods).await?;
    }
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

async fn cordon(control_plane: &ControlPlane, unschedulable: bool) -> Result {
    let nodes: Api<Node> = Api::all(control_plane.client());
    for node in nodes.list(&ListParams::default()).await? {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
        nodes.patch(&node.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

pub async fn a_workload_failing_after_the_install_is_reported_until_it_recovers(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 35).await?;
    let bed = Bed::start_through(control_plane, &proxy).await?;
    bed.ensure_installed().await?;
    bed.wait_for_log("scanned the data plane").await?;
    bed.wait_until_data_plane_converged().await?;
    let mark = control_plane.audit().mark().await?;
    let [(istiod, object, failure, _), others @ ..] = FAILURES;
    proxy.fail_reads(&["/deployments/istiod"]);
    control_plane.fail_pods("istio-system", istiod, failure).await?;
    // It cannot be asked, and fares as the watch saw it.
    wait_for_status(&bed, State::Error, &[&format!("installed but unhealthy: {object}: 0 of")]).await?;
    proxy.fail_reads(&[]);
    for (pods, _, failure, _) in others {
        control_plane.fail_pods("istio-system", pods, failure).await?;
    }
    let words: Vec<&str> = FAILURES.iter().flat_map(|(_, object, _, words)| [*object, *words]).collect();
    wait_for_status(&bed, State::Error, &words).await?;
    assert_eq!(description_and_reason(&bed.resources().get("default").await?).1, "ReconcileFailed");
    for (pods, ..) in FAILURES {
        control_plane.stop_failing_pods("istio-system", pods).await?;
    }
    let healthy = bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(description_and_reason(&healthy), (String::new(), "ReconcileSucceeded".to_owned()));
    let writes = bed.writes_since(&mark).await?;
    let is_status_or_event = |write: &String| write.contains("istios") || write.contains("events");
    assert!(writes.iter().all(is_status_or_event), "{writes:#?}");
    bed.stop().await
}

pub async fn a_deleted_injection_webhook_is_restored_during_a_stuck_rollout(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.ensure_installed().await?;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await?;
    control_plane.fail_new_pods("istio-system", "istiod", Failure::Pull).await?;
    let other = json!({"pilot": {"k8s": {"resources": {"requests": {"cpu": "75m"}}}}});
    bed.edit("default", json!({"components": other})).await?;
    wait_for_status(&bed, State::Processing, &["waiting for Deployment istio-system/istiod"]).await?;
    let group = "admissionregistration.k8s.io";
    let injector = Target::new(group, "MutatingWebhookConfiguration", None, "istio-revision-tag-default");
    injector.api(control_plane).delete(&injector.name, &DeleteParams::default()).await?;
    let answers = |object: &DynamicObject| !object.data["webhooks"][0]["clientConfig"]["caBundle"].is_null();
    wait_until_restored(control_plane, &injector, answers).await?;
    assert_eq!(sidecars_of_new_pod(control_plane).await?, 1);
    wait_for_status(&bed, State::Processing, &["waiting for Deployment istio-system/istiod"]).await?;
    control_plane.stop_failing_pods("istio-system", "istiod").await?;
    bed.edit("default", json!({"components": null})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

/// The definition that the API server forgets.
const UNESTABLISHED_CRD: &str = "gateways.networking.istio.io";

pub async fn a_crd_the_api_server_forgot_to_establish_gets_established(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await?;
    // As it is when the API server dies between two steps: it has accepted the names, and has not established it.
    control_plane.kill_api_server(None).await?;
    control_plane.change_stored_crd(UNESTABLISHED_CRD, remove_established_condition).await?;
    let server = control_plane.start_api_server().await?;
    let bed = Bed::start(control_plane).await?;
    bed.edit("default", json!({"config": {"numTrustedProxies": 3}})).await?;
    let waits = "names accepted, but not established yet";
    wait_for_status(&bed, State::Processing, &[UNESTABLISHED_CRD, waits]).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(bed.operator.count_in_log("touched the CRD to make the API server establish it"), 1);
    bed.stop().await?;
    drop(server);
    Ok(())
}

fn remove_established_condition(crd: &mut Value) {
    if let Some(conditions) = crd["status"]["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != "Established");
    }
}
