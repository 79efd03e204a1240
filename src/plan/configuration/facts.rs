//! What the configuration depends on in the cluster: its size, its provider and the switches that its operators set.
//! Reads given objects, live ones or those of a file alike; does not fetch any.

use gotemplate::yaml;
use serde_json::Value;

use super::quantity;
use crate::api::names::{
    ELB_DEPRECATED_CONFIG_MAP, FEATURES_CONFIG_MAP, INGRESS_GATEWAY, ISTIO_NAMESPACE, OPERATOR_NAMESPACE,
    PROVISIONING_INFO_CONFIG_MAP,
};

/// Below this sum over all nodes, in thousandths of a core, a cluster is small.
const PRODUCTION_CPU: i128 = 5 * 1_000;
/// Below this sum over all nodes, in thousandths of a byte, a cluster is small.
const PRODUCTION_MEMORY: i128 = 10_000_000_000 * 1_000;
/// Annotation of a Service by which AWS chooses the kind of load balancer.
const AWS_LOAD_BALANCER_TYPE: &str = "service.beta.kubernetes.io/aws-load-balancer-type";

/// Why the facts cannot be told. Guessing would switch components on or off behind the user's back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The feature switches are not JSON.
    #[error(
        "ConfigMap {OPERATOR_NAMESPACE}/{FEATURES_CONFIG_MAP}: key features is not a JSON object of switches"
    )]
    Features(#[source] serde_json::Error),
    /// The facts of provisioning are not YAML.
    #[error("ConfigMap {OPERATOR_NAMESPACE}/{PROVISIONING_INFO_CONFIG_MAP}: key details is not YAML")]
    ProvisioningInfo(#[source] yaml::Error),
}

/// What the configuration depends on in the cluster. By default a cluster of which nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Whether the cluster carries a production installation.
    pub size: Size,
    /// Who provides the nodes.
    pub provider: Provider,
    /// Whether pods and Services have addresses of both IP families.
    pub dual_stack: bool,
    /// Switches set by whoever runs the cluster.
    pub features: Features,
}

/// Size of an installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Several replicas, room to grow.
    #[default]
    Production,
    /// As small as possible.
    Evaluation,
}

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
        garden: bool,
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

/// Switches set by whoever runs the cluster, in ConfigMap `kyma-system/istio-features`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Features {
    /// Leaves the CNI agent out; pods are set up by an init container instead.
    pub disable_cni: bool,
    /// Vertical autoscalers manage the memory of the control plane.
    #[serde(rename = "enableControlPlaneVPA")]
    pub enable_control_plane_vpa: bool,
}

impl ClusterFacts {
    /// Reads the facts from Kubernetes objects in their JSON form: Nodes, the ConfigMaps `kyma-system/istio-features`,
    /// `kyma-system/kyma-provisioning-info` and `istio-system/elb-deprecated`, and the Service of the ingress gateway.
    /// What is not there counts as not existing; without any Node nothing is known about size and provider.
    pub fn from_objects(objects: &[Value]) -> Result<Self, Error> {
        let nodes: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Node").collect();
        Ok(Self {
            size: size(&nodes),
            provider: provider(&nodes, objects),
            dual_stack: dual_stack(objects)?,
            features: features(objects)?,
        })
    }
}

/// Decides the size by the sum of the nodes' capacity. A cluster without nodes is not small but asleep: its size is not
/// known, and to shrink the installation of a cluster that wakes up again would restart every sidecar twice.
fn size(nodes: &[&Value]) -> Size {
    let sum = |resource: &str| -> i128 {
        nodes
            .iter()
            .filter_map(|node| node["status"]["capacity"][resource].as_str())
            .filter_map(quantity::thousandths)
            .sum()
    };
    let is_small = sum("cpu") < PRODUCTION_CPU || sum("memory") < PRODUCTION_MEMORY;
    if is_small && !nodes.is_empty() { Size::Evaluation } else { Size::Production }
}

/// The provider of the first node that tells it.
fn provider(nodes: &[&Value], objects: &[Value]) -> Provider {
    let is_garden = |node: &&Value| {
        node["status"]["nodeInfo"]["osImage"].as_str().is_some_and(|os| os.contains("Garden"))
    };
    let found = nodes.iter().find_map(|node| {
        let kubelet = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default();
        let id = node["spec"]["providerID"].as_str().unwrap_or_default().to_lowercase();
        if is_build(kubelet, "-gke.") {
            Some(Provider::Gke)
        } else if is_build(kubelet, "+k3s") {
            Some(Provider::K3d)
        } else if id.starts_with("aws://") {
            Some(Provider::Aws { load_balancer: load_balancer(objects) })
        } else if id.starts_with("openstack://") {
            Some(Provider::OpenStack { garden: nodes.iter().any(is_garden) })
        } else {
            None
        }
    });
    found.unwrap_or_default()
}

/// Whether a kubelet version is a vendor's build, such as `v1.35.1-gke.200` with the infix `-gke.`.
fn is_build(kubelet: &str, infix: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    kubelet.strip_prefix('v').and_then(|version| version.split_once(infix)).is_some_and(|(version, build)| {
        version.split('.').count() == 3 && version.split('.').all(is_number) && is_number(build)
    })
}

/// A classic load balancer stays where the cluster is marked as having one, unless the Service has been moved already.
fn load_balancer(objects: &[Value]) -> LoadBalancer {
    let is_marked = find(objects, "ConfigMap", ISTIO_NAMESPACE, ELB_DEPRECATED_CONFIG_MAP).is_some();
    let service = find(objects, "Service", ISTIO_NAMESPACE, INGRESS_GATEWAY);
    let kind =
        service.and_then(|service| service["metadata"]["annotations"][AWS_LOAD_BALANCER_TYPE].as_str());
    // `external` is what a network load balancer of a dual-stack cluster is annotated with.
    let has_network = matches!(kind, Some("nlb" | "external"));
    if is_marked && !has_network { LoadBalancer::Classic } else { LoadBalancer::Network }
}

fn dual_stack(objects: &[Value]) -> Result<bool, Error> {
    let info = find(objects, "ConfigMap", OPERATOR_NAMESPACE, PROVISIONING_INFO_CONFIG_MAP);
    let Some(details) = info.and_then(|info| info["data"]["details"].as_str()) else { return Ok(false) };
    let details = yaml::parse_json(details).map_err(Error::ProvisioningInfo)?;
    Ok(details["networkDetails"]["dualStackIPEnabled"] == true)
}

fn features(objects: &[Value]) -> Result<Features, Error> {
    let switches = find(objects, "ConfigMap", OPERATOR_NAMESPACE, FEATURES_CONFIG_MAP);
    let Some(json) = switches.and_then(|switches| switches["data"]["features"].as_str()) else {
        return Ok(Features::default());
    };
    serde_json::from_str(json).map_err(Error::Features)
}

fn find<'a>(objects: &'a [Value], kind: &str, namespace: &str, name: &str) -> Option<&'a Value> {
    objects.iter().find(|object| {
        let metadata = &object["metadata"];
        object["kind"] == kind && metadata["namespace"] == namespace && metadata["name"] == name
    })
}
