//! The parity cases: an Istio resource, the cluster it meets, and the objects that the Go operator makes of them. They are
//! not part of the project; where the folder beside it is missing, the tests that use them have nothing to compare.

use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The folders of the named cases; `None`, with a note, where the cases as a whole are missing.
pub fn cases(names: &[&str]) -> Result<Option<Vec<PathBuf>>> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/parity");
    if !all.is_dir() {
        eprintln!("SKIPPED: no parity cases, {} does not exist", all.display());
        return Ok(None);
    }
    let missing = |name: &&str| !all.join(name).is_dir();
    match names.iter().find(|name| missing(name)) {
        Some(name) => Err(format!("the parity case {name} is not in {}", all.display()).into()),
        None => Ok(Some(names.iter().map(|name| all.join(name)).collect())),
    }
}
