//! Who provides the nodes of a cluster, as far as it makes a difference.

use super::ObservedCluster;

/// Provider of a cluster's nodes, as far as it makes a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// Any other.
    #[default]
    Unknown,
    /// k3s, also inside k3d.
    K3d,
    /// Google Kubernetes Engine.
    Gke,
    /// Amazon Web Services.
    Aws {
        /// What the ingress gateway's Service gets.
        load_balancer: LoadBalancer,
    },
    /// `OpenStack`.
    OpenStack {
        /// Whether the nodes run Garden Linux, whose load balancers can speak the proxy protocol.
        garden_linux: bool,
    },
}

/// Kind of a load balancer on AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadBalancer {
    /// Network Load Balancer.
    #[default]
    Network,
    /// Classic Elastic Load Balancer, kept where it is in use.
    Classic,
}

/// What a node says about its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Gke,
    K3s,
    Aws,
    OpenStack,
}

impl Vendor {
    /// Reads a node's kubelet version and `spec.providerID`; the version is more reliable.
    pub(super) fn of(kubelet: &str, provider_id: &str) -> Option<Self> {
        let id = provider_id.to_lowercase();
        if is_build(kubelet, "-gke.") {
            Some(Self::Gke)
        } else if is_build(kubelet, "+k3s") {
            Some(Self::K3s)
        } else if id.starts_with("aws://") {
            Some(Self::Aws)
        } else if id.starts_with("openstack://") {
            Some(Self::OpenStack)
        } else {
            None
        }
    }
}

/// The provider of the first node that says it.
pub(super) fn detect_provider(observed: &ObservedCluster) -> Provider {
    match observed.nodes.values().find_map(|node| node.vendor) {
        None => Provider::Unknown,
        Some(Vendor::Gke) => Provider::Gke,
        Some(Vendor::K3s) => Provider::K3d,
        Some(Vendor::Aws) => Provider::Aws { load_balancer: detect_load_balancer(observed) },
        Some(Vendor::OpenStack) => {
            Provider::OpenStack { garden_linux: observed.nodes.values().any(|node| node.runs_garden_linux) }
        }
    }
}

/// A classic load balancer stays where the cluster is marked as having one, unless the Service has been moved already.
fn detect_load_balancer(observed: &ObservedCluster) -> LoadBalancer {
    // `external` is what a network load balancer of a dual-stack cluster is annotated with.
    let has_network = matches!(observed.load_balancer_type.as_deref(), Some("nlb" | "external"));
    if observed.keeps_classic_load_balancer && !has_network {
        LoadBalancer::Classic
    } else {
        LoadBalancer::Network
    }
}

/// Whether a kubelet version is a vendor's build, such as `v1.35.1-gke.200` with the infix `-gke.`.
fn is_build(kubelet: &str, infix: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    kubelet.strip_prefix('v').and_then(|version| version.split_once(infix)).is_some_and(|(version, build)| {
        version.split('.').count() == 3 && version.split('.').all(is_number) && is_number(build)
    })
}
