//! `spec.restarter`: how workloads with outdated sidecars are restarted, and what the status shows of it.
//! Plain data, see the parent module.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// How workloads with outdated sidecars are restarted. Everything has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restarter {
    /// Whether workloads are restarted (default), or outdated ones only reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Rollouts that may be unfinished at once in the cluster. Default 20.
    #[schemars(schema_with = "schema::unsigned_32_bit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unfinished: Option<u32>,
    /// Rollouts that may be unfinished at once in one namespace. Default 5.
    #[schemars(schema_with = "schema::unsigned_32_bit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unfinished_per_namespace: Option<u32>,
    /// Seconds that a rollout may take before it counts as failed. Default 600.
    #[schemars(schema_with = "schema::unsigned_32_bit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_timeout_seconds: Option<u32>,
    /// Failed rollouts of one namespace, in a row or one in twenty, that stop its further restarts. Default 3.
    #[schemars(schema_with = "schema::unsigned_32_bit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<u32>,
    /// Share of the mesh in percent above which restarts without a change of version or configuration wait for a
    /// release. Default 20.
    #[schemars(schema_with = "schema::unsigned_32_bit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexplained_share_percent: Option<u32>,
    /// Whether workloads are restarted although that interrupts them, such as those with one replica and no surge.
    /// Default false; a maintenance window or an annotation on the workload allows it, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_interruption: Option<bool>,
    /// Reasons that lead to a restart beside the usual ones: `TrustDomain`, `NativeSidecar`, `Revision`, `ProxyConfig`,
    /// `Environment`, `Field`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_also_for: Option<Vec<String>>,
}

/// What is known of the sidecars in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataPlaneStatus {
    /// Workloads with a sidecar.
    pub total: i64,
    /// Workloads with an outdated sidecar.
    pub stale: i64,
    /// Workloads that are being restarted.
    pub restarting: i64,
    /// Workloads that were restarted in the present or last wave.
    pub restarted: i64,
    /// Outdated workloads that are excluded from restarts.
    pub excluded: i64,
    /// Workloads whose restart failed.
    pub failed: i64,
    /// Outdated workloads that are not restarted, at most 50. Written when empty, too: a merge patch keeps what it does
    /// not name.
    pub blocked_workloads: Vec<BlockedWorkload>,
    /// What restarts wait for, and how to release them. Written as `null` when there is nothing, for the same reason.
    pub on_hold: Option<String>,
}

/// An outdated workload that is not restarted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockedWorkload {
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Why its sidecar is outdated.
    pub reasons: String,
    /// What prevents a restart.
    pub blocked_by: String,
}
