//! Istio that others installed becomes ours in place: no object is made anew, and pods can be created all the while.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use istio_charts::Bundle;
use istio_manager::api::IstioSpec;
use istio_manager::api::conditions::State;
use istio_manager::api::names::RESTARTED_AT_ANNOTATION;
use istio_manager::plan::AdministratorValues;
use istio_manager::plan::configuration::{ClusterFacts, Images, build_configuration};
use istio_manager::validate::{FeatureStage, validate};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{ControlPlane, Failure, TestResult};

use crate::bed::{Bed, Result, description_and_reason};
use crate::drift::{applied_objects, events, wait_for_event};
use crate::injected::{PodCreation, sidecars_of_new_pod, while_pods_are_created};

/// What must survive a take-over.
pub struct Baseline {
    uids: BTreeMap<String, Option<String>>,
    templates: BTreeMap<String, Value>,
}

/// Runs a program of Istio's or Helm's world against the control plane.
async fn run(control_plane: &ControlPlane, program: &str, arguments: &[String]) -> Result<String> {
    let path = control_plane.tools().program(program)?;
    let home = control_plane.dir().display().to_string();
    let kubeconfig = format!("--kubeconfig={}", control_plane.kubeconfig().display());
    let arguments = arguments.iter().cloned().chain([kubeconfig]);
    let output = testbed::run(&path, arguments, &[("HOME", home)]).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(format!("{program}: {}{}", text(&output.stdout), text(&output.stderr)).into());
    }
    Ok(text(&output.stdout))
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".charts/1.31.0")
}

async fn istioctl(control_plane: &ControlPlane, arguments: &[&str]) -> Result<String> {
    let manifests = format!("--manifests={}", charts().display());
    let fixed = ["install", "--skip-confirmation", &manifests].map(str::to_owned);
    let arguments: Vec<String> = fixed.into_iter().chain(arguments.iter().map(|a| (*a).to_owned())).collect();
    run(control_plane, "istioctl", &arguments).await
}

async fn helm(control_plane: &ControlPlane, release: &str, chart: &str, values: &[&str]) -> Result<String> {
    let chart = charts().join("charts").join(chart).display().to_string();
    let fixed = ["install", release, &chart, "--namespace=istio-system", "--create-namespace", "--wait"];
    let values = values.iter().map(|value| format!("--set={value}"));
    run(control_plane, "helm", &fixed.into_iter().map(str::to_owned).chain(values).collect::<Vec<_>>()).await
}

/// What the Go operator tells Istio's installer for an empty resource on this cluster.
async fn istio_operator_document(control_plane: &ControlPlane) -> Result<Value> {
    let nodes: Api<Node> = Api::all(control_plane.client());
    let objects = nodes.list(&ListParams::default()).await?.items.into_iter().map(|node| {
        let mut node = serde_json::to_value(node)?;
        node["kind"] = json!("Node");
        Ok(node)
    });
    let facts = ClusterFacts::from_objects(&objects.collect::<serde_json::Result<Vec<_>>>()?)?;
    let spec = validate(&IstioSpec::default(), FeatureStage::Stable)?;
    let images = Images::from_environment(|_| None, Bundle::select(None, None)?.version())?;
    let mut document = build_configuration(&spec, &facts, &images, &AdministratorValues::default())?;
    // It loses the settings of its base configuration here.
    document["spec"]["components"]["cni"] = json!({"enabled": true});
    Ok(document)
}

pub async fn take_baseline(control_plane: &ControlPlane) -> Result<Baseline> {
    let client = control_plane.client();
    let mut uids = BTreeMap::new();
    let mut templates = BTreeMap::new();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "istio-system");
    for deployment in deployments.list(&ListParams::default()).await? {
        let name = format!("Deployment {}", deployment.name_any());
        uids.insert(name.clone(), deployment.uid());
        templates.insert(name, serde_json::to_value(deployment.spec.map(|spec| spec.template))?);
    }
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), "istio-system");
    for daemon_set in daemon_sets.list(&ListParams::default()).await? {
        let name = format!("DaemonSet {}", daemon_set.name_any());
        uids.insert(name.clone(), daemon_set.uid());
        templates.insert(name, serde_json::to_value(daemon_set.spec.map(|spec| spec.template))?);
    }
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client);
    for webhook in webhooks.list(&ListParams::default()).await? {
        uids.insert(format!("MutatingWebhookConfiguration {}", webhook.name_any()), webhook.uid());
    }
    Ok(Baseline { uids, templates })
}

