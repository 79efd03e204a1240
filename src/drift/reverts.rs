//! Reports reverted drift: an Event on the `Istio` resource, a metric and a log line.
//!
//! It reports only; what is reverted is decided elsewhere.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::kubernetes::object::ObjectId;
use crate::messages::{self, EventReason};
use crate::server::MetricsRegistry;
use crate::status::{Progress, ResourceEvent};

/// The metric of reverts, by kind, namespace and name of the object.
#[derive(Clone, Debug, Default)]
pub struct RevertMetrics {
    counts: Family<Vec<(&'static str, String)>, Counter>,
}

impl RevertMetrics {
    /// Registers the metric.
    #[must_use]
    pub fn new(metrics: &MetricsRegistry) -> Self {
        let reverts = Self::default();
        let help = "Objects that others changed, deleted or replaced, and that were reverted";
        metrics.with_registry(|registry| {
            registry.register("istio_manager_repairs", help, reverts.counts.clone());
        });
        reverts
    }

    /// An object was reverted; `what` says what had happened to it.
    pub(crate) fn record(&self, id: &ObjectId, what: &str, progress: &Progress) {
        tracing::info!(object = %id, change = what, "reverted drift");
        let namespace = id.namespace.clone().unwrap_or_default();
        let labels = vec![("kind", id.kind.clone()), ("namespace", namespace), ("name", id.name.clone())];
        self.counts.get_or_create(&labels).inc();
        progress.emit_event(event(EventReason::DriftRepaired, messages::drift_reverted(id, what), id));
    }
}

/// Reports that adopting a workload replaces its pods.
pub(crate) fn report_adoption_rollout(id: &ObjectId, field: &str, progress: &Progress) {
    tracing::info!(object = %id, field, "adopted an object whose pods restart once");
    let note = messages::adopted_with_rollout(id, field);
    progress.emit_event(event(EventReason::AdoptedWithRollout, note, id));
}

fn event(reason: EventReason, note: String, id: &ObjectId) -> ResourceEvent {
    ResourceEvent { reason, note, about: Some(id.reference()) }
}
