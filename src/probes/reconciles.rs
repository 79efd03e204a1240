//! How reconciles end and how long they take, under the names that every operator built on controller-runtime has, so
//! that dashboards and alerts made for the Go operator go on.
//!
//! Not there is what would have to be made up: the queue of this operator does not tell its depth.

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

use super::Metrics;

use crate::lock::lock;

type Labels = Vec<(&'static str, &'static str)>;

const CONTROLLER: (&str, &str) = ("controller", "istio");
const QUEUE: [(&str, &str); 2] = [("name", "istio"), CONTROLLER];
/// Upper bounds in seconds: a reconcile with nothing to do takes milliseconds, an upgrade minutes.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0];

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With an outcome, good or bad.
    Success,
    /// Before its end, because there is something newer to reconcile.
    Requeue,
    /// By an error, to be tried again.
    Error,
}

impl End {
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
pub struct Reconciles {
    ends: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    time: Family<Labels, Histogram>,
    work: Family<Labels, Histogram>,
    retries: Family<Labels, Counter>,
    under_way: UnderWay,
}

impl Reconciles {
    /// Registers the metrics; each shows from the start. `concurrency` reconciles may run at the same time.
    #[must_use]
    pub fn register(metrics: &Metrics, concurrency: u16) -> Self {
        let histogram = || Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let reconciles = Self {
            ends: Family::default(),
            errors: Family::default(),
            time: histogram(),
            work: histogram(),
            retries: Family::default(),
            under_way: UnderWay { began: Arc::default(), concurrency },
        };
        for end in End::ALL {
            drop(reconciles.ends.get_or_create(&vec![CONTROLLER, ("result", end.as_str())]));
        }
        drop(reconciles.errors.get_or_create(&vec![CONTROLLER]));
        drop(reconciles.retries.get_or_create(&QUEUE.to_vec()));
        metrics.change(|registry| {
            let name = |suffix: &str| format!("controller_runtime_reconcile{suffix}");
            registry.register(name(""), "Reconciles by their result", reconciles.ends.clone());
            let help = "Reconciles that ended by an error";
            registry.register(name("_errors"), help, reconciles.errors.clone());
            let help = "How long a reconcile took";
            registry.register_with_unit(name("_time"), help, Unit::Seconds, reconciles.time.clone());
            let (name, help) = ("workqueue_work_duration", "How long the work on an item of the queue took");
            registry.register_with_unit(name, help, Unit::Seconds, reconciles.work.clone());
            let (name, help) = ("workqueue_retries", "Reconciles that were put off after a failure");
            registry.register(name, help, reconciles.retries.clone());
            registry.register_collector(Box::new(reconciles.under_way.clone()));
        });
        reconciles
    }

    /// A reconcile begins.
    pub fn begin(&self) -> Running<'_> {
        let began = Instant::now();
        self.under_way.began().push(began);
        Running { reconciles: self, began }
    }

    /// A reconcile is tried again later because it did not succeed.
    pub fn retry(&self) {
        self.retries.get_or_create(&QUEUE.to_vec()).inc();
    }
}

/// A reconcile that is under way. One that is dropped without an end was cut off and is not counted.
#[derive(Debug)]
#[must_use = "it is under way until it ends"]
pub struct Running<'a> {
    reconciles: &'a Reconciles,
    began: Instant,
}

impl Running<'_> {
    /// The reconcile ended.
    pub fn end(self, end: End) {
        let (metrics, took) = (self.reconciles, self.began.elapsed().as_secs_f64());
        metrics.ends.get_or_create(&vec![CONTROLLER, ("result", end.as_str())]).inc();
        if end == End::Error {
            metrics.errors.get_or_create(&vec![CONTROLLER]).inc();
        }
        metrics.time.get_or_create(&vec![CONTROLLER]).observe(took);
        metrics.work.get_or_create(&QUEUE.to_vec()).observe(took);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut began = self.reconciles.under_way.began();
        if let Some(place) = began.iter().position(|other| *other == self.began) {
            began.swap_remove(place);
        }
    }
}

/// When the reconciles began that are under way; a long one is what hangs.
#[derive(Clone, Debug)]
struct UnderWay {
    began: Arc<Mutex<Vec<Instant>>>,
    concurrency: u16,
}

impl UnderWay {
    fn began(&self) -> MutexGuard<'_, Vec<Instant>> {
        lock(&self.began)
    }
}

impl Collector for UnderWay {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ages: Vec<f64> = self.began().iter().map(|began| began.elapsed().as_secs_f64()).collect();
        let (sum, longest) = (ages.iter().sum(), ages.iter().copied().fold(0.0, f64::max));
        for (name, help, value) in [
            ("workqueue_unfinished_work", "How long all reconciles under way have taken so far", sum),
            ("workqueue_longest_running_processor", "How long the longest of them has taken so far", longest),
        ] {
            let gauge = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
            gauge_of(gauge, &QUEUE, &ConstGauge::new(value))?;
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
            gauge_of(gauge, &[CONTROLLER], &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

fn gauge_of(
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
    fn the_metrics_have_the_names_that_dashboards_know() {
        let metrics = Metrics::default();
        let reconciles = Reconciles::register(&metrics, 4);
        reconciles.begin().end(End::Success);
        reconciles.begin().end(End::Error);
        reconciles.retry();
        drop(reconciles.begin());
        let _under_way = reconciles.begin();
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
