//! If pods are rejected, a dry run shows nothing; istiod itself is called then, with the same result.

use k8s_openapi::api::core::v1::{LimitRange, Namespace, Pod, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{NAMESPACE, Result};
use crate::mesh::{Mesh, entry, reasons, workload};

/// What may reject pods, each in a namespace of its own.
const REFUSERS: [&str; 4] = ["quota", "pod-security", "limit-range", "policy"];

pub async fn workloads_whose_pods_are_rejected_are_evaluated_through_istiod(
    control_plane: &ControlPlane,
) -> TestResult {
    let bed = crate::installed(control_plane).await?;
    let mesh = Mesh(control_plane);
    bed.edit("default", json!({"restarter": {"enabled": false}})).await?;
    bed.wait_until_applied().await?;
    for namespace in REFUSERS {
        mesh.namespace(namespace).await?;
        mesh.create(namespace, workload("Deployment", "plain", 1)).await?;
        // What is left open is filled in by the API server, which istiod does not know.
        let mut amounts = workload("Deployment", "amounts", 1);
        amounts["spec"]["template"]["metadata"]["annotations"] =
            json!({"sidecar.istio.io/proxyCPULimit": "200m"});
        mesh.create(namespace, amounts).await?;
    }
    refuse(control_plane).await?;
    for namespace in REFUSERS {
        let why = refusal(control_plane, namespace).await?;
        assert!(why.is_some(), "pods are let into {namespace}");
    }
    let report = mesh.report(&[]).await?;
    assert_eq!(reported(&report), Vec::<String>::new(), "{report:#}");
    crate::restart::make_outdated(&bed, "refused").await?;
    bed.wait_until_applied().await?;
    let report = mesh.report(&[]).await?;
    let expected: Vec<String> = REFUSERS
        .iter()
        .flat_map(|namespace| ["amounts", "plain"].map(|name| format!("{namespace}/{name} StatsMatcher")))
        .collect();
    let mut reported = reported(&report);
    reported.sort();
    let mut expected = expected;
    expected.sort();
    assert_eq!(reported, expected, "{report:#}");
    assert_eq!(report["unknown"], json!([]), "{report:#}");
    stop_refusing(control_plane).await?;
    bed.edit("default", json!({"restarter": null})).await?;
    bed.stop().await
}

/// What a report says about the namespaces of the refusers.
fn reported(report: &Value) -> Vec<String> {
    let mut reported = Vec::new();
    for namespace in REFUSERS {
        for name in ["plain", "amounts"] {
            if let Some(entry) = entry(report, namespace, name) {
                reported.push(format!("{namespace}/{name} {}", reasons(entry).join(",")));
            }
        }
    }
    reported
}

async fn refuse(control_plane: &ControlPlane) -> Result {
    let client = control_plane.client();
    let quota: ResourceQuota =
        serde_json::from_value(json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}))?;
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), "quota");
    quotas.create(&PostParams::default(), &quota).await?;
    let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch("pod-security", &PatchParams::default(), &Patch::Merge(restricted)).await?;
    let limits = json!({"metadata": {"name": "small"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "100m"}, "default": {"cpu": "50m"}}]}});
    let ranges: Api<LimitRange> = Api::namespaced(client.clone(), "limit-range");
    ranges.create(&PostParams::default(), &serde_json::from_value(limits)?).await?;
    let creations =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let never = json!({"expression": "false", "message": "no pods here"});
    forbid(client.clone(), "policy", &creations, &never).await?;
    for namespace in REFUSERS {
        let refuses = format!("refusal in {namespace}");
        testbed::eventually(&refuses, crate::bed::DEADLINE, async || refusal(control_plane, namespace).await)
            .await?;
    }
    Ok(())
}

/// A policy that rejects what `rule` matches in `namespace`. Its name is that of the namespace.
pub async fn forbid(client: kube::Client, namespace: &str, rule: &Value, validation: &Value) -> Result {
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "resourceRules": [rule],
        },
        "validations": [validation],
    });
    let binding = json!({"policyName": namespace, "validationActions": ["Deny"]});
    for (kind, spec) in [("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", binding)] {
        let (api, resource) = admission(client.clone(), kind);
        let object = DynamicObject::new(namespace, &resource).data(json!({"spec": spec}));
        api.create(&PostParams::default(), &object).await?;
    }
    Ok(())
}

/// Deletes the policy.
pub async fn allow(client: kube::Client, namespace: &str) -> Result {
    for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
        admission(client.clone(), kind).0.delete(namespace, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn stop_refusing(control_plane: &ControlPlane) -> Result {
    let namespaces: Api<Namespace> = Api::all(control_plane.client());
    for namespace in REFUSERS {
        namespaces.delete(namespace, &DeleteParams::default()).await?;
    }
    allow(control_plane.client(), "policy").await
}

fn admission(client: kube::Client, kind: &str) -> (Api<DynamicObject>, ApiResource) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
    (Api::all_with(client, &resource), resource)
}

/// Why a pod like those of the workloads is rejected in a dry run; `None` if it is accepted.
async fn refusal(control_plane: &ControlPlane, namespace: &str) -> Result<Option<String>> {
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), namespace);
    answer(pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &pod()?).await)
}

fn answer(answer: std::result::Result<Pod, kube::Error>) -> Result<Option<String>> {
    match answer {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

fn pod() -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"generateName": "probe-"},
        "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]},
    }))?)
}

pub async fn the_operator_can_create_pods_only_in_dry_runs(control_plane: &ControlPlane) -> TestResult {
    crate::chart::install(control_plane).await?;
    control_plane.create_namespace("elsewhere", &[]).await?;
    let operator = control_plane.client_for(NAMESPACE, "istio-controller-manager").await?;
    for namespace in ["elsewhere", NAMESPACE] {
        let pods: Api<Pod> = Api::namespaced(operator.clone(), namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        assert_eq!(answer(pods.create(&dry_run, &pod()?).await)?, None, "a dry run in {namespace}");
        let refused = answer(pods.create(&PostParams::default(), &pod()?).await)?;
        let why = refused.ok_or("the operator can make pods")?;
        assert!(why.contains("makes pods in dry runs only"), "{why}");
    }
    Ok(())
}
