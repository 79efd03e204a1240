//! Events that follow the status: one whenever the reason of the Ready condition changes.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::ResourceEvent;
use crate::api::IstioStatus;
use crate::api::conditions::State;
use crate::text::sanitized;

const CONTROLLER: &str = "istio-manager";
/// Bytes of a note; the API server accepts 1024.
const MAX_NOTE_BYTES: usize = 1024;

/// Publishes Events; one instance, because the recorder aggregates repeats.
pub(super) struct StatusEventPublisher {
    recorder: Recorder,
}

impl StatusEventPublisher {
    pub(super) fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes what changed between two statuses.
    pub(super) async fn publish_change(
        &self,
        about: &ObjectReference,
        before: &IstioStatus,
        now: &IstioStatus,
    ) {
        if let Some(event) = event(before, now) {
            self.publish(about, &event).await;
        }
    }

    /// Publishes what happened besides.
    pub(super) async fn publish_event(&self, about: &ObjectReference, resource_event: ResourceEvent) {
        let event = Event {
            type_: if resource_event.warning { EventType::Warning } else { EventType::Normal },
            reason: resource_event.reason.to_owned(),
            note: Some(sanitized(&resource_event.note, MAX_NOTE_BYTES)),
            action: "Reconcile".to_owned(),
            secondary: resource_event.about,
        };
        self.publish(about, &event).await;
    }

    /// Publishes one Event; a refused one is logged, since it only informs.
    async fn publish(&self, about: &ObjectReference, event: &Event) {
        if let Err(error) = self.recorder.publish(event, about).await {
            tracing::warn!(%error, reason = event.reason, "cannot publish an Event");
        }
    }
}

/// The Event for a change of status, if it is worth one.
fn event(before: &IstioStatus, now: &IstioStatus) -> Option<Event> {
    let ready = |status: &IstioStatus| {
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        condition.map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    let (reason, message) = ready(now)?;
    let same_reason = ready(before).is_some_and(|(old, _)| old == reason);
    if same_reason && before.state == now.state {
        return None;
    }
    let type_ = match now.state {
        State::Warning | State::Error => EventType::Warning,
        State::Processing | State::Deleting | State::Ready => EventType::Normal,
    };
    let text = now.description.clone().filter(|text| !text.is_empty()).unwrap_or(message);
    Some(Event {
        type_,
        reason,
        note: Some(sanitized(&text, MAX_NOTE_BYTES)),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a_note_is_one_line_that_the_api_server_accepts() {
        let hostile = "denied\nby\u{1b}[0m ü policy ".repeat(1000);
        let condition = Condition {
            type_: "Ready".into(),
            status: "False".into(),
            reason: "ReconcileFailed".into(),
            message: hostile.clone(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        for description in [None, Some(hostile)] {
            let status = IstioStatus {
                state: State::Error,
                description,
                conditions: Some(vec![condition.clone()]),
                ..IstioStatus::default()
            };
            let note = event(&IstioStatus::default(), &status).unwrap().note.unwrap();
            assert!(note.len() <= 1024 && note.ends_with('…'), "{note}");
            assert!(!note.chars().any(crate::text::is_unsafe), "{note:?}");
        }
    }
}
