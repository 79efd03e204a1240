//! `spec.restarter`: how workloads with outdated sidecars are restarted, and what the status shows of it.
//! Plain data, see the parent module.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Most rollouts that may be unfinished at once.
pub const MAX_ROLLOUTS: u32 = 1000;
/// Longest time that a rollout may be given, in seconds: a day.
pub const MAX_ROLLOUT_SECONDS: u32 = 86_400;
/// Most failed rollouts that may be tolerated in one namespace.
pub const MAX_FAILURES: u32 = 1000;
/// Largest share of the mesh, in percent.
pub const MAX_SHARE_PERCENT: u32 = 100;
/// Reasons that only lead to a restart where `restartAlsoFor` names them.
pub const RESTART_REASONS: [&str; 6] =
    ["Environment", "Field", "NativeSidecar", "ProxyConfig", "Revision", "TrustDomain"];

/// How workloads with outdated sidecars are restarted. All fields are optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restarter {
    /// Whether workloads with outdated sidecars are restarted. If false, they are only reported. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Maximum number of unfinished rollouts in the cluster. Default 20.
    #[schemars(schema_with = "schema::rollouts")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unfinished: Option<u32>,
    /// Maximum number of unfinished rollouts in one namespace. Default 5.
    #[schemars(schema_with = "schema::rollouts")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unfinished_per_namespace: Option<u32>,
    /// Number of seconds after which an unfinished rollout counts as failed. Default 600.
    #[schemars(schema_with = "schema::rollout_seconds")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_timeout_seconds: Option<u32>,
    /// Number of failed rollouts in one namespace, in a row or one in twenty, that stops further restarts in this namespace.
    /// Default 3.
    #[schemars(schema_with = "schema::failures")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<u32>,
    /// Percentage of the mesh above which restarts that no change of version or configuration explains wait for approval.
    /// Default 20.
    #[schemars(schema_with = "schema::share_percent")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexplained_share_percent: Option<u32>,
    /// Whether restarts may interrupt workloads, such as those with one replica and no surge. Default false. A maintenance
    /// window or an annotation on the workload also allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_interruption: Option<bool>,
    /// Reasons that lead to a restart in addition to the default ones.
    #[schemars(schema_with = "schema::restart_reasons")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_also_for: Option<Vec<String>>,
}

/// The state of the sidecars in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataPlaneStatus {
    /// Workloads with a sidecar.
    pub total: i64,
    /// Workloads with an outdated sidecar.
    pub stale: i64,
    /// Workloads that are being restarted.
    pub restarting: i64,
    /// Workloads that were restarted in the current or last wave.
    pub restarted: i64,
    /// Outdated workloads that are excluded from restarts.
    pub excluded: i64,
    /// Workloads whose restart failed.
    pub failed: i64,
    /// Outdated workloads that are not restarted, at most 50. Also written when empty, because a merge patch keeps fields that
    /// it does not name.
    pub blocked_workloads: Vec<BlockedWorkload>,
    /// Why restarts are on hold, and how to approve them. Written as `null` if they are not, for the same reason.
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
