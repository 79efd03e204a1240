//! The command `render`, run on a folder with a resource and a cluster.

use std::path::Path;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What `istio-manager render` prints for `cr.yaml` and `cluster.yaml` of a folder.
pub fn render(folder: &Path, is_experimental: bool) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_istio-manager"))
        .arg("render")
        .arg("--filename")
        .arg(folder.join("cr.yaml"))
        .arg("--cluster")
        .arg(folder.join("cluster.yaml"))
        .arg(format!("--allow-experimental={is_experimental}"))
        .env_clear()
        .output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", folder.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
