//! Events that follow the status: one whenever the reason of the Ready condition changes.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::Announcement;
use crate::api::IstioStatus;
use crate::api::conditions::State;
use crate::text::sanitized;

const CONTROLLER: &str = "istio-manager";
/// Bytes of a note; the API server takes 1024.
const NOTE_LIMIT: usize = 1000;

/// Publishes Events; one instance, because the recorder aggregates repeats.
pub(super) struct Announcer {
    recorder: Recorder,
}

impl Announcer {
    pub(super) fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes what changed between two statuses.
    pub(super) async fn announce(&self, about: &ObjectReference, before: &IstioStatus, now: &IstioStatus) {
        if let Some(event) = event(before, now) {
            self.publish(about, &event).await;
        }
    }

    /// Publishes what happened besides.
    pub(super) async fn say(&self, about: &ObjectReference, said: Announcement) {
        let event = Event {
            type_: if said.warning { EventType::Warning } else { EventType::Normal },
            reason: said.reason.to_owned(),
            note: Some(sanitized(&said.note, NOTE_LIMIT)),
            action: "Reconcile".to_owned(),
            secondary: said.about,
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
        note: Some(sanitized(&text, NOTE_LIMIT)),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}
