//! `status` of the `Istio` resource.
//! Plain data; `status` decides what is written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DataPlaneStatus, schema};
use crate::api::conditions::State;

/// The last observed state of an `Istio` resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioStatus {
    /// Overall state.
    pub state: State,
    /// The cause of the state. Empty if everything is as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Conditions, one per type.
    #[schemars(schema_with = "schema::conditions")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
    /// `metadata.generation` of the resource that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state of the sidecars in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<DataPlaneStatus>,
}
