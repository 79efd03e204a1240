//! Metrics about restarts, with the names, types and labels that the Go project decided on for its restarter (its ADR 0018),
//! and three metrics of this operator.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Metric;

use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, StaleWorkload};
use crate::dataplane::workload::WorkloadKind;
use crate::server;

/// Seconds of an evaluation: microseconds if its result is cached, tens of milliseconds with a dry run.
const BUCKETS: [f64; 9] = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Why a workload is skipped that would be restarted otherwise: the values of the Go project.
const SKIP_REASONS: [&str; 3] = ["excluded", "maintenance_window", "invalid_window"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RestartLabels {
    kind: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ComponentLabels {
    version: &'static str,
    istio_version: String,
}

/// A metric of any type, for a table of them.
#[derive(Debug)]
struct BoxedMetric(Box<dyn Metric>);

impl EncodeMetric for BoxedMetric {
    fn encode(&self, encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// The metrics of the data plane.
#[derive(Clone, Debug)]
pub struct DataPlaneMetrics {
    restarts: Family<RestartLabels, Counter>,
    skipped: Family<ReasonLabels, Counter>,
    pending: Family<KindLabels, Gauge>,
    evaluation: Family<KindLabels, Histogram, fn() -> Histogram>,
    window_open: Gauge<i64, AtomicI64>,
    component: Family<ComponentLabels, Gauge>,
    total: Gauge<i64, AtomicI64>,
    stale: Gauge<i64, AtomicI64>,
    blocked: Family<ReasonLabels, Gauge>,
}

impl Default for DataPlaneMetrics {
    fn default() -> Self {
        Self {
            restarts: Family::default(),
            skipped: Family::default(),
            pending: Family::default(),
            evaluation: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            window_open: Gauge::default(),
            component: Family::default(),
            total: Gauge::default(),
            stale: Gauge::default(),
            blocked: Family::default(),
        }
    }
}

impl DataPlaneMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn register(registry: &server::MetricsRegistry) -> Self {
        let metrics = Self::default();
        // A counter that is missing before its first event hides that event from `rate`.
        for reason in SKIP_REASONS {
            drop(metrics.skipped.get_or_create(&ReasonLabels { reason }));
        }
        for kind in WorkloadKind::listed() {
            for result in ["success", "error"] {
                drop(metrics.restarts.get_or_create(&RestartLabels { kind: kind_label(kind), result }));
            }
        }
        registry.with_registry(|registry| {
            for (name, help, metric) in metrics.table() {
                registry.register(name, help, BoxedMetric(metric));
            }
        });
        metrics
    }

    /// Name, help and value of each.
    fn table(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 9] {
        [
            (
                "istio_restarter_restarts",
                "Completed and failed restarts of workloads",
                Box::new(self.restarts.clone()),
            ),
            (
                "istio_restarter_skipped",
                "Outdated workloads that scans skipped because they are excluded or outside of their maintenance window",
                Box::new(self.skipped.clone()),
            ),
            (
                "istio_restarter_restart_pending",
                "Workloads that need a restart and are excluded or outside of their maintenance window",
                Box::new(self.pending.clone()),
            ),
            (
                "istio_restarter_rule_evaluation_duration_seconds",
                "Seconds to evaluate one workload, including the dry run",
                Box::new(self.evaluation.clone()),
            ),
            (
                "istio_restarter_maintenance_window_active",
                "1 if a maintenance window of a namespace or an outdated workload is open, otherwise 0",
                Box::new(self.window_open.clone()),
            ),
            (
                "istio_restarter_component_info",
                "Always 1; the versions of the operator and of Istio",
                Box::new(self.component.clone()),
            ),
            ("istio_restarter_workloads", "Workloads with a sidecar", Box::new(self.total.clone())),
            (
                "istio_restarter_stale_workloads",
                "Workloads with an outdated sidecar",
                Box::new(self.stale.clone()),
            ),
            (
                "istio_restarter_blocked_workloads",
                "Workloads with an outdated sidecar that are not restarted, by block reason",
                Box::new(self.blocked.clone()),
            ),
        ]
    }

    /// Counts a restart that completed or failed.
    pub fn record_restart(&self, kind: WorkloadKind, success: bool) {
        let result = if success { "success" } else { "error" };
        self.restarts.get_or_create(&RestartLabels { kind: kind_label(kind), result }).inc();
    }

    /// Measures the evaluation of a workload.
    pub fn record_evaluation(&self, kind: WorkloadKind, took: Duration) {
        self.evaluation.get_or_create(&KindLabels { kind: kind_label(kind) }).observe(took.as_secs_f64());
    }

    /// Sets the version of Istio.
    pub fn set_istio_version(&self, istio_version: &str) {
        self.component.clear();
        let component =
            ComponentLabels { version: env!("CARGO_PKG_VERSION"), istio_version: istio_version.to_owned() };
        self.component.get_or_create(&component).set(1);
    }

    /// Sets what a scan found: `total` workloads, of which `decisions` and `more` are outdated.
    pub fn record_scan(&self, total: usize, decisions: &[(StaleWorkload, Decision)], more: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.total.set(number(total));
        self.stale.set(number(decisions.len() + more));
        self.blocked.clear();
        self.pending.clear();
        for (stale, decision) in decisions {
            let Decision::Blocked(block_reason) = decision else { continue };
            self.blocked.get_or_create(&ReasonLabels { reason: block_reason.name() }).inc();
            if let Some(reason) = skip_reason(block_reason) {
                self.skipped.get_or_create(&ReasonLabels { reason }).inc();
                self.pending.get_or_create(&KindLabels { kind: kind_label(stale.kind) }).inc();
            }
        }
    }

    /// Sets whether a maintenance window is open.
    pub fn set_window_open(&self, open: bool) {
        self.window_open.set(i64::from(open));
    }
}

fn kind_label(kind: WorkloadKind) -> String {
    kind.name().to_owned()
}

/// The value under which the Go project counts a block reason as skipped, if it does.
fn skip_reason(block_reason: &BlockReason) -> Option<&'static str> {
    let [excluded, outside, invalid] = SKIP_REASONS;
    match block_reason {
        BlockReason::Excluded => Some(excluded),
        BlockReason::OutsideWindow(_) => Some(outside),
        BlockReason::WindowInvalid(_) => Some(invalid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::dataplane::fixtures::assessment;
    use crate::dataplane::workload::{daemon_set, deployment, stateful_set};

    fn text(change: impl FnOnce(&DataPlaneMetrics)) -> String {
        let registry = server::MetricsRegistry::default();
        let metrics = DataPlaneMetrics::register(&registry);
        change(&metrics);
        registry.text().unwrap()
    }

    /// Names, types and labels as the table of ADR 0018 has them; dashboards of the Go project then work here.
    #[test]
    fn the_metrics_of_the_go_project_have_their_types_and_labels() {
        let text = text(|metrics| {
            metrics.set_istio_version("1.31.0");
            metrics.record_restart(daemon_set::KIND, true);
            metrics.record_restart(deployment::KIND, false);
            metrics.record_evaluation(stateful_set::KIND, Duration::from_millis(20));
            let block_reasons = [
                BlockReason::Excluded,
                BlockReason::OutsideWindow(Timestamp::UNIX_EPOCH),
                BlockReason::WindowInvalid(String::new()),
            ];
            metrics.record_scan(5, &assessment(&block_reasons).decisions, 0);
            metrics.set_window_open(true);
        });
        for line in [
            "# TYPE istio_restarter_restarts counter",
            "istio_restarter_restarts_total{kind=\"DaemonSet\",result=\"success\"} 1",
            "istio_restarter_restarts_total{kind=\"Deployment\",result=\"error\"} 1",
            "istio_restarter_restarts_total{kind=\"Deployment\",result=\"success\"} 0",
            "# TYPE istio_restarter_skipped counter",
            "istio_restarter_skipped_total{reason=\"excluded\"} 1",
            "istio_restarter_skipped_total{reason=\"maintenance_window\"} 1",
            "istio_restarter_skipped_total{reason=\"invalid_window\"} 1",
            "# TYPE istio_restarter_restart_pending gauge",
            "istio_restarter_restart_pending{kind=\"Deployment\"} 3",
            "# TYPE istio_restarter_rule_evaluation_duration_seconds histogram",
            "istio_restarter_rule_evaluation_duration_seconds_count{kind=\"StatefulSet\"} 1",
            "# TYPE istio_restarter_maintenance_window_active gauge",
            "istio_restarter_maintenance_window_active 1",
            "# TYPE istio_restarter_component_info gauge",
            concat!(
                "istio_restarter_component_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\",istio_version=\"1.31.0\"} 1"
            ),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_blocked_workload_that_is_not_skipped_counts_as_blocked_only() {
        let text = text(|metrics| metrics.record_scan(9, &assessment(&[BlockReason::BarePod]).decisions, 4));
        for line in [
            "istio_restarter_workloads 9",
            "istio_restarter_stale_workloads 5",
            "istio_restarter_blocked_workloads{reason=\"bare_pod\"} 1",
            "istio_restarter_skipped_total{reason=\"excluded\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains("restart_pending{"), "{text}");
    }

    #[test]
    fn results_of_a_former_scan_are_removed() {
        let text = text(|metrics| {
            metrics.set_istio_version("1.30.3");
            metrics.set_istio_version("1.31.0");
            metrics.record_scan(9, &assessment(&[BlockReason::BarePod]).decisions, 0);
            metrics.record_scan(9, &[], 0);
        });
        assert!(!text.contains("1.30.3") && !text.contains("bare_pod"), "{text}");
    }
}
