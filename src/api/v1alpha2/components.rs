//! `spec.components`: settings of Istio's components.
//! Plain data, see the parent module.

use k8s_openapi::api::core::v1::Affinity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Settings of Istio's components.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Components {
    /// istiod, the control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<Pilot>,
    /// The ingress gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_gateway: Option<IngressGateway>,
    /// The egress gateway, not installed unless enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_gateway: Option<EgressGateway>,
    /// The CNI node agent, which sets up traffic redirection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni: Option<Cni>,
    /// The sidecar proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
}

/// istiod, the control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pilot {
    /// Kubernetes settings of the Deployment.
    pub k8s: DeploymentK8s,
}

/// The ingress gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressGateway {
    /// Kubernetes settings of the Deployment.
    pub k8s: DeploymentK8s,
}

/// The egress gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressGateway {
    /// Whether to install the egress gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Kubernetes settings of the Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s: Option<DeploymentK8s>,
}

/// The CNI node agent, which sets up traffic redirection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cni {
    /// Kubernetes settings of the DaemonSet.
    pub k8s: CniK8s,
}

/// The sidecar proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Kubernetes settings of the sidecar container.
    pub k8s: ProxyK8s,
}

/// Kubernetes settings of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentK8s {
    /// Bounds of the horizontal autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa_spec: Option<HorizontalScaling>,
    /// Strategy for replacing pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Compute resources of the main container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Kubernetes settings of the CNI DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CniK8s {
    /// Scheduling constraints of the pods.
    #[schemars(schema_with = "schema::affinity")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Compute resources of the main container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Kubernetes settings of the sidecar container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyK8s {
    /// Compute resources of the sidecar container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Bounds of a horizontal autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalScaling {
    /// Maximum number of replicas.
    #[schemars(schema_with = "schema::replicas")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i64>,
    /// Minimum number of replicas.
    #[schemars(schema_with = "schema::replicas")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i64>,
}

/// Strategy for replacing the pods of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Parameters of the rolling update.
    pub rolling_update: RollingUpdate,
}

/// Parameters of a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// Maximum number of pods above the desired number: a number or a percentage.
    #[schemars(schema_with = "schema::max_surge")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// Maximum number of unavailable pods: a number or a percentage.
    #[schemars(schema_with = "schema::max_unavailable")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

/// A number or a text such as `25%`. Wider than the type of k8s-openapi, so that no stored number fails to decode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// An absolute number.
    Int(i64),
    /// A percentage, or a number as text.
    String(String),
}

/// Compute resources of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Maximum compute resources of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
    /// Compute resources that are reserved for the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
}

/// Amounts of compute resources, as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// CPU, for example `500m` or `2`.
    #[schemars(regex(pattern = r"^([0-9]+m?|[0-9]\.[0-9]{1,3})$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory, for example `512Mi`.
    #[schemars(regex(pattern = r"^[0-9]+(((\.[0-9]+)?(E|P|T|G|M|k|Ei|Pi|Ti|Gi|Mi|Ki|m)?)|(e[0-9]+))$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}
