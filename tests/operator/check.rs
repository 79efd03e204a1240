//! `istio-manager check`: says before an installation or upgrade what stands in its way.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use testbed::{ControlPlane, TestResult};

use crate::bed::{Bed, Result, command};

/// Neighbours of Istio that a check has to notice: network plug-ins with settings that collide, and other installations.
const NEIGHBOURS: &str = r"
{apiVersion: v1, kind: ConfigMap, metadata: {name: cilium-config, namespace: kube-system}, data: {cni-exclusive: 'true', bpf-lb-sock: 'true'}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: felixconfigurations.crd.projectcalico.org}
spec:
  group: crd.projectcalico.org
  names: {kind: FelixConfiguration, plural: felixconfigurations}
  scope: Cluster
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: istios.sailoperator.io}
spec:
  group: sailoperator.io
  names: {kind: Istio, plural: istios}
  scope: Cluster
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
{apiVersion: v1, kind: Namespace, metadata: {name: mesh}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod-canary, namespace: mesh, labels: {app: istiod, istio.io/rev: canary}}
spec:
  replicas: 0
  selector: {matchLabels: {app: istiod}}
  template: {metadata: {labels: {app: istiod}}, spec: {containers: [{name: discovery, image: pilot}]}}
";
const FELIX: &str =
    "{apiVersion: crd.projectcalico.org/v1, kind: FelixConfiguration, metadata: {name: default},
  spec: {bpfConnectTimeLoadBalancing: TCP}}";

async fn kubectl(control_plane: &ControlPlane, arguments: &[&str]) -> Result {
    let kubeconfig = format!("--kubeconfig={}", control_plane.kubeconfig().display());
    let arguments = arguments.iter().copied().chain([kubeconfig.as_str()]);
    let output = testbed::run(&control_plane.tools().program("kubectl")?, arguments, &[]).await?;
    if !output.status.success() {
        return Err(format!("kubectl: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}

pub async fn a_check_reports_conflicting_network_plugins_and_other_istios(
    control_plane: &ControlPlane,
) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let file = |name: &str, content: &str| -> Result<String> {
        let path = control_plane.dir().join(name);
        std::fs::write(&path, content)?;
        Ok(path.display().to_string())
    };
    let (neighbours, felix) = (file("neighbours.yaml", NEIGHBOURS)?, file("felix.yaml", FELIX)?);
    kubectl(control_plane, &["apply", "-f", &neighbours]).await?;
    let crd = "crd/felixconfigurations.crd.projectcalico.org";
    kubectl(control_plane, &["wait", "--for=condition=Established", "--timeout=60s", crd]).await?;
    kubectl(control_plane, &["apply", "-f", &felix]).await?;
    let (code, found) = check(control_plane, &[]).await?;
    kubectl(control_plane, &["delete", "--wait=false", "-f", &neighbours]).await?;
    for (subject, words) in [
        ("network", "cni-exclusive=true"),
        ("network", "bpf-lb-sock=true"),
        ("network", "FelixConfiguration default"),
        ("other-istio", "istios.sailoperator.io"),
        ("other-istio", "Deployment mesh/istiod-canary is another istiod, with revision canary"),
    ] {
        assert!(has(&found, "warning", subject, words), "{words} is missing in {found:?}");
    }
    assert_eq!(code, 0, "warnings do not block an installation: {found:?}");
    Ok(())
}

/// Exit code and the findings as severity, subject and message.
async fn check(control_plane: &ControlPlane, arguments: &[&str]) -> Result<(i32, Vec<[String; 3]>)> {
    let (code, stdout, stderr) =
        command(control_plane, &[&["check", "-o", "json"], arguments].concat()).await?;
    let report: Value =
        serde_json::from_str(&stdout).map_err(|error| format!("{error}: {stdout}{stderr}"))?;
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().into_iter().flatten();
    Ok((
        code,
        findings.map(|found| ["severity", "subject", "message"].map(|field| text(found, field))).collect(),
    ))
}

fn has(findings: &[[String; 3]], severity: &str, subject: &str, words: &str) -> bool {
    findings.iter().any(|found| found[0] == severity && found[1] == subject && found[2].contains(words))
}

pub async fn a_check_of_a_cluster_without_the_operator_reports_what_is_missing(
    control_plane: &ControlPlane,
) -> TestResult {
    let (code, found) = check(control_plane, &[]).await?;
    assert!(has(&found, "error", "namespace", "PriorityClass istio-kyma-priority"), "{found:?}");
    assert_eq!((code, found.len()), (1, 1), "{found:?}");
    Ok(())
}

pub async fn a_check_of_a_healthy_installation_finds_nothing(control_plane: &ControlPlane) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    assert_eq!(check(control_plane, &[]).await?, (0, vec![]));
    let operator = "--as=system:serviceaccount:kyma-system:istio-controller-manager";
    let (_, found) = check(control_plane, &[operator]).await?;
    assert!(!found.iter().any(|found| found[1] == "permissions"), "{found:?}");
    Ok(())
}

pub async fn a_check_as_a_user_without_permissions_names_them(control_plane: &ControlPlane) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let (code, found) = check(control_plane, &["--as=nobody"]).await?;
    assert_eq!(code, 1);
    assert!(has(&found, "error", "permissions", "get istios.operator.kyma-project.io"), "{found:?}");
    assert!(has(&found, "warning", "webhooks", "check failed"), "{found:?}");
    Ok(())
}

pub async fn a_check_reports_a_dead_webhook_and_a_restricted_namespace(
    control_plane: &ControlPlane,
) -> TestResult {
    Bed::installed(control_plane).await?.stop().await?;
    let client = control_plane.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let enforce = |level: Value| {
        Patch::Merge(json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}))
    };
    namespaces.patch("istio-system", &PatchParams::default(), &enforce(json!("baseline"))).await?;
    let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
    let webhooks: Api<DynamicObject> = Api::all_with(client, &ApiResource::from_gvk(&gvk));
    let webhook: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "policies"},
        "webhooks": [{
            "name": "policies.example.com", "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"namespace": "policies", "name": "engine"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            // Keeps it from the tests that run beside.
            "objectSelector": {"matchLabels": {"not": "there"}},
        }],
    }))?;
    webhooks.create(&PostParams::default(), &webhook).await?;
    let (code, found) = check(control_plane, &[]).await?;
    webhooks.delete("policies", &DeleteParams::default()).await?;
    namespaces.patch("istio-system", &PatchParams::default(), &enforce(Value::Null)).await?;
    assert_eq!(code, 1, "{found:?}");
    assert!(has(&found, "error", "webhooks", "Service policies/engine has no ready endpoint"), "{found:?}");
    assert!(has(&found, "error", "namespace", "level baseline"), "{found:?}");
    Ok(())
}
