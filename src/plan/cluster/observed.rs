//! The observed cluster, reduced to what decisions need.
//! Reads the JSON form of objects; keeps nothing of them that no decision needs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::provider::Vendor;
use super::{ApiPort, Platform};
use crate::api::names::{
    ELB_DEPRECATED_CONFIG_MAP, FEATURES_CONFIG_MAP, INGRESS_GATEWAY, ISTIO_NAMESPACE, OPERATOR_NAMESPACE,
    PROVISIONING_INFO_CONFIG_MAP, VERTICAL_AUTOSCALER_CRD,
};
use crate::kubernetes::quantity::thousandths;

/// Annotation of a Service by which AWS chooses the kind of load balancer.
const AWS_LOAD_BALANCER_TYPE: &str = "service.beta.kubernetes.io/aws-load-balancer-type";

/// One node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Capacity in thousandths of a core.
    pub(super) cpu: i128,
    /// Capacity in thousandths of a byte.
    pub(super) memory: i128,
    pub(super) vendor: Option<Vendor>,
    pub(super) platform: Option<Platform>,
    pub(super) runs_garden_linux: bool,
}

impl NodeFacts {
    /// Reads a Node. A capacity that is missing or not a quantity counts as none.
    #[must_use]
    pub fn of(node: &Value) -> Self {
        let status = &node["status"];
        let amount = |resource: &str| match &status["capacity"][resource] {
            Value::String(text) => thousandths(text).unwrap_or_default(),
            // In a file written by hand.
            Value::Number(number) => thousandths(&number.to_string()).unwrap_or_default(),
            _ => 0,
        };
        let info = |field: &str| status["nodeInfo"][field].as_str().unwrap_or_default();
        let provider_id = node["spec"]["providerID"].as_str().unwrap_or_default();
        let platform = Platform::of(node);
        Self {
            cpu: amount("cpu"),
            memory: amount("memory"),
            vendor: Vendor::of(platform, provider_id),
            platform,
            runs_garden_linux: info("osImage").contains("Garden"),
        }
    }
}

/// The observed cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedCluster {
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// Text of the switches in ConfigMap `istio-features`, if there are any.
    pub features: Option<String>,
    /// Text of the details in ConfigMap `kyma-provisioning-info`, if there are any.
    pub provisioning_details: Option<String>,
    /// Whether ConfigMap `elb-deprecated` exists.
    pub keeps_classic_load_balancer: bool,
    /// Which load balancer the Service of the ingress gateway asks AWS for.
    pub load_balancer_type: Option<String>,
    /// Port behind the Service of the API server.
    pub api_port: Option<ApiPort>,
    /// Whether the CRD of vertical autoscalers exists.
    pub vertical_autoscaling: bool,
}

impl ObservedCluster {
    /// Reads Kubernetes objects in their JSON form, single ones or lists as `kubectl get` prints them, and ignores all
    /// others.
    #[must_use]
    pub fn from_objects(objects: &[Value]) -> Self {
        let mut observed = Self::default();
        let singles = objects.iter().flat_map(|object| match object["items"].as_array() {
            Some(items) => items.iter().collect(),
            None => vec![object],
        });
        for (index, object) in singles.enumerate() {
            observed.add_object(index, object);
        }
        observed
    }

    fn add_object(&mut self, index: usize, object: &Value) {
        let metadata = &object["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default();
        match (object["kind"].as_str().unwrap_or_default(), text("namespace"), text("name")) {
            // In the order given, which an API server makes that of names.
            ("Node", ..) => {
                self.nodes.insert(format!("{index:08}"), NodeFacts::of(object));
            }
            ("ConfigMap", OPERATOR_NAMESPACE, FEATURES_CONFIG_MAP) => {
                self.features = object["data"]["features"].as_str().map(str::to_owned);
            }
            ("ConfigMap", OPERATOR_NAMESPACE, PROVISIONING_INFO_CONFIG_MAP) => {
                self.provisioning_details = object["data"]["details"].as_str().map(str::to_owned);
            }
            ("ConfigMap", ISTIO_NAMESPACE, ELB_DEPRECATED_CONFIG_MAP) => {
                self.keeps_classic_load_balancer = true;
            }
            ("Service", ISTIO_NAMESPACE, INGRESS_GATEWAY) => {
                self.load_balancer_type = load_balancer_type(object);
            }
            ("Service", "default", "kubernetes") => self.api_port = api_port(object),
            ("CustomResourceDefinition", _, VERTICAL_AUTOSCALER_CRD) => {
                self.vertical_autoscaling = true;
            }
            _ => {}
        }
    }
}

/// Which load balancer a Service asks AWS for.
#[must_use]
pub fn load_balancer_type(service: &Value) -> Option<String> {
    service["metadata"]["annotations"][AWS_LOAD_BALANCER_TYPE].as_str().map(str::to_owned)
}

/// The port behind the port `https` of the API server's Service.
#[must_use]
pub fn api_port(service: &Value) -> Option<ApiPort> {
    let ports = service["spec"]["ports"].as_array()?;
    let https = ports.iter().find(|port| port["name"] == "https")?;
    // A Service without a target port forwards to the same port.
    let port = https.get("targetPort").filter(|target| !target.is_null()).unwrap_or(&https["port"]);
    u16::try_from(port.as_u64()?).ok().filter(|port| *port > 0).map(ApiPort)
}
