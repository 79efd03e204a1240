//! What is counted about restarts, under the names that the Go project has decided on for its restarter.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::finding::{Decision, Finding};
use super::owner::Kind;
use crate::probes;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Restart {
    kind: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Skip {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByKind {
    kind: String,
}

/// The metrics of the data plane.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    restarts: Family<Restart, Counter>,
    skipped: Family<Skip, Gauge>,
    pending: Family<ByKind, Gauge>,
    total: Gauge<i64, AtomicI64>,
    stale: Gauge<i64, AtomicI64>,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    #[must_use]
    pub fn register(registry: &probes::Metrics) -> Self {
        let metrics = Self::default();
        registry.change(|registry| {
            registry.register("istio_restarter_restarts", "Restarts of workloads", metrics.restarts.clone());
            registry.register(
                "istio_restarter_skipped",
                "Outdated workloads that are not restarted, by what prevents it",
                metrics.skipped.clone(),
            );
            registry.register(
                "istio_restarter_restart_pending",
                "Outdated workloads that will be restarted",
                metrics.pending.clone(),
            );
            registry.register("istio_restarter_workloads", "Workloads with a sidecar", metrics.total.clone());
            registry.register(
                "istio_restarter_stale_workloads",
                "Workloads with an outdated sidecar",
                metrics.stale.clone(),
            );
        });
        metrics
    }

    /// Counts a restart that ended.
    pub fn restarted(&self, kind: Kind, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.restarts.get_or_create(&Restart { kind: format!("{kind:?}"), result }).inc();
    }

    /// Shows what a look at the mesh found.
    pub fn found(&self, total: usize, decisions: &[(Finding, Decision)]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.total.set(number(total));
        self.stale.set(number(decisions.len()));
        self.skipped.clear();
        self.pending.clear();
        for (finding, decision) in decisions {
            match decision {
                Decision::Restart(_) => {
                    self.pending.get_or_create(&ByKind { kind: format!("{:?}", finding.kind) }).inc()
                }
                Decision::Hold(hindrance) => {
                    self.skipped.get_or_create(&Skip { reason: hindrance.name() }).inc()
                }
            };
        }
    }
}
