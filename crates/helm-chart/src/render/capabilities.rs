//! What templates see as `.Capabilities`.
//!
//! Data; knows no cluster.

use gotemplate::{CallResult, Object, Value as Data};
use std::rc::Rc;

/// The version of Kubernetes that Helm assumes by default.
pub const DEFAULT_KUBERNETES_VERSION: &str = "v1.37.0";

/// The APIs of that version.
const API_VERSIONS: &str = "v1 admissionregistration.k8s.io/v1 admissionregistration.k8s.io/v1alpha1 \
    admissionregistration.k8s.io/v1beta1 internal.apiserver.k8s.io/v1alpha1 apps/v1 apps/v1beta1 apps/v1beta2 \
    authentication.k8s.io/v1 authentication.k8s.io/v1alpha1 authentication.k8s.io/v1beta1 authorization.k8s.io/v1 \
    authorization.k8s.io/v1beta1 autoscaling/v1 autoscaling/v2 batch/v1 batch/v1beta1 certificates.k8s.io/v1 \
    certificates.k8s.io/v1beta1 certificates.k8s.io/v1alpha1 coordination.k8s.io/v1alpha2 \
    coordination.k8s.io/v1beta1 coordination.k8s.io/v1 discovery.k8s.io/v1 discovery.k8s.io/v1beta1 \
    events.k8s.io/v1 events.k8s.io/v1beta1 extensions/v1beta1 flowcontrol.apiserver.k8s.io/v1 \
    flowcontrol.apiserver.k8s.io/v1beta1 flowcontrol.apiserver.k8s.io/v1beta2 \
    flowcontrol.apiserver.k8s.io/v1beta3 lifecycle.k8s.io/v1alpha1 networking.k8s.io/v1 networking.k8s.io/v1beta1 \
    node.k8s.io/v1 node.k8s.io/v1alpha1 node.k8s.io/v1beta1 policy/v1 policy/v1beta1 rbac.authorization.k8s.io/v1 \
    rbac.authorization.k8s.io/v1beta1 rbac.authorization.k8s.io/v1alpha1 resource.k8s.io/v1 \
    resource.k8s.io/v1beta2 resource.k8s.io/v1beta1 resource.k8s.io/v1alpha3 scheduling.k8s.io/v1alpha3 \
    scheduling.k8s.io/v1beta1 scheduling.k8s.io/v1 storage.k8s.io/v1beta1 storage.k8s.io/v1 \
    storage.k8s.io/v1alpha1 storagemigration.k8s.io/v1 storagemigration.k8s.io/v1beta1 \
    apiextensions.k8s.io/v1beta1 apiextensions.k8s.io/v1";

/// The cluster that a chart is rendered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Version of Kubernetes, with its `v` and whatever suffix the provider gives it.
    pub kubernetes_version: String,
    /// API groups and versions, optionally with kinds, such as `apps/v1` and `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::of_version(DEFAULT_KUBERNETES_VERSION)
    }
}

impl Capabilities {
    /// A cluster of a version, with the APIs that Helm assumes.
    #[must_use]
    pub fn of_version(kubernetes_version: &str) -> Self {
        let version = kubernetes_version.strip_prefix('v').unwrap_or(kubernetes_version);
        Self {
            kubernetes_version: format!("v{version}"),
            api_versions: API_VERSIONS.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// The version without suffix, which constraints are checked against.
    pub(super) fn normal_version(&self) -> String {
        let version = self.kubernetes_version.trim_start_matches('v');
        let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
        let numbers = version.get(..end).unwrap_or_default().trim_end_matches('.');
        let mut parts: Vec<&str> = numbers.split('.').collect();
        parts.truncate(3);
        while parts.len() < 3 {
            parts.push("0");
        }
        format!("v{}", parts.join("."))
    }

    pub(super) fn value(&self) -> Data {
        Data::Object(Rc::new(CapabilitiesObject(self.clone())))
    }
}

struct CapabilitiesObject(Capabilities);

impl Object for CapabilitiesObject {
    fn type_name(&self) -> &'static str {
        "*common.Capabilities"
    }

    fn field(&self, name: &str) -> Option<Data> {
        match name {
            "KubeVersion" => Some(Data::Object(Rc::new(KubeVersion(self.0.clone())))),
            "APIVersions" => Some(Data::Object(Rc::new(VersionSet(self.0.api_versions.clone())))),
            "HelmVersion" => Some(Data::Object(Rc::new(HelmVersion))),
            _ => None,
        }
    }

    fn call(&self, _: &str, _: &[Data]) -> Option<CallResult> {
        None
    }

    fn data(&self) -> Option<Data> {
        let fields = ["KubeVersion", "APIVersions", "HelmVersion"];
        Some(Data::Map(
            fields.into_iter().map(|name| (name.into(), self.field(name).unwrap_or_default())).collect(),
        ))
    }
}

struct KubeVersion(Capabilities);

impl KubeVersion {
    fn number(&self, index: usize) -> Data {
        let normal = self.0.normal_version();
        Data::string(normal.trim_start_matches('v').split('.').nth(index).unwrap_or_default())
    }
}

impl Object for KubeVersion {
    fn type_name(&self) -> &'static str {
        "common.KubeVersion"
    }

