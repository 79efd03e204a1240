//! What is counted about restarts, under the names, types and labels that the Go project has decided on for its restarter
//! (its ADR 0018), and two sums of our own.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Metric;

use crate::dataplane::decide::finding::{Decision, Finding, Hindrance};
use crate::dataplane::kind::Kind;
use crate::probes;

/// What a judgement costs: microseconds where it is remembered, tens of milliseconds where injection is asked.
const BUCKETS: [f64; 9] = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Why a workload is skipped that would be restarted otherwise: the values that the Go project names.
const SKIPS: [&str; 3] = ["excluded", "maintenance_window", "invalid_window"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Restart {
    kind: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByKind {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Component {
    version: &'static str,
    istio_version: String,
}

/// A metric of any type, for a table of them.
#[derive(Debug)]
struct Shown(Box<dyn Metric>);

impl EncodeMetric for Shown {
    fn encode(&self, encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// The metrics of the data plane.
#[derive(Clone, Debug)]
pub struct Metrics {
    restarts: Family<Restart, Counter>,
    skipped: Family<ByReason, Counter>,
    pending: Family<ByKind, Gauge>,
    evaluation: Family<ByKind, Histogram, fn() -> Histogram>,
    window_open: Gauge<i64, AtomicI64>,
    component: Family<Component, Gauge>,
    total: Gauge<i64, AtomicI64>,
    stale: Gauge<i64, AtomicI64>,
    left: Family<ByReason, Gauge>,
}

impl Default for Metrics {
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
            left: Family::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    #[must_use]
    pub fn register(registry: &probes::Metrics) -> Self {
        let metrics = Self::default();
        // A counter that is not there before its first event hides that event from `rate`.
        for reason in SKIPS {
            drop(metrics.skipped.get_or_create(&ByReason { reason }));
        }
        for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
            for result in ["success", "error"] {
                drop(metrics.restarts.get_or_create(&Restart { kind: name(kind), result }));
            }
        }
        registry.change(|registry| {
            for (name, help, metric) in metrics.table() {
                registry.register(name, help, Shown(metric));
            }
        });
        metrics
    }

    /// Name, help and value of each.
    fn table(&self) -> [(&'static str, &'static str, Box<dyn Metric>); 9] {
        [
            ("istio_restarter_restarts", "Restarts of workloads that ended", Box::new(self.restarts.clone())),
            (
                "istio_restarter_skipped",
                "Outdated workloads passed over at a look, because they are excluded or outside their window",
                Box::new(self.skipped.clone()),
            ),
            (
                "istio_restarter_restart_pending",
                "Workloads that need a restart and are excluded or outside their window",
                Box::new(self.pending.clone()),
            ),
            (
                "istio_restarter_rule_evaluation_duration_seconds",
                "Time to judge one workload, the question to injection included",
                Box::new(self.evaluation.clone()),
            ),
            (
                "istio_restarter_maintenance_window_active",
                "Whether a maintenance window of a namespace or an outdated workload is open (1) or none is (0)",
                Box::new(self.window_open.clone()),
            ),
            (
                "istio_restarter_component_info",
                "Always 1; the versions of this program and of the Istio that sidecars are brought to",
                Box::new(self.component.clone()),
            ),
            ("istio_restarter_workloads", "Workloads with a sidecar", Box::new(self.total.clone())),
            (
                "istio_restarter_stale_workloads",
                "Workloads with an outdated sidecar",
                Box::new(self.stale.clone()),
            ),
            (
                "istio_restarter_leftover_workloads",
                "Workloads with an outdated sidecar that are not restarted, by what prevents it",
                Box::new(self.left.clone()),
            ),
        ]
    }

    /// Counts a restart that ended.
    pub fn restarted(&self, kind: Kind, success: bool) {
        let result = if success { "success" } else { "error" };
        self.restarts.get_or_create(&Restart { kind: name(kind), result }).inc();
    }

    /// Notes how long the judgement on a workload took.
    pub fn judged(&self, kind: Kind, took: Duration) {
        self.evaluation.get_or_create(&ByKind { kind: name(kind) }).observe(took.as_secs_f64());
    }

    /// Shows to which Istio sidecars are brought.
    pub fn serves(&self, istio_version: &str) {
        self.component.clear();
        let component =
            Component { version: env!("CARGO_PKG_VERSION"), istio_version: istio_version.to_owned() };
        self.component.get_or_create(&component).set(1);
    }

    /// Shows what a look at the mesh found: `total` workloads, of which `decisions` and `more` are outdated.
    pub fn found(&self, total: usize, decisions: &[(Finding, Decision)], more: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.total.set(number(total));
        self.stale.set(number(decisions.len() + more));
        self.left.clear();
        self.pending.clear();
        for (finding, decision) in decisions {
            let Decision::Hold(hindrance) = decision else { continue };
            self.left.get_or_create(&ByReason { reason: hindrance.name() }).inc();
            if let Some(reason) = skip(hindrance) {
                self.skipped.get_or_create(&ByReason { reason }).inc();
                self.pending.get_or_create(&ByKind { kind: name(finding.kind) }).inc();
            }
        }
    }

    /// Shows whether a maintenance window is open.
    pub fn window(&self, open: bool) {
        self.window_open.set(i64::from(open));
    }
}

fn name(kind: Kind) -> String {
    format!("{kind:?}")
}

/// Whether a hindrance is one that the Go project counts as a skip.
fn skip(hindrance: &Hindrance) -> Option<&'static str> {
    let [excluded, outside, invalid] = SKIPS;
    match hindrance {
        Hindrance::Excluded => Some(excluded),
        Hindrance::OutsideWindow(_) => Some(outside),
        Hindrance::WindowInvalid(_) => Some(invalid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::survey;

    fn text(change: impl FnOnce(&Metrics)) -> String {
        let registry = probes::Metrics::default();
        let metrics = Metrics::register(&registry);
        change(&metrics);
        registry.text().unwrap()
    }

    /// Names, types and labels as the table of ADR 0018 has them; dashboards of the Go project then work here.
    #[test]
    fn the_metrics_that_the_go_project_has_decided_on_are_there_with_their_types_and_labels() {
        let text = text(|metrics| {
            metrics.serves("1.31.0");
            metrics.restarted(Kind::DaemonSet, true);
            metrics.restarted(Kind::Deployment, false);
            metrics.judged(Kind::StatefulSet, Duration::from_millis(20));
            let holds =
                [Hindrance::Excluded, Hindrance::OutsideWindow(0), Hindrance::WindowInvalid(String::new())];
            metrics.found(5, &survey(&holds).decisions, 0);
            metrics.window(true);
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
    fn a_leftover_that_is_no_skip_is_shown_as_a_leftover_only() {
        let text = text(|metrics| metrics.found(9, &survey(&[Hindrance::BarePod]).decisions, 4));
        for line in [
            "istio_restarter_workloads 9",
            "istio_restarter_stale_workloads 5",
            "istio_restarter_leftover_workloads{reason=\"bare_pod\"} 1",
            "istio_restarter_skipped_total{reason=\"excluded\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains("restart_pending{"), "{text}");
    }

    #[test]
    fn what_a_former_look_found_is_not_shown_any_more() {
        let text = text(|metrics| {
            metrics.serves("1.30.3");
            metrics.serves("1.31.0");
            metrics.found(9, &survey(&[Hindrance::BarePod]).decisions, 0);
            metrics.found(9, &[], 0);
        });
        assert!(!text.contains("1.30.3") && !text.contains("bare_pod"), "{text}");
    }
}
