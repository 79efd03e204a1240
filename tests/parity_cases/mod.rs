//! The parity cases beside the project: an Istio resource, the cluster it meets, and the objects it must give.

use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Cases of the Go operator's experimental flavour.
const EXPERIMENTAL: [&str; 2] = ["15-ambient", "17-dual-stack"];

/// The folders of the named cases; none where the cases as a whole are not at hand, which is told.
pub fn cases(names: &[&str]) -> Result<Vec<PathBuf>> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/parity");
    if !all.is_dir() {
        eprintln!("SKIPPED: the parity cases are not at hand, {} does not exist", all.display());
        return Ok(Vec::new());
    }
    let missing = |name: &&str| !all.join(name).is_dir();
    match names.iter().find(|name| missing(name)) {
        Some(name) => Err(format!("the parity case {name} is not in {}", all.display()).into()),
        None => Ok(names.iter().map(|name| all.join(name)).collect()),
    }
}

/// What `istio-manager render` prints for a case.
pub fn render(case: &Path) -> Result<String> {
    let experimental = EXPERIMENTAL.iter().any(|name| case.ends_with(name));
    let output = Command::new(env!("CARGO_BIN_EXE_istio-manager"))
        .arg("render")
        .arg("--filename")
        .arg(case.join("cr.yaml"))
        .arg("--cluster")
        .arg(case.join("cluster.yaml"))
        .arg(format!("--allow-experimental={experimental}"))
        .env_clear()
        .output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", case.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
