//! What a plan depends on in the cluster: its size, its provider, what its API server offers, and the switches that its
//! operators set.
//! Pure: decides on observed objects, live or in a file; fetches nothing.

mod facts;
mod features;
mod filters;
mod network;
mod observed;
mod platform;
mod provider;
mod remembered;
mod size;

use gotemplate::yaml;

pub use self::facts::{ClusterDecision, decide};
pub use self::features::Features;
pub use self::filters::changes_ingress_gateway;
pub use self::network::ApiPort;
pub use self::observed::{NodeFacts, ObservedCluster, api_port, load_balancer_type};
pub use self::platform::Platform;
pub use self::provider::{LoadBalancer, Provider};
pub use self::remembered::RememberedFacts;
pub use self::size::Size;

use crate::api::names::{FEATURES_CONFIG_MAP, OPERATOR_NAMESPACE, PROVISIONING_INFO_CONFIG_MAP};

/// Why a setting of the cluster cannot be followed. Guessing would switch components on or off behind the user's back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The feature switches are not an object of switches.
    #[error(
        "ConfigMap {OPERATOR_NAMESPACE}/{FEATURES_CONFIG_MAP}: key features is not a JSON object of switches ({cause})"
    )]
    Features {
        /// What is wrong with it.
        cause: String,
    },
    /// The facts of provisioning are not YAML.
    #[error(
        "ConfigMap {OPERATOR_NAMESPACE}/{PROVISIONING_INFO_CONFIG_MAP}: key details is not YAML ({cause})"
    )]
    ProvisioningInfo {
        /// What is wrong with it.
        cause: yaml::Error,
    },
}

/// What a plan depends on in the cluster. By default a cluster of which nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The size of the installation that fits the cluster.
    pub size: Size,
    /// Who provides the nodes.
    pub provider: Provider,
    /// The distribution of Kubernetes, if Istio's charts have a profile for it.
    pub platform: Option<Platform>,
    /// Whether pods and Services have addresses of both IP families.
    pub dual_stack: bool,
    /// Switches set by whoever runs the cluster.
    pub features: Features,
    /// Whether vertical autoscalers can be created: their CRD is there.
    pub vertical_autoscaling: bool,
    /// Port of the API server's own pods or hosts.
    pub api_port: ApiPort,
}

impl ClusterFacts {
    /// Reads the facts from Kubernetes objects in their JSON form: Nodes, the ConfigMaps `kyma-system/istio-features`,
    /// `kyma-system/kyma-provisioning-info` and `istio-system/elb-deprecated`, the Services of the ingress gateway and of
    /// the API server, and the CRD of vertical autoscalers. What is not there counts as not existing; without any
    /// Node nothing is known about size and provider.
    pub fn from_objects(objects: &[serde_json::Value]) -> Result<Self, Error> {
        let decision = decide(&ObservedCluster::from_objects(objects), &RememberedFacts::default());
        match decision.errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(decision.facts),
        }
    }
}

#[cfg(test)]
mod tests;
