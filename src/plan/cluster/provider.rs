//! Who provides the nodes of a cluster, as far as the load balancer of the ingress gateway depends on it.

use super::{ObservedCluster, Platform};

/// Provider of a cluster's nodes, as far as load balancers depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// Any other.
    #[default]
    Unknown,
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

/// What one node shows of its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    /// A distribution with a load balancer of its own.
    Other,
    Aws,
    OpenStack,
}

impl Vendor {
    /// Reads `spec.providerID` of a node on a `platform`.
    pub(super) fn of(platform: Option<Platform>, provider_id: &str) -> Option<Self> {
        let id = provider_id.to_lowercase();
        if matches!(platform, Some(Platform::Gke | Platform::K3s)) {
            // As in the Go operator: k3s comes with a load balancer of its own, whoever provides the machines.
            Some(Self::Other)
        } else if id.starts_with("aws://") {
            Some(Self::Aws)
        } else if id.starts_with("openstack://") {
            Some(Self::OpenStack)
        } else {
            None
        }
    }
}

/// The provider of the first node that shows one.
pub(super) fn detect_provider(observed: &ObservedCluster) -> Provider {
    match observed.nodes.values().find_map(|node| node.vendor) {
        None | Some(Vendor::Other) => Provider::Unknown,
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
