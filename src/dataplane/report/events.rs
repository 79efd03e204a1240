//! Events on workloads, so that their owners see what happened to them and why.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::dataplane::reasons::describe_reasons;
use crate::dataplane::schedule::stale_workload::{BlockReason, StaleWorkload};
use crate::text::sanitized;

/// The component that the Events name.
const REPORTER: &str = "istio-restarter";
/// Bytes of a note; the API server accepts 1024.
const NOTE_LIMIT: usize = 1024;

/// Publishes Events. One that is refused is logged, since it only informs.
pub struct WorkloadEventRecorder {
    recorder: Recorder,
}

impl WorkloadEventRecorder {
    /// Publishes in the name of this process.
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
        let note =
            format!("Restarted to bring its sidecars up to date: {}", describe_reasons(&stale.reasons));
        self.publish(stale, EventType::Normal, "RestartSuccess", note).await;
    }

    /// The workload could not be restarted.
    pub async fn record_failed(&self, stale: &StaleWorkload, why: &BlockReason) {
        let note = format!("Sidecars are outdated ({}), but {why}", describe_reasons(&stale.reasons));
        self.publish(stale, EventType::Warning, "RestartFailed", note).await;
    }

    /// The workload has to be restarted by somebody else.
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
            uid: Some(stale.uid.clone()),
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
            tracing::warn!(%error, workload = %id, reason, "cannot publish an Event");
        }
    }
}
