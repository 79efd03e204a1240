//! Installs the operator's chart with the real Helm.

use std::path::Path;

use testbed::ControlPlane;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Installs the chart without a pod: the operator runs as a process of the test.
pub async fn install(control_plane: &ControlPlane) -> Result {
    install_with(control_plane, &[]).await
}

/// The same, with other values.
pub async fn install_with(control_plane: &ControlPlane, values: &[&str]) -> Result {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/istio-manager");
    let helm = control_plane.tools().program("helm")?;
    let arguments =
        ["upgrade", "--install", "istio-manager", "--namespace", "kyma-system", "--create-namespace"];
    let arguments = arguments.map(str::to_owned).into_iter().chain([
        "--set=replicaCount=0".to_owned(),
        format!("--kubeconfig={}", control_plane.kubeconfig().display()),
        chart.display().to_string(),
    ]);
    let arguments = arguments.chain(values.iter().map(|value| format!("--set={value}")));
    let home = control_plane.dir().display().to_string();
    let output = testbed::run(&helm, arguments, &[("HOME", home)]).await?;
    if !output.status.success() {
        return Err(format!("helm failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
