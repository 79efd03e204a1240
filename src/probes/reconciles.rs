//! How reconciles end and how long they take, under the names that every operator built on controller-runtime has, so
//! that dashboards and alerts made for the Go operator go on.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::Metrics;

type Labels = Vec<(&'static str, &'static str)>;

const CONTROLLER: (&str, &str) = ("controller", "istio");
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
}

impl Reconciles {
    /// Registers the metrics; each shows from the start.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let time = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let reconciles = Self { ends: Family::default(), errors: Family::default(), time };
        for end in End::ALL {
            drop(reconciles.ends.get_or_create(&vec![CONTROLLER, ("result", end.as_str())]));
        }
        drop(reconciles.errors.get_or_create(&vec![CONTROLLER]));
        metrics.change(|registry| {
            let name = |suffix: &str| format!("controller_runtime_reconcile{suffix}");
            registry.register(name(""), "Reconciles by their result", reconciles.ends.clone());
            registry.register(
                name("_errors"),
                "Reconciles that ended by an error",
                reconciles.errors.clone(),
            );
            let help = "How long a reconcile took";
            registry.register_with_unit(name("_time"), help, Unit::Seconds, reconciles.time.clone());
        });
        reconciles
    }

    /// A reconcile ended.
    pub fn note(&self, end: End, took: Duration) {
        self.ends.get_or_create(&vec![CONTROLLER, ("result", end.as_str())]).inc();
        if end == End::Error {
            self.errors.get_or_create(&vec![CONTROLLER]).inc();
        }
        self.time.get_or_create(&vec![CONTROLLER]).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_have_the_names_that_dashboards_know() {
        let metrics = Metrics::default();
        let reconciles = Reconciles::register(&metrics);
        reconciles.note(End::Success, Duration::from_millis(7));
        reconciles.note(End::Error, Duration::from_secs(20));
        let text = metrics.text().unwrap();
        for line in [
            "controller_runtime_reconcile_total{controller=\"istio\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"istio\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"istio\",result=\"requeue\"} 0",
            "controller_runtime_reconcile_errors_total{controller=\"istio\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"istio\"} 2",
            "controller_runtime_reconcile_time_seconds_bucket{le=\"0.025\",controller=\"istio\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in:\n{text}");
        }
    }
}
