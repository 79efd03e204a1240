//! The facts about one release of Istio that its charts do not state, or that the operator reads from them by itself.
//!
//! The only place in this program that names versions of Istio. It renders nothing and sends no request; to support a further
//! release, see `docs/development/support-a-new-istio-version.md`.

use istio_charts::{Bundle, BundleError};
use semver::Version;
use serde_json::Value;

use crate::validate::version::release_version;

/// The oldest minor version of Kubernetes, from a minor version of Istio on. Source: `MinK8SVersion` in Istio's
/// `istioctl/pkg/install/k8sversion`. With an older one, istiod logs a warning and continues.
const OLDEST_KUBERNETES: [(MinorVersion, MinorVersion); 1] =
    [(MinorVersion { major: 1, minor: 30 }, MinorVersion { major: 1, minor: 32 })];

/// A version without its patch level, such as 1.32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinorVersion {
    /// First number.
    pub major: u64,
    /// Second number.
    pub minor: u64,
}

impl std::fmt::Display for MinorVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The release of Istio in a bundle of charts.
#[derive(Clone, Copy, Debug)]
pub struct IstioRelease<'b> {
    bundle: &'b Bundle,
}

impl<'b> IstioRelease<'b> {
    /// The release whose charts are in `bundle`.
    #[must_use]
    pub const fn of(bundle: &'b Bundle) -> Self {
        Self { bundle }
    }

    /// Its version, such as `1.31.0`.
    #[must_use]
    pub fn version(self) -> &'b str {
        self.bundle.version()
    }

    /// The oldest supported minor version of Kubernetes; `None` for a release that is older than the known ones.
    #[must_use]
    pub fn oldest_kubernetes(self) -> Option<MinorVersion> {
        let release = self.minor_version()?;
        let known = OLDEST_KUBERNETES.iter().filter(|(since, _)| *since <= release);
        known.max_by_key(|(since, _)| *since).map(|(_, kubernetes)| *kubernetes)
    }

    /// The environment variables of istiod with which it behaves like the previous minor version, by name, from Istio's own profile
    /// `compatibility-version-<previous minor version>`.
    ///
    /// Read on demand, because it unpacks the chart of istiod: only `spec.compatibilityMode` needs them.
    pub fn compatibility_switches(self) -> Result<Vec<(String, String)>, BundleError> {
        let previous = self
            .minor_version()
            .map(|MinorVersion { major, minor }| MinorVersion { major, minor: minor.saturating_sub(1) });
        let name = previous.map(|previous| format!("compatibility-version-{previous}")).unwrap_or_default();
        let profile = self.bundle.values_profile(&name)?;
        let switches = profile.pointer("/pilot/env").and_then(Value::as_object).into_iter().flatten();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(switches.map(|(name, value)| (name.clone(), text(value))).collect())
    }

    fn minor_version(self) -> Option<MinorVersion> {
        let Version { major, minor, .. } = release_version(self.version())?;
        Some(MinorVersion { major, minor })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A folder of charts with nothing but the profiles of istiod's chart.
    fn charts(version: &str, profiles: &[(&str, &str)]) -> (tempfile::TempDir, Bundle) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(version);
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for chart in [
            "base",
            "default",
            "gateways/istio-egress",
            "gateways/istio-ingress",
            "istio-cni",
            "istio-control/istio-discovery",
            "ztunnel",
        ] {
            write(&format!("charts/{chart}/Chart.yaml"), "name: x");
        }
        write("profiles/default.yaml", "{}");
        for (name, text) in profiles {
            write(&format!("charts/istio-control/istio-discovery/files/profile-{name}.yaml"), text);
        }
        let bundle = Bundle::open(folder.path(), version).unwrap();
        (folder, bundle)
    }

    #[test]
    fn compatibility_switches_come_from_the_profile_of_the_release() {
        let profiles = [
            ("compatibility-version-1.28", "pilot: {env: {OLD: \"x\"}}"),
            ("compatibility-version-1.29", "pilot: {env: {B: \"false\", A: \"true\"}}"),
        ];
        let (_folder, bundle) = charts("1.30.3", &profiles);
        let switches = IstioRelease::of(&bundle).compatibility_switches().unwrap();
        assert_eq!(switches, [("A".into(), "true".into()), ("B".into(), "false".into())]);
        let (_folder, bundle) = charts("1.30.3", &[]);
        let missing = IstioRelease::of(&bundle).compatibility_switches();
        assert!(matches!(missing, Err(BundleError::NoProfile { .. })), "{missing:?}");
    }

    #[test]
    fn the_built_in_release_has_switches_and_an_oldest_kubernetes() {
        let bundle = Bundle::embedded();
        let release = IstioRelease::of(&bundle);
        assert!(!release.compatibility_switches().unwrap().is_empty());
        assert!(release.oldest_kubernetes().is_some());
    }

    #[test]
    fn the_oldest_kubernetes_depends_on_the_release() {
        let oldest = |version: &str| {
            let (_folder, bundle) = charts(version, &[]);
            IstioRelease::of(&bundle).oldest_kubernetes().map(|oldest| oldest.to_string())
        };
        assert_eq!(oldest("1.30.0").as_deref(), Some("1.32"));
        assert_eq!(oldest("1.31.2").as_deref(), Some("1.32"));
        assert_eq!(oldest("1.29.4"), None);
        assert_eq!(oldest("latest"), None);
    }

    fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                source_files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// The lines of a source file that are neither comments nor tests nor help texts, which need examples.
    fn code_lines(path: &Path) -> Vec<String> {
        let name = path.to_string_lossy();
        if name.contains("/cli/") || name.contains("tests") || name.ends_with("/fixtures.rs") {
            return Vec::new();
        }
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        code.filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
    }

    /// Whether a line has a version such as `1.31.0`, or such as `(1, 31)`.
    fn names_a_version(line: &str) -> bool {
        ["1.", "(1, "].iter().any(|start| {
            line.match_indices(start).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let digits: String =
                    line[at + start.len()..].chars().take_while(char::is_ascii_digit).collect();
                !before.is_some_and(|before| before.is_ascii_alphanumeric() || before == '.')
                    && digits.len() == 2
                    && digits.starts_with(['2', '3'])
            })
        })
    }

    #[test]
    fn versions_of_istio_are_named_only_in_this_module() {
        assert!(
            names_a_version("let version = \"1.31.0\";") && names_a_version("const OLDEST: _ = (1, 32);")
        );
        assert!(!names_a_version("127.0.0.1:8080 1.5 11.31"));
        let mut files = Vec::new();
        source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        assert!(files.len() > 100, "{}", files.len());
        for file in files.iter().filter(|file| !file.ends_with("istio_release.rs")) {
            for line in code_lines(file) {
                assert!(!names_a_version(&line), "{}: {line}", file.display());
            }
        }
    }
}
