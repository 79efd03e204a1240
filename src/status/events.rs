//! Which change of a status is worth an Event: a change of the state, or of the condition that explains it. Pure.

use kube::runtime::events::EventType;

use super::merge::data_plane_state;
use super::publisher::EventContent;
use crate::api::IstioStatus;
use crate::api::conditions::{ConditionType, Reason, State};

/// Reason of an Event about a complete installation that needs attention, which no condition has a reason for.
const RECONCILED_WITH_WARNINGS: &str = "ReconciledWithWarnings";

/// The Event for a change of status, if it is worth one.
pub(super) fn event_of_change(before: &IstioStatus, now: &IstioStatus) -> Option<EventContent> {
    let (reason, message) = explanation(now)?;
    let is_same_reason = explanation(before).is_some_and(|(old, _)| old == reason);
    if is_same_reason && before.state == now.state {
        return None;
    }
    let type_ = if is_problem(now.state) { EventType::Warning } else { EventType::Normal };
    let note = now.description.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| message.to_owned());
    Some(EventContent { type_, reason: reason.to_owned(), note, secondary: None })
}

/// Reason and message that explain the state: those of the Ready condition, unless the state is a problem although Ready
/// is true. A Warning must not say `ReconcileSucceeded`.
fn explanation(status: &IstioStatus) -> Option<(&str, &str)> {
    let find = |type_: ConditionType| {
        let conditions = status.conditions.iter().flatten();
        conditions.into_iter().find(|condition| condition.type_ == type_.as_str())
    };
    let ready = find(ConditionType::Ready)?;
    if !is_problem(status.state) || ready.reason != Reason::ReconcileSucceeded.as_str() {
        return Some((&ready.reason, &ready.message));
    }
    let sidecars = find(ConditionType::ProxySidecarRestartSucceeded)
        .filter(|condition| data_plane_state(&condition.reason) == status.state);
    Some(match sidecars {
        Some(condition) => (&condition.reason, &condition.message),
        None => (RECONCILED_WITH_WARNINGS, &ready.message),
    })
}

const fn is_problem(state: State) -> bool {
    match state {
        State::Warning | State::Error => true,
        State::Processing | State::Deleting | State::Ready => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(state: State, reasons: &[Reason]) -> IstioStatus {
        let condition = |reason: &Reason| Condition {
            type_: reason.condition_type().as_str().into(),
            status: reason.status().as_str().into(),
            reason: reason.as_str().into(),
            message: format!("message of {}", reason.as_str()),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        let conditions = Some(reasons.iter().map(condition).collect());
        IstioStatus { state, conditions, ..IstioStatus::default() }
    }

    #[test]
    fn the_reason_of_an_event_fits_its_type() {
        use Reason::{ProxySidecarManualRestartRequired as Manual, ProxySidecarRestartFailed as Failed};
        for (state, reasons, type_, reason) in [
            (State::Ready, vec![Reason::ReconcileSucceeded], EventType::Normal, "ReconcileSucceeded"),
            (State::Error, vec![Reason::ReconcileFailed, Manual], EventType::Warning, "ReconcileFailed"),
            (
                State::Warning,
                vec![Reason::ReconcileSucceeded, Manual],
                EventType::Warning,
                "ProxySidecarManualRestartRequired",
            ),
            (
                State::Error,
                vec![Reason::ReconcileSucceeded, Failed],
                EventType::Warning,
                "ProxySidecarRestartFailed",
            ),
            (State::Warning, vec![Reason::ReconcileSucceeded], EventType::Warning, "ReconciledWithWarnings"),
            (State::Warning, vec![Reason::OlderCRExists], EventType::Warning, "OlderCRExists"),
        ] {
            let event = event_of_change(&IstioStatus::default(), &status(state, &reasons)).unwrap();
            assert_eq!((event.type_, event.reason.as_str()), (type_, reason), "{state:?} {reasons:?}");
        }
    }

    #[test]
    fn a_status_with_the_same_state_and_reason_has_no_event() {
        let ready = status(State::Ready, &[Reason::ReconcileSucceeded]);
        assert_eq!(event_of_change(&ready, &ready), None);
        let warning = status(State::Warning, &[Reason::ReconcileSucceeded]);
        assert!(event_of_change(&ready, &warning).is_some());
        assert!(event_of_change(&warning, &ready).is_some());
        assert_eq!(event_of_change(&ready, &IstioStatus::default()), None);
    }

    #[test]
    fn the_description_is_the_note_where_there_is_one() {
        let mut now = status(State::Error, &[Reason::ReconcileFailed]);
        let note = |now: &IstioStatus| event_of_change(&IstioStatus::default(), now).unwrap().note;
        assert_eq!(note(&now), "message of ReconcileFailed");
        now.description = Some("the description".to_owned());
        assert_eq!(note(&now), "the description");
    }
}
