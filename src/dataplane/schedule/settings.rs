//! The settings of restarts, from the `Istio` resource and the command line. Pure.

use std::time::Duration;

use crate::api::v1alpha2::Restarter;

/// The settings of restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartSettings {
    /// Whether workloads are restarted; otherwise, outdated ones are only reported.
    pub enabled: bool,
    /// Rollouts that may be in progress at the same time in the cluster.
    pub max_unfinished: usize,
    /// Rollouts that may be in progress at the same time in one namespace.
    pub max_unfinished_per_namespace: usize,
    /// How long a rollout may take before it counts as failed.
    pub rollout_timeout: Duration,
    /// Failed rollouts of one namespace, in a row or one in twenty, that stop further restarts in it.
    pub failure_limit: usize,
    /// Percentage of the mesh above which a restart wave without a change of version or configuration needs approval.
    pub unexplained_share_percent: usize,
    /// Whether restarts may interrupt workloads.
    pub allow_interruption: bool,
    /// Names of reasons that cause a restart, in addition to the default ones.
    pub restart_also_for: Vec<String>,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_unfinished: 20,
            max_unfinished_per_namespace: 5,
            rollout_timeout: Duration::from_secs(600),
            failure_limit: 3,
            unexplained_share_percent: 20,
            allow_interruption: false,
            restart_also_for: Vec::new(),
        }
    }
}

impl RestartSettings {
    /// The settings of `spec.restarter`, with defaults for missing fields. `report_only` disables restarts in any case.
    #[must_use]
    pub fn from_spec(restarter: Option<&Restarter>, report_only: bool) -> Self {
        let default = Self::default();
        let Some(restarter) = restarter else { return Self { enabled: !report_only, ..default } };
        let number = |value: Option<u32>, default| {
            value.and_then(|value| usize::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Self {
            enabled: restarter.enabled.unwrap_or(true) && !report_only,
            max_unfinished: number(restarter.max_unfinished, default.max_unfinished),
            max_unfinished_per_namespace: number(
                restarter.max_unfinished_per_namespace,
                default.max_unfinished_per_namespace,
            ),
            rollout_timeout: restarter
                .rollout_timeout_seconds
                .filter(|seconds| *seconds > 0)
                .map_or(default.rollout_timeout, |seconds| Duration::from_secs(u64::from(seconds))),
            failure_limit: number(restarter.failure_limit, default.failure_limit),
            unexplained_share_percent: number(
                restarter.unexplained_share_percent,
                default.unexplained_share_percent,
            ),
            allow_interruption: restarter.allow_interruption.unwrap_or(false),
            restart_also_for: restarter.restart_also_for.clone().unwrap_or_default(),
        }
    }
}
