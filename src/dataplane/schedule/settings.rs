//! The settings of restarts, from the `Istio` resource and the command line. Pure.

use std::time::Duration;

use crate::validate::ValidatedRestarter;

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
        Self::new(ValidatedRestarter::default(), false)
    }
}

impl RestartSettings {
    /// The settings of a resource. `report_only`, a flag of the operator, switches restarts off in any case.
    #[must_use]
    pub fn new(restarter: ValidatedRestarter, report_only: bool) -> Self {
        Self {
            enabled: restarter.enabled && !report_only,
            max_unfinished: restarter.max_unfinished,
            max_unfinished_per_namespace: restarter.max_unfinished_per_namespace,
            rollout_timeout: restarter.rollout_timeout,
            failure_limit: restarter.failure_limit,
            unexplained_share_percent: restarter.unexplained_share_percent,
            allow_interruption: restarter.allow_interruption,
            restart_also_for: restarter.restart_also_for,
        }
    }
}
