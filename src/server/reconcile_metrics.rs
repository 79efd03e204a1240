//! Results and durations of reconciles, under the metric names of controller-runtime, so that dashboards and alerts for the Go
//! operator keep working.
//!
//! The depth of the queue is missing, because the queue of kube-runtime does not expose it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::MetricsRegistry;

use crate::lock::lock;

type MetricLabels = Vec<(&'static str, &'static str)>;

const CONTROLLER_LABEL: (&str, &str) = ("controller", "istio");
const QUEUE_LABELS: [(&str, &str); 2] = [("name", "istio"), CONTROLLER_LABEL];
/// Upper bounds in seconds: a reconcile with nothing to do takes milliseconds, an upgrade minutes.
const DURATION_BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0];

/// Result of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileResult {
    /// It ended with an outcome, good or bad.
    Success,
    /// It was replaced by a newer reconcile.
    Requeue,
    /// It failed and is retried.
    Error,
}

impl ReconcileResult {
    const ALL: [Self; 3] = [Self::Success, Self::Requeue, Self::Error];

    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Requeue => "requeue",
            Self::Error => "error",
        }
    }
}

/// The metrics of the controller of the control plane.
#[derive(Debug)]
pub struct ReconcileMetrics {
    results: Family<MetricLabels, Counter>,
    errors: Family<MetricLabels, Counter>,
    duration: Family<MetricLabels, Histogram>,
    work_duration: Family<MetricLabels, Histogram>,
    retries: Family<MetricLabels, Counter>,
    active: ActiveReconciles,
}

impl ReconcileMetrics {
    /// Registers the metrics, all of which are present from the start. `concurrency` is the maximum number of concurrent
    /// reconciles.
    #[must_use]
    pub fn register(metrics: &MetricsRegistry, concurrency: u16) -> Self {
        let histogram =
            || Family::new_with_constructor((|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram);
        let reconciles = Self {
            results: Family::default(),
            errors: Family::default(),
            duration: histogram(),
            work_duration: histogram(),
            retries: Family::default(),
            active: ActiveReconciles { started: Arc::default(), concurrency },
        };
        for end in ReconcileResult::ALL {
            drop(reconciles.results.get_or_create(&vec![CONTROLLER_LABEL, ("result", end.as_str())]));
        }
        drop(reconciles.errors.get_or_create(&vec![CONTROLLER_LABEL]));
        drop(reconciles.retries.get_or_create(&QUEUE_LABELS.to_vec()));
        metrics.with_registry(|registry| {
            let name = |suffix: &str| format!("controller_runtime_reconcile{suffix}");
            registry.register(name(""), "Reconciles by their result", reconciles.results.clone());
            let help = "Reconciles that ended by an error";
            registry.register(name("_errors"), help, reconciles.errors.clone());
            let help = "How long a reconcile took";
            registry.register_with_unit(name("_time"), help, Unit::Seconds, reconciles.duration.clone());
            let (name, help) = ("workqueue_work_duration", "How long the work on an item of the queue took");
            registry.register_with_unit(name, help, Unit::Seconds, reconciles.work_duration.clone());
            let (name, help) = ("workqueue_retries", "Reconciles that were put off after a failure");
            registry.register(name, help, reconciles.retries.clone());
            registry.register_collector(Box::new(reconciles.active.clone()));
        });
        reconciles
    }

    /// Starts a reconcile.
    pub fn begin(&self) -> RunningReconcile<'_> {
        let began = Instant::now();
        self.active.started().push(began);
        RunningReconcile { metrics: self, started: began }
    }

    /// Counts a retry.
    pub fn retry(&self) {
        self.retries.get_or_create(&QUEUE_LABELS.to_vec()).inc();
    }
}

/// A running reconcile. If it is dropped without a result, it was interrupted and is not counted.
#[derive(Debug)]
#[must_use = "a reconcile runs until it is finished"]
pub struct RunningReconcile<'a> {
    metrics: &'a ReconcileMetrics,
    started: Instant,
}

