//! `spec.experimental`: options without a guarantee of stability.
//! Plain data, see the parent module.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options without a guarantee of stability.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Experimental {
    /// Experimental options of istiod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<ExperimentalPilot>,
    /// Whether to install ztunnel and enable ambient mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ambient: Option<bool>,
}

/// Experimental options of istiod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentalPilot {
    /// Whether istiod serves alpha kinds of the Gateway API.
    #[serde(rename = "enableAlphaGatewayAPI", skip_serializing_if = "Option::is_none")]
    pub enable_alpha_gateway_api: Option<bool>,
    /// Whether istiod discovers gateways of other networks from Gateway API resources.
    #[serde(rename = "enableMultiNetworkDiscoverGatewayAPI", skip_serializing_if = "Option::is_none")]
    pub enable_multi_network_discover_gateway_api: Option<bool>,
}
