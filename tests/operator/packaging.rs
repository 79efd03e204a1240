//! The ways in which a user installs the operator itself: kustomize and Helm.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::Value;
use testbed::{ControlPlane, TestResult};

use crate::bed::{DEADLINE, NAMESPACE, Result};

pub async fn the_kustomization_runs_the_operator(control_plane: &ControlPlane) -> TestResult {
    let kubectl = control_plane.tools().program("kubectl")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default");
    let arguments = ["apply".to_owned(), format!("--kustomize={}", folder.display())];
    run(control_plane, &kubectl, arguments).await?;
    wait_until_available(control_plane).await
}

pub async fn the_chart_runs_the_operator(control_plane: &ControlPlane) -> TestResult {
    let helm = control_plane.tools().program("helm")?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/istio-manager");
    let arguments = ["install", "istio-manager", "--namespace", NAMESPACE, "--create-namespace"];
    let arguments = arguments.map(str::to_owned).into_iter().chain([chart.display().to_string()]);
    run(control_plane, &helm, arguments).await?;
    wait_until_available(control_plane).await
}

/// The test bed has no containers; what is shown is that the pod is admitted, with its class, account and security.
async fn wait_until_available(control_plane: &ControlPlane) -> TestResult {
    let available = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.available_replicas > Some(0))
    };
    let api: Api<Deployment> = Api::namespaced(control_plane.client(), NAMESPACE);
    control_plane
        .wait_for(api, "istio-controller-manager", "available operator", DEADLINE, available)
        .await?;
    Ok(())
}

async fn run(
    control_plane: &ControlPlane,
    program: &Path,
    arguments: impl IntoIterator<Item = String>,
) -> TestResult {
    let arguments =
        arguments.into_iter().chain([format!("--kubeconfig={}", control_plane.kubeconfig().display())]);
    let home = control_plane.dir().display().to_string();
    let output = testbed::run(program, arguments, &[("HOME", home)]).await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(())
}

/// Permissions and policies are written once and shipped twice.
pub async fn the_chart_and_the_kustomization_grant_the_same(control_plane: &ControlPlane) -> TestResult {
    const COMPONENTS: &str = "\ncomponents: [../components/edit, ../components/experimental]";
    for (components, values) in
        [("", ""), (COMPONENTS, "istio.allowExperimental=true,rbac.aggregateToEdit=true")]
    {
        let folder = control_plane.dir().join("kustomization");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["config", "crds"] {
            crate::bundle::copy(&root.join(part), &folder.join(part))?;
        }
        let overlay = folder.join("config/overlay");
        std::fs::create_dir_all(&overlay)?;
        std::fs::write(overlay.join("kustomization.yaml"), format!("resources: [../default]{components}\n"))?;
        let kubectl = control_plane.tools().program("kubectl")?;
        let kustomized = print(&kubectl, &["kustomize", &overlay.display().to_string()]).await?;
        let helm = control_plane.tools().program("helm")?;
        let chart = root.join("charts/istio-manager").display().to_string();
        let values = format!("--set={values}");
        let templated = print(&helm, &["template", "x", &chart, "--namespace", NAMESPACE, &values]).await?;
        let (kustomized, templated) = (granted(&kustomized)?, granted(&templated)?);
        assert!(kustomized.len() > 15, "{:?}", kustomized.keys());
        assert_eq!(kustomized, templated, "{values}");
    }
    Ok(())
}

/// What the objects for permissions say, by kind and name.
fn granted(manifests: &str) -> Result<BTreeMap<String, Value>> {
    let mut granted = BTreeMap::new();
    for object in gotemplate::yaml::parse_json_documents(manifests)? {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !["Role", "Policy", "Binding"].iter().any(|end| kind.ends_with(end)) {
            continue;
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let aggregated = object["metadata"]["labels"].as_object().into_iter().flatten();
        let aggregated: Vec<_> = aggregated.filter(|(label, _)| label.contains("aggregate-to")).collect();
        let content = ["rules", "roleRef", "subjects", "spec"].map(|field| object[field].clone());
        granted.insert(
            format!("{kind} {name}"),
            serde_json::json!({"content": content, "aggregated": aggregated}),
        );
    }
    Ok(granted)
}

async fn print(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = testbed::run(program, arguments.iter().copied(), &[]).await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
