//! Publishes Events, in the form that the API server accepts. An Event only informs, so that a refused one is logged and
//! never an error.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::messages::EventReason;
use crate::text::sanitized;

/// Maximum size of a note, in bytes. The API server accepts 1024 (`NoteLengthLimit` of its validation of Events).
const MAX_NOTE_BYTES: usize = 1024;

/// Publishes the Events of one controller. One instance for all of them, because the recorder aggregates repeated Events.
pub(crate) struct EventPublisher {
    recorder: Recorder,
    action: &'static str,
}

/// An Event without what all Events of a controller have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventContent {
    /// Whether someone has to act.
    pub(crate) type_: EventType,
    /// Machine-readable reason.
    pub(crate) reason: String,
    /// The text; shortened to what the API server accepts.
    pub(crate) note: String,
    /// Another object that the Event is about.
    pub(crate) secondary: Option<ObjectReference>,
}

impl EventContent {
    /// An Event whose type follows from its reason.
    pub(crate) fn new(reason: EventReason, note: String) -> Self {
        Self { type_: reason.event_type(), reason: reason.as_str().to_owned(), note, secondary: None }
    }
}

impl EventPublisher {
    /// A publisher for `controller`, whose replicas have different `instance`s. `action` is what the controller does.
    pub(crate) fn new(
        client: Client,
        controller: &'static str,
        instance: String,
        action: &'static str,
    ) -> Self {
        let reporter = Reporter { controller: controller.to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter), action }
    }

    /// Publishes one Event about an object.
    pub(crate) async fn publish(&self, about: &ObjectReference, content: EventContent) {
        let event = event(content, self.action);
        if let Err(error) = self.recorder.publish(&event, about).await {
            let object = about.name.as_deref().unwrap_or_default();
            tracing::warn!(%error, reason = event.reason, object, "failed to publish an Event");
        }
    }
}

fn event(content: EventContent, action: &str) -> Event {
    Event {
        type_: content.type_,
        reason: content.reason,
        note: Some(sanitized(&content.note, MAX_NOTE_BYTES)),
        action: action.to_owned(),
        secondary: content.secondary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_one_line_of_at_most_1024_bytes() {
        for note in ["denied\nby\u{1b}[0m ü policy ".repeat(1000), "ü".repeat(513), "🚀".repeat(300)] {
            let note = event(EventContent::new(EventReason::RestartFailed, note), "Restart").note.unwrap();
            assert!(note.len() <= 1024 && note.ends_with('…'), "{note}");
            assert!(!note.chars().any(crate::text::is_unsafe), "{note:?}");
        }
        let short = event(EventContent::new(EventReason::RestartFailed, "ü".repeat(512)), "Restart");
        assert_eq!(short.note, Some("ü".repeat(512)));
    }
}
