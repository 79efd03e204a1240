//! `spec.experimental`: options without a promise of stability.
//! Plain data, see the parent module.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options without a promise of stability.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Experimental {
    /// Experimental options of istiod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<ExperimentalPilot>,
    /// Installs ztunnel and switches ambient mode on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ambient: Option<bool>,
}

/// Experimental options of istiod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentalPilot {
    /// Lets istiod serve alpha kinds of the Gateway API.
    #[serde(rename = "enableAlphaGatewayAPI", skip_serializing_if = "Option::is_none")]
    pub enable_alpha_gateway_api: Option<bool>,
    /// Lets istiod find the gateways of further networks from Gateway API resources.
    #[serde(rename = "enableMultiNetworkDiscoverGatewayAPI", skip_serializing_if = "Option::is_none")]
    pub enable_multi_network_discover_gateway_api: Option<bool>,
}
