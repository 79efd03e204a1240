//! Other versions of Istio than the embedded one, derived from its charts: no other can be had offline.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bed::Result;

const DISCOVERY: &str = "charts/istio-control/istio-discovery/templates";

/// What a derived version has that the embedded one has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// An environment variable of istiod, and a `ConfigMap`, that are gone in the embedded version.
    Older,
    /// An image of istiod that cannot be pulled.
    Broken,
}

/// Derives `version` into a folder of charts below `parent`, and returns that folder.
pub fn derive(parent: &Path, version: &str, variant: Variant) -> Result<PathBuf> {
    let embedded = istio_charts_version();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(".charts").join(&embedded);
    let charts = parent.join("charts");
    let target = charts.join(version);
    for part in ["charts", "profiles"] {
        copy(&source.join(part), &target.join(part))?;
    }
    let deployment = target.join(DISCOVERY).join("deployment.yaml");
    match variant {
        Variant::Older => {
            let variable = "- name: RETIRED_SETTING\n            value: \"on\"\n          - name: REVISION\n";
            replace(&deployment, "- name: REVISION\n", variable)?;
            fs::write(target.join(DISCOVERY).join("retired.yaml"), RETIRED)?;
        }
        Variant::Broken => {
            let label = "sidecar.istio.io/inject: \"false\"\n        testbed.dev/fail: pull\n";
            replace(&deployment, "sidecar.istio.io/inject: \"false\"\n", label)?;
        }
    }
    Ok(charts)
}

/// The version that the program has built in.
fn istio_charts_version() -> String {
    istio_charts::Bundle::embedded().version().to_owned()
}

const RETIRED: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: istio-retired
  namespace: {{ .Release.Namespace }}
data:
  retired: \"yes\"
";

/// Replaces the first of several equal texts; in a template, that of the pod's labels or environment.
fn replace(file: &Path, from: &str, to: &str) -> Result {
    let text = fs::read_to_string(file)?;
    if !text.contains(from) {
        return Err(format!("{} does not contain {from:?} any more", file.display()).into());
    }
    Ok(fs::write(file, text.replacen(from, to, 1))?)
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
