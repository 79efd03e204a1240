//! Events on workloads, which tell their owners what happened and why.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::dataplane::reasons::describe_reasons;
use crate::dataplane::schedule::stale_workload::{BlockReason, StaleWorkload};
use crate::text::sanitized;

/// The reporting component of the Events.
const REPORTER: &str = "istio-restarter";
/// Bytes of a note that the API server accepts.
const NOTE_LIMIT: usize = 1024;

/// Publishes Events. Failures are only logged.
pub struct WorkloadEventRecorder {
    recorder: Recorder,
}

impl WorkloadEventRecorder {
    /// Publishes as this process.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self {
            recorder: Recorder::new(
                client,
                Reporter { controller: REPORTER.to_owned(), instance: Some(instance) },
            ),
        }
    }

    /// The workload was restarted.
    pub async fn record_restarted(&self, stale: &StaleWorkload) {
        let note = format!("Restarted to update outdated sidecars: {}", describe_reasons(&stale.reasons));
        self.publish(stale, EventType::Normal, "RestartSuccess", note).await;
    }

    /// The workload could not be restarted.
    pub async fn record_failed(&self, stale: &StaleWorkload, why: &BlockReason) {
        let note = format!("Sidecars are outdated ({}): {why}", describe_reasons(&stale.reasons));
        self.publish(stale, EventType::Warning, "RestartFailed", note).await;
    }

    /// The workload is not restarted until somebody acts.
    pub async fn record_required(&self, stale: &StaleWorkload, why: &BlockReason) {
        let reason = if matches!(why, BlockReason::WindowInvalid(_)) {
            "RestartConfigInvalid"
        } else {
            "RestartRequired"
        };
        let note = format!("Sidecars are outdated ({}): {why}", describe_reasons(&stale.reasons));
        self.publish(stale, EventType::Warning, reason, note).await;
    }

    async fn publish(&self, stale: &StaleWorkload, type_: EventType, reason: &str, note: String) {
        let id = &stale.workload;
        let api_version =
            if id.group.is_empty() { id.version.clone() } else { format!("{}/{}", id.group, id.version) };
        let reference = ObjectReference {
            api_version: Some(api_version),
            kind: Some(id.kind.clone()),
            namespace: id.namespace.clone(),
            name: Some(id.name.clone()),
            uid: Some(stale.uid.to_string()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(sanitized(&note, NOTE_LIMIT)),
            action: "Restart".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::warn!(%error, workload = %id, reason, "failed to publish an Event");
        }
    }
}