    fn kind(&self) -> &'static str {
        "struct"
    }

    fn field(&self, name: &str) -> Option<Data> {
        match name {
            "Version" => Some(Data::string(&self.0.kubernetes_version)),
            "Major" => Some(self.number(0)),
            "Minor" => Some(self.number(1)),
            _ => None,
        }
    }

    fn call(&self, method: &str, arguments: &[Data]) -> Option<CallResult> {
        match (method, arguments) {
            ("GitVersion", []) => Some(Ok(Data::string(&self.0.kubernetes_version))),
            ("String", []) => Some(Ok(Data::string(self.print()))),
            ("GitVersion" | "String", _) => {
                Some(Err(format!("wrong number of args for {method}: want 0").into()))
            }
            _ => None,
        }
    }

    fn print(&self) -> String {
        self.0.normal_version()
    }

    fn data(&self) -> Option<Data> {
        let fields = ["Version", "Major", "Minor"];
        Some(Data::Map(
            fields.into_iter().map(|name| (name.into(), self.field(name).unwrap_or_default())).collect(),
        ))
    }
}

struct VersionSet(Vec<String>);

impl Object for VersionSet {
    fn type_name(&self) -> &'static str {
        "common.VersionSet"
    }

    fn kind(&self) -> &'static str {
        "slice"
    }

    fn field(&self, _: &str) -> Option<Data> {
        None
    }

    fn call(&self, method: &str, arguments: &[Data]) -> Option<CallResult> {
        match (method, arguments) {
            ("Has", [Data::String(version)]) => {
                Some(Ok(Data::Bool(self.0.iter().any(|known| **known == **version))))
            }
            ("Has", _) => Some(Err("wrong number or type of args for Has: want a string".into())),
            _ => None,
        }
    }

    fn elements(&self) -> Option<Vec<Data>> {
        Some(self.0.iter().map(Data::string).collect())
    }

    fn data(&self) -> Option<Data> {
        Some(Data::strings(&self.0))
    }
}

/// The version of Helm that this renderer follows.
struct HelmVersion;

impl Object for HelmVersion {
    fn type_name(&self) -> &'static str {
        "version.BuildInfo"
    }

    fn kind(&self) -> &'static str {
        "struct"
    }

    fn field(&self, name: &str) -> Option<Data> {
        match name {
            "Version" => Some(Data::string("v4.3")),
            "GitCommit" | "GitTreeState" => Some(Data::string("")),
            "GoVersion" => Some(Data::string("go1.26")),
            "KubeClientVersion" => Some(Data::string("v1.37")),
            _ => None,
        }
    }

    fn call(&self, _: &str, _: &[Data]) -> Option<CallResult> {
        None
    }

    fn print(&self) -> String {
        "{v4.3   go1.26 v1.37}".to_owned()
    }

    fn data(&self) -> Option<Data> {
        let fields = [
            ("version", "Version"),
            ("go_version", "GoVersion"),
            ("kube_client_version", "KubeClientVersion"),
        ];
        Some(Data::Map(
            fields
                .into_iter()
                .map(|(name, field)| (name.into(), self.field(field).unwrap_or_default()))
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Capabilities;

    #[test]
    fn constraints_see_a_version_without_suffix() {
        for (version, normal) in [
            ("v1.33.4-gke.1245000", "v1.33.4"),
            ("1.20", "v1.20.0"),
            ("v1.36.3+k3s1", "v1.36.3"),
            ("1.30.", "v1.30.0"),
        ] {
            assert_eq!(Capabilities::of_version(version).normal_version(), normal);
        }
    }
}