impl RunningReconcile<'_> {
    /// The reconcile ended.
    pub fn finish(self, end: ReconcileResult) {
        let (metrics, took) = (self.metrics, self.started.elapsed().as_secs_f64());
        metrics.results.get_or_create(&vec![CONTROLLER_LABEL, ("result", end.as_str())]).inc();
        if end == ReconcileResult::Error {
            metrics.errors.get_or_create(&vec![CONTROLLER_LABEL]).inc();
        }
        metrics.duration.get_or_create(&vec![CONTROLLER_LABEL]).observe(took);
        metrics.work_duration.get_or_create(&QUEUE_LABELS.to_vec()).observe(took);
    }
}

impl Drop for RunningReconcile<'_> {
    fn drop(&mut self) {
        let mut began = self.metrics.active.started();
        if let Some(place) = began.iter().position(|other| *other == self.started) {
            began.swap_remove(place);
        }
    }
}

/// Start times of the running reconciles, by which a hanging one is found.
#[derive(Clone, Debug)]
struct ActiveReconciles {
    started: Arc<Mutex<Vec<Instant>>>,
    concurrency: u16,
}

impl ActiveReconciles {
    fn started(&self) -> MutexGuard<'_, Vec<Instant>> {
        lock(&self.started)
    }
}

impl Collector for ActiveReconciles {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ages: Vec<f64> = self.started().iter().map(|began| began.elapsed().as_secs_f64()).collect();
        let (sum, longest) = (ages.iter().sum(), ages.iter().copied().fold(0.0, f64::max));
        for (name, help, value) in [
            ("workqueue_unfinished_work", "How long all reconciles under way have taken so far", sum),
            ("workqueue_longest_running_processor", "How long the longest of them has taken so far", longest),
        ] {
            let gauge = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
            encode_gauge(gauge, &QUEUE_LABELS, &ConstGauge::new(value))?;
        }
        let active = i64::try_from(ages.len()).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("controller_runtime_active_workers", "Reconciles under way", active),
            (
                "controller_runtime_max_concurrent_reconciles",
                "Reconciles that may be under way at the same time",
                i64::from(self.concurrency),
            ),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            encode_gauge(gauge, &[CONTROLLER_LABEL], &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

fn encode_gauge(
    mut gauge: MetricEncoder<'_>,
    labels: &[(&str, &str)],
    value: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    let labels = labels.to_vec();
    value.encode(gauge.encode_family(&labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_have_the_names_of_controller_runtime() {
        let metrics = MetricsRegistry::default();
        let reconciles = ReconcileMetrics::register(&metrics, 4);
        reconciles.begin().finish(ReconcileResult::Success);
        reconciles.begin().finish(ReconcileResult::Error);
        reconciles.retry();
        drop(reconciles.begin());
        let _running = reconciles.begin();
        let text = metrics.text().unwrap();
        for line in [
            "controller_runtime_reconcile_total{controller=\"istio\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"istio\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"istio\",result=\"requeue\"} 0",
            "controller_runtime_reconcile_errors_total{controller=\"istio\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"istio\"} 2",
            "workqueue_work_duration_seconds_count{name=\"istio\",controller=\"istio\"} 2",
            "workqueue_retries_total{name=\"istio\",controller=\"istio\"} 1",
            "controller_runtime_active_workers{controller=\"istio\"} 1",
            "controller_runtime_max_concurrent_reconciles{controller=\"istio\"} 4",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in:\n{text}");
        }
        for name in ["workqueue_unfinished_work_seconds", "workqueue_longest_running_processor_seconds"] {
            let start = format!("{name}{{name=\"istio\",controller=\"istio\"}} ");
            let seconds = text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("none");
            assert!(seconds.parse::<f64>().is_ok_and(|seconds| seconds > 0.0), "{name}: {seconds}");
        }
    }
}
