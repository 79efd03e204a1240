//! The Kubernetes distribution of a cluster, as far as Istio's own platform profiles know it.
//!
//! Pure. It says where network plugins live on a node, whoever provides the machines: `OpenShift` and `MicroK8s` run on every
//! cloud. See `files/profile-platform-*.yaml` in Istio's charts.

use serde_json::Value;

/// A distribution that has a platform profile in Istio's charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    /// Google Kubernetes Engine.
    Gke,
    /// k3s, also inside k3d unless it is named.
    K3s,
    /// k3d, if it is named: its nodes look like those of k3s.
    K3d,
    /// `MicroK8s`.
    MicroK8s,
    /// minikube.
    Minikube,
    /// `OpenShift` and OKD.
    OpenShift,
}

/// Beginnings of labels that a distribution puts on its nodes.
const LABELS: [(&str, Platform); 5] = [
    ("cloud.google.com/gke-", Platform::Gke),
    ("microk8s.io/", Platform::MicroK8s),
    ("minikube.k8s.io/", Platform::Minikube),
    ("node.kubernetes.io/microk8s-", Platform::MicroK8s),
    ("node.openshift.io/", Platform::OpenShift),
];
/// Parts of the name of an operating system that only one distribution runs on.
const OS_IMAGES: [(&str, Platform); 3] = [
    ("Red Hat Enterprise Linux CoreOS", Platform::OpenShift),
    ("OpenShift", Platform::OpenShift),
    ("K3s", Platform::K3s),
];

impl Platform {
    /// All platforms.
    pub const ALL: [Self; 6] =
        [Self::Gke, Self::K3s, Self::K3d, Self::MicroK8s, Self::Minikube, Self::OpenShift];

    /// The name of its profile in Istio's charts, the value `global.platform`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gke => "gke",
            Self::K3s => "k3s",
            Self::K3d => "k3d",
            Self::MicroK8s => "microk8s",
            Self::Minikube => "minikube",
            Self::OpenShift => "openshift",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == name)
    }

    /// The platform that a Node shows by its kubelet, labels, or operating system.
    pub(super) fn of(node: &Value) -> Option<Self> {
        let info = |field: &str| node["status"]["nodeInfo"][field].as_str().unwrap_or_default();
        let by_label = || {
            let mut labels = node["metadata"]["labels"].as_object().into_iter().flatten();
            labels.find_map(|(label, _)| {
                LABELS.iter().find(|(start, _)| label.starts_with(start)).map(|(_, platform)| *platform)
            })
        };
        let by_image = || {
            let image = info("osImage");
            OS_IMAGES.iter().find(|(part, _)| image.contains(part)).map(|(_, platform)| *platform)
        };
        let platform = by_kubelet(info("kubeletVersion")).or_else(by_label).or_else(by_image)?;
        // The profile of minikube is for Docker; with another runtime the usual folder is right.
        let runtime = info("containerRuntimeVersion");
        let is_docker = runtime.is_empty() || runtime.starts_with("docker:");
        (platform != Self::Minikube || is_docker).then_some(platform)
    }
}

/// The platform of which a kubelet version is a build, such as `v1.35.1-gke.200` or `v1.36.0-rc1+k3s1`.
fn by_kubelet(version: &str) -> Option<Platform> {
    let build = version.split_once('+').map_or("", |(_, build)| build);
    if build.starts_with("k3s") {
        return Some(Platform::K3s);
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    version.split_once("-gke.").is_some_and(|(_, build)| is_number(build)).then_some(Platform::Gke)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(kubelet: &str, label: &str, image: &str, runtime: &str) -> Value {
        json!({
            "metadata": {"labels": {"kubernetes.io/os": "linux", label: "x"}},
            "status": {"nodeInfo": {"kubeletVersion": kubelet, "osImage": image, "containerRuntimeVersion": runtime}},
        })
    }

    #[test]
    fn each_platform_of_istio_is_detected_by_what_its_nodes_show() {
        for (node, platform) in [
            (node("v1.35.1-gke.200", "a", "", ""), Some(Platform::Gke)),
            (node("v1.35.1", "cloud.google.com/gke-nodepool", "", ""), Some(Platform::Gke)),
            (node("v1.35.1+k3s1", "a", "", ""), Some(Platform::K3s)),
            (node("v1.36.0-rc1+k3s1", "a", "", ""), Some(Platform::K3s)),
            (node("v1.36.0-alpha.2+k3s-4a1b", "a", "", ""), Some(Platform::K3s)),
            (node("v1.36.0", "microk8s.io/cluster", "Ubuntu 24.04.2 LTS", ""), Some(Platform::MicroK8s)),
            (
                node("v1.36.0", "node.kubernetes.io/microk8s-worker", "Ubuntu", "containerd://1"),
                Some(Platform::MicroK8s),
            ),
            (node("v1.36.0", "minikube.k8s.io/name", "", "docker://27.4"), Some(Platform::Minikube)),
            (node("v1.36.0", "minikube.k8s.io/name", "", "containerd://2.0"), None),
            (node("v1.32.5", "node.openshift.io/os_id", "", "cri-o://1.32"), Some(Platform::OpenShift)),
            (
                node("v1.32.5", "a", "Red Hat Enterprise Linux CoreOS 419.96", "cri-o://1.32"),
                Some(Platform::OpenShift),
            ),
            (node("v1.32.7+rke2r1", "a", "Ubuntu 24.04.2 LTS", "containerd://2.0.5-k3s2"), None),
            (node("v1.36.3", "a", "Red Hat Enterprise Linux 9.4", ""), None),
            (node("v1.36.3-eks-1", "eks.amazonaws.com/nodegroup", "Amazon Linux", ""), None),
        ] {
            assert_eq!(Platform::of(&node), platform, "{node}");
        }
    }

    #[test]
    fn names_are_those_of_the_profiles_in_istios_charts() {
        for platform in Platform::ALL {
            assert_eq!(Platform::parse(platform.as_str()), Some(platform));
        }
        assert_eq!(Platform::parse("aks"), None);
    }
}
