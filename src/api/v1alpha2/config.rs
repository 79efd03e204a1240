//! `spec.config`: options of the whole mesh.
//! Plain data, see the parent module.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Options of the whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Number of trusted proxies in front of the Istio gateways.
    #[schemars(schema_with = "schema::unsigned_32_bit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_trusted_proxies: Option<i64>,
    /// How gateways treat the `X-Forwarded-Client-Cert` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_client_cert_details: Option<ForwardClientCertDetails>,
    /// External authorizers, for an AuthorizationPolicy with the action `CUSTOM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizers: Option<Vec<Authorizer>>,
    /// `externalTrafficPolicy` of the ingress gateway's Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_external_traffic_policy: Option<TrafficPolicy>,
    /// Telemetry of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// Trust domain of the identities in the mesh, a DNS name. Default `cluster.local`.
    #[schemars(length(min = 1, max = 255))]
    #[schemars(regex(pattern = r"^[a-z0-9]*([a-z0-9-_]*)?(\.[a-z0-9]*([a-z0-9-_]*[a-z0-9]*)?)*$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Whether sidecars answer the DNS queries of their workloads.
    #[serde(rename = "enableDNSProxying", skip_serializing_if = "Option::is_none")]
    pub enable_dns_proxying: Option<bool>,
    /// Additional statistics that the proxies expose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_stats_matcher: Option<ProxyStatsMatcher>,
}

/// Strategy for the `X-Forwarded-Client-Cert` header, as in Istio's `Topology.forwardClientCertDetails`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    /// Append the client's certificate to the header.
    AppendForward,
    /// Replace the header by the client's certificate.
    SanitizeSet,
    /// Remove the header.
    Sanitize,
    /// Forward the header, also on connections without mutual TLS.
    AlwaysForwardOnly,
    /// Forward the header on connections with mutual TLS.
    ForwardOnly,
}

/// Where a load balancer may send external traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// Only to nodes with a gateway pod; the client's address is kept.
    Local,
    /// To every node; the client's address is lost.
    Cluster,
}

/// An external HTTP authorizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authorizer {
    /// Name by which an AuthorizationPolicy refers to the authorizer.
    pub name: String,
    /// Host name of the service, optionally as `namespace/host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Port of the service.
    #[schemars(schema_with = "schema::int32")]
    pub port: i64,
    /// Headers passed between client, authorizer and workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<AuthorizerHeaders>,
    /// Prefix for the path of the request to the authorizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Timeout of the authorizer, for example `500ms`, `2s` or `1m30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// Headers passed between client, authorizer and workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerHeaders {
    /// Headers of the request to the authorizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_check: Option<HeadersInCheck>,
    /// Headers of the request to the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_upstream: Option<HeadersToUpstream>,
    /// Headers of the response to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_downstream: Option<HeadersToDownstream>,
}

/// Headers of the request to the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadersInCheck {
    /// Headers copied from the request of the client: exact names, `prefix*` or `*suffix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// Headers added with a fixed value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<BTreeMap<String, String>>,
}

/// Headers of the request to the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadersToUpstream {
    /// Headers copied from the response of the authorizer if it allows the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_allow: Option<Vec<String>>,
}

/// Headers of the response to the client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadersToDownstream {
    /// Headers copied from the response of the authorizer if it allows the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_allow: Option<Vec<String>>,
    /// Headers copied from the response of the authorizer if it denies the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_deny: Option<Vec<String>>,
}

/// Telemetry of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Metrics of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// Metrics of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Whether sidecars serve the metrics of their workloads together with their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_merge: Option<bool>,
}

/// Additional statistics that the proxies expose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyStatsMatcher {
    /// Regular expressions (RE2) for names of Envoy statistics to be exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion_regexps: Option<Vec<String>>,
}