/// No object was made anew. The workloads whose pods were replaced.
pub async fn replaced_workloads(control_plane: &ControlPlane, baseline: &Baseline) -> Result<Vec<String>> {
    let now = take_baseline(control_plane).await?;
    for (name, uid) in &baseline.uids {
        assert_eq!(now.uids.get(name), Some(uid), "{name} was made anew or is gone");
    }
    let changed = |(name, template): &(&String, &Value)| now.templates.get(*name) != Some(*template);
    Ok(baseline.templates.iter().filter(changed).map(|(name, _)| name.clone()).collect())
}

/// Adds the module's labels, and begins a restart, as the Go operator's process does after an installation.
async fn label_and_restart_as_the_go_operator_does(control_plane: &ControlPlane) -> Result {
    let params = PatchParams { field_manager: Some("manager".into()), ..PatchParams::default() };
    let label = json!({"kyma-project.io/module": "istio"});
    let restart = json!({RESTARTED_AT_ANNOTATION: "2026-01-01T00:00:00Z"});
    let template = json!({"metadata": {"labels": label, "annotations": restart}});
    let workload = json!({"metadata": {"labels": label}, "spec": {"template": template}});
    let client = control_plane.client();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "istio-system");
    for deployment in deployments.list(&ListParams::default()).await? {
        deployments.patch(&deployment.name_any(), &params, &Patch::Strategic(&workload)).await?;
    }
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), "istio-system");
    for daemon_set in daemon_sets.list(&ListParams::default()).await? {
        daemon_sets.patch(&daemon_set.name_any(), &params, &Patch::Strategic(&workload)).await?;
    }
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client);
    for webhook in webhooks.list(&ListParams::default()).await? {
        let patch = json!({"metadata": {"labels": label}});
        webhooks.patch(&webhook.name_any(), &params, &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// The managers that still own fields of any object that the operator applied.
async fn managers(control_plane: &ControlPlane) -> Result<Vec<String>> {
    let mut managers = Vec::new();
    // What anyone put on the namespace stays theirs.
    for target in
        applied_objects(control_plane).await?.iter().filter(|target| target.kind.kind != "Namespace")
    {
        let object = target.api(control_plane).get_metadata(&target.name).await?;
        let entries = object.metadata.managed_fields.unwrap_or_default();
        managers.extend(
            entries.into_iter().filter_map(|entry| Some(format!("{} {}", entry.manager?, entry.operation?))),
        );
    }
    managers.sort();
    managers.dedup();
    Ok(managers)
}

pub async fn adopting_a_go_operator_installation_replaces_only_the_cni_agent(
    control_plane: &ControlPlane,
) -> TestResult {
    crate::chart::install(control_plane).await?;
    let file = control_plane.dir().join("istio-operator.yaml");
    std::fs::write(&file, istio_operator_document(control_plane).await?.to_string())?;
    istioctl(control_plane, &["--filename", &file.display().to_string()]).await?;
    label_and_restart_as_the_go_operator_does(control_plane).await?;
    let baseline = take_baseline(control_plane).await?;
    let bed = Bed::start(control_plane).await?;
    Box::pin(while_pods_are_created(control_plane, PodCreation::DryRun, async {
        bed.create("default", json!({})).await?;
        bed.wait_for_state("default", State::Ready).await
    }))
    .await?;
    // The one whose resources and affinity the Go operator loses.
    let agent = "DaemonSet istio-cni-node";
    assert_eq!(replaced_workloads(control_plane, &baseline).await?, [agent]);
    wait_for_event(control_plane, "AdoptedWithRollout", agent, &["spec.template."]).await?;
    assert_eq!(events(control_plane, "AdoptedWithRollout").await?.len(), 1);
    let managers = managers(control_plane).await?;
    for gone in ["manager Update", "istio-operator Update", "istioctl Update", "pilot-discovery Apply"] {
        assert!(!managers.contains(&gone.to_owned()), "{managers:?}");
    }
    bed.stop().await
}

pub async fn an_istioctl_installation_is_adopted_while_istiod_is_down(
    control_plane: &ControlPlane,
) -> TestResult {
    crate::chart::install(control_plane).await?;
    istioctl(control_plane, &["--set=hub=docker.io/istio", "--set=tag=1.31.0-distroless"]).await?;
    let baseline = take_baseline(control_plane).await?;
    control_plane.fail_pods("istio-system", "istiod", Failure::Crash).await?;
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), "istio-system");
    pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=istiod")).await?;
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_description("default", "istiod: waiting for").await?;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(control_plane.client());
    for webhook in webhooks.get("istio-revision-tag-default").await?.webhooks.unwrap_or_default() {
        assert!(
            webhook.client_config.ca_bundle.is_some_and(|ca| !ca.0.is_empty()),
            "{} lost its CA",
            webhook.name
        );
    }
    control_plane.stop_failing_pods("istio-system", "istiod").await?;
    bed.wait_for_state("default", State::Ready).await?;
    let rolled_out = replaced_workloads(control_plane, &baseline).await?;
    for workload in rolled_out {
        wait_for_event(control_plane, "AdoptedWithRollout", &workload, &["spec.template."]).await?;
    }
    bed.stop().await
}

