//! The parity cases beside the project: an Istio resource, the cluster it meets, and the objects it must give.

use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The folders of the named cases.
pub fn cases(names: &[&str]) -> Result<Vec<PathBuf>> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/parity");
    let missing = |name: &&str| !all.join(name).is_dir();
    match names.iter().find(|name| missing(name)) {
        Some(name) => Err(format!("the parity case {name} is not in {}", all.display()).into()),
        None => Ok(names.iter().map(|name| all.join(name)).collect()),
    }
}

/// What `istio-manager render` prints for a case.
pub fn render(case: &Path) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_istio-manager"))
        .arg("render")
        .arg("--filename")
        .arg(case.join("cr.yaml"))
        .arg("--cluster")
        .arg(case.join("cluster.yaml"))
        .env_clear()
        .output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", case.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
