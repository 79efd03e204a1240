//! The ways in which a user installs the operator itself: kustomize and Helm.

use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use testbed::{ControlPlane, TestResult};

use crate::bed::{DEADLINE, NAMESPACE};

pub async fn the_kustomization_runs_the_operator(control_plane: &ControlPlane) -> TestResult {
    let kubectl = control_plane.tools().program("kubectl")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default");
    let arguments = ["apply".to_owned(), format!("--kustomize={}", folder.display())];
    run(control_plane, &kubectl, arguments).await?;
    becomes_available(control_plane).await
}

pub async fn the_chart_runs_the_operator(control_plane: &ControlPlane) -> TestResult {
    let helm = control_plane.tools().program("helm")?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/istio-manager");
    let arguments = ["install", "istio-manager", "--namespace", NAMESPACE, "--create-namespace"];
    let arguments = arguments.map(str::to_owned).into_iter().chain([chart.display().to_string()]);
    run(control_plane, &helm, arguments).await?;
    becomes_available(control_plane).await
}

/// The test bed has no containers; what is shown is that the pod is admitted, with its class, account and security.
async fn becomes_available(control_plane: &ControlPlane) -> TestResult {
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
