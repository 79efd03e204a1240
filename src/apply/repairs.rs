//! Tells people what was put back: an Event about the `Istio` resource, a metric, a line in the log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::object::ObjectId;
use crate::probes::Metrics;
use crate::status::{Announcement, Progress};

/// The metric of repairs, by kind, namespace and name of the object.
#[derive(Clone, Debug, Default)]
pub struct Repairs {
    counts: Family<Vec<(&'static str, String)>, Counter>,
}

impl Repairs {
    /// Registers the metric.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let repairs = Self::default();
        let help = "Objects that were changed, deleted or replaced by others and put back";
        metrics.change(|registry| registry.register("istio_manager_repairs", help, repairs.counts.clone()));
        repairs
    }

    /// An object was put back; `what` says what had happened to it.
    pub(super) fn note(&self, id: &ObjectId, what: &str, progress: &Progress) {
        tracing::info!(object = %id, what, "put back");
        let namespace = id.namespace.clone().unwrap_or_default();
        let labels = vec![("kind", id.kind.clone()), ("namespace", namespace), ("name", id.name.clone())];
        self.counts.get_or_create(&labels).inc();
        let note = format!("{id} is as configured again: {what}");
        progress.announce(announcement("DriftRepaired", note, id));
    }
}

/// Tells that taking an object over replaces its pods.
pub(super) fn tell_of_rollout(id: &ObjectId, field: &str, progress: &Progress) {
    tracing::info!(object = %id, field, "taking it over replaces its pods");
    let note = format!("{id} is taken over, which replaces its pods once: {field} differs");
    progress.announce(announcement("TakenOverWithRollout", note, id));
}

fn announcement(reason: &'static str, note: String, id: &ObjectId) -> Announcement {
    Announcement { warning: false, reason, note, about: Some(id.reference()) }
}