pub async fn an_adopted_helm_release_is_a_warning_until_its_secrets_are_gone(
    control_plane: &ControlPlane,
) -> TestResult {
    crate::chart::install(control_plane).await?;
    let images = ["global.hub=docker.io/istio", "global.tag=1.31.0-distroless"];
    helm(control_plane, "istio-base", "base", &[]).await?;
    helm(control_plane, "istiod", "istio-control/istio-discovery", &images).await?;
    let baseline = take_baseline(control_plane).await?;
    let bed = Bed::start(control_plane).await?;
    let warned = Box::pin(while_pods_are_created(control_plane, PodCreation::DryRun, async {
        bed.create("default", json!({})).await?;
        bed.wait_for_state("default", State::Warning).await
    }))
    .await?;
    let (description, reason) = description_and_reason(&warned);
    assert_eq!(reason, "ReconcileSucceeded", "{description}");
    let secrets: Api<Secret> = Api::namespaced(control_plane.client(), "istio-system");
    let releases = secrets.list(&ListParams::default().labels("owner=helm")).await?.items;
    assert_eq!(releases.len(), 2);
    for release in &releases {
        assert!(description.contains(&release.name_any()), "{description}");
    }
    replaced_workloads(control_plane, &baseline).await?;
    let managers = managers(control_plane).await?;
    assert!(!managers.iter().any(|manager| manager.starts_with("helm ")), "{managers:?}");
    for release in releases {
        secrets.delete(&release.name_any(), &DeleteParams::default()).await?;
    }
    // What is fixed is noticed by itself, within a minute; an edit only makes it sooner.
    bed.edit("default", json!({"compatibilityMode": false})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    bed.stop().await
}

/// Webhooks that remain where an Istio was removed with its CRDs and its namespace.
const ORPHANED_WEBHOOKS: [(&str, &str); 2] = [
    ("MutatingWebhookConfiguration", "istio-sidecar-injector"),
    ("ValidatingWebhookConfiguration", "istio-validator-istio-system"),
];

pub async fn orphaned_webhooks_of_a_removed_istio_are_adopted(control_plane: &ControlPlane) -> TestResult {
    for (kind, name) in ORPHANED_WEBHOOKS {
        create_orphaned_webhook(&webhooks(control_plane, kind), kind, name).await?;
    }
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await?;
    let bed = Bed::start(control_plane).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    assert_eq!(sidecars_of_new_pod(control_plane).await?, 1);
    for (kind, name) in ORPHANED_WEBHOOKS {
        let webhook = webhooks(control_plane, kind).get(name).await?;
        assert!(!webhook.labels().contains_key("left"), "{webhook:?}");
        assert!(!webhook.data["webhooks"].to_string().contains("left.example.com"), "{webhook:?}");
    }
    let managers = managers(control_plane).await?;
    assert!(!managers.iter().any(|manager| manager.starts_with("helm ")), "{managers:?}");
    bed.stop().await
}

fn webhooks(control_plane: &ControlPlane, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(control_plane.client(), &ApiResource::from_gvk(&kind))
}

async fn create_orphaned_webhook(webhooks: &Api<DynamicObject>, kind: &str, name: &str) -> Result {
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "labels": {"left": "behind"}},
        "webhooks": [{
            "name": "left.example.com",
            "clientConfig": {"service": {"namespace": "istio-system", "name": "istiod", "path": "/inject"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }],
    });
    webhooks.patch(name, &PatchParams::apply("helm"), &Patch::Apply(&webhook)).await?;
    Ok(())
}
