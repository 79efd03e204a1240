//! Events on workloads, which tell their owners what happened and why.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;

use crate::dataplane::reasons::describe_reasons;
use crate::dataplane::schedule::stale_workload::{BlockReason, StaleWorkload};
use crate::messages::EventReason;
use crate::status::{EventContent, EventPublisher};

/// Controller that the Events name.
const CONTROLLER: &str = "istio-restarter";

/// Publishes Events about workloads.
pub struct WorkloadEventRecorder {
    publisher: EventPublisher,
}

impl WorkloadEventRecorder {
    /// Publishes as `instance`, the identity of this process.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { publisher: EventPublisher::new(client, CONTROLLER, instance, "Restart") }
    }

    /// The workload was restarted.
    pub async fn record_restarted(&self, stale: &StaleWorkload) {
        let note = format!("Restarted to update outdated sidecars: {}", describe_reasons(&stale.reasons));
        self.publish(stale, EventReason::RestartSuccess, note).await;
    }

    /// The workload could not be restarted.
    pub async fn record_failed(&self, stale: &StaleWorkload, why: &BlockReason) {
        let note = format!("Sidecars are outdated ({}): {why}", describe_reasons(&stale.reasons));
        self.publish(stale, EventReason::RestartFailed, note).await;
    }

    /// The owner of the workload has to restart it.
    pub async fn record_required(&self, stale: &StaleWorkload, why: &BlockReason) {
        let reason = if matches!(why, BlockReason::WindowInvalid(_)) {
            EventReason::RestartConfigInvalid
        } else {
            EventReason::RestartRequired
        };
        let note = format!("Sidecars are outdated ({}): {why}", describe_reasons(&stale.reasons));
        self.publish(stale, reason, note).await;
    }

    async fn publish(&self, stale: &StaleWorkload, reason: EventReason, note: String) {
        let reference = ObjectReference { uid: Some(stale.uid.to_string()), ..stale.workload.reference() };
        self.publisher.publish(&reference, EventContent::new(reason, note)).await;
    }
}
