//! Other versions of Istio than the embedded one: derived from its charts, for no other can be had offline, or from real
//! ones that whoever runs the tests has (`ISTIO_BUNDLES`, see the Makefile).

use std::fs;
use std::path::{Path, PathBuf};

use crate::bed::Result;

const DISCOVERY: &str = "charts/istio-control/istio-discovery/templates";
const CRDS: &str = "charts/base/files/crd-all.gen.yaml";
/// The folder of real charts, `<folder>/<version>/{charts,profiles}`.
const BUNDLES_VARIABLE: &str = "ISTIO_BUNDLES";
/// A field of the embedded `DestinationRule` that 1.30 does not have.
pub const NEW_FIELD: &str = "zoneAwareLbSetting";

/// What a derived version has that the embedded one has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// An environment variable of istiod, and a `ConfigMap`, that are gone in the embedded version, and definitions that
    /// lack [`NEW_FIELD`].
    Older,
    /// An image of istiod that cannot be pulled.
    Broken,
}

/// Derives `version` into a folder of charts below `parent`, and returns that folder.
pub fn derive(parent: &Path, version: &str, variant: Variant) -> Result<PathBuf> {
    let charts = parent.join("charts");
    let target = charts.join(version);
    let real = real(version);
    let source = real.clone().unwrap_or_else(embedded);
    for part in ["charts", "profiles"] {
        copy(&source.join(part), &target.join(part))?;
    }
    let deployment = target.join(DISCOVERY).join("deployment.yaml");
    match variant {
        Variant::Older => {
            let variable = "- name: RETIRED_SETTING\n            value: \"on\"\n          - name: REVISION\n";
            replace(&deployment, "- name: REVISION\n", variable)?;
            fs::write(target.join(DISCOVERY).join("retired.yaml"), RETIRED)?;
            if real.is_none() {
                remove_field(&target.join(CRDS), NEW_FIELD)?;
            }
        }
        Variant::Broken => {
            let label = "sidecar.istio.io/inject: \"false\"\n        testbed.dev/fail: pull\n";
            replace(&deployment, "sidecar.istio.io/inject: \"false\"\n", label)?;
        }
    }
    Ok(charts)
}

/// The charts that the program has built in, as they were exported for it.
fn embedded() -> PathBuf {
    let version = istio_charts::Bundle::embedded().version().to_owned();
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".charts").join(version)
}

/// Charts of that very version, if there are some.
fn real(version: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(BUNDLES_VARIABLE)?).join(version);
    folder.join("charts").is_dir().then_some(folder)
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

/// Takes a field, with all that is indented below it, out of a YAML file.
fn remove_field(file: &Path, field: &str) -> Result {
    let text = fs::read_to_string(file)?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut removing = None;
    let mut remaining = String::new();
    for line in text.lines() {
        if removing.is_some_and(|depth| line.trim().is_empty() || indent(line) > depth) {
            continue;
        }
        removing = (line.trim() == format!("{field}:")).then(|| indent(line));
        if removing.is_none() {
            remaining.push_str(line);
            remaining.push('\n');
        }
    }
    if remaining.len() == text.len() {
        return Err(format!("{} does not have {field} any more", file.display()).into());
    }
    Ok(fs::write(file, remaining)?)
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> Result {
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
