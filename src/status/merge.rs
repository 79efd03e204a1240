//! How reports become a status.
//!
//! Pure; the time is an argument.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, Time};

use super::{Report, Subject};
use crate::api::IstioStatus;
use crate::api::conditions::{Reason, State};

/// Longest message of a condition that the API server accepts.
const MESSAGE_LIMIT: usize = 32_768;

/// A condition to be set; its type and status follow from the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Why the condition has its status.
    pub reason: Reason,
    /// More than the reason's fixed message, if more is known.
    pub message: Option<String>,
}

/// How a reconcile ended, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Overall state.
    pub state: State,
    /// What the state is about; empty when all is well.
    pub description: String,
    /// Conditions that are known now; those of other types stay.
    pub conditions: Vec<Condition>,
}

/// The status after `report`, given the one that was written last.
///
/// A verdict on the present generation is not taken back by the next attempt: a resource that is Ready does not become
/// Processing because it was looked at, and an Error stays visible while it is tried again.
pub(super) fn merge(written: &IstioStatus, subject: &Subject, report: &Report, now: &Time) -> IstioStatus {
    match report {
        Report::Progress(text) => progress(written, subject, text, now),
        Report::Announcement(_) | Report::Flush(_) => written.clone(),
        Report::Settled(settled) => {
            let mut status = written.clone();
            status.state = settled.state;
            status.description = Some(settled.description.clone()).filter(|text| !text.is_empty());
            for condition in &settled.conditions {
                set(&mut status, condition, subject.generation, now);
            }
            status.observed_generation = Some(subject.generation);
            status
        }
    }
}

fn progress(written: &IstioStatus, subject: &Subject, text: &str, now: &Time) -> IstioStatus {
    let state = if subject.deleting { State::Deleting } else { State::Processing };
    let judged = !subject.deleting
        && written.observed_generation == Some(subject.generation)
        && written.state != state;
    if judged && written.conditions.is_some() {
        return written.clone();
    }
    let mut status = written.clone();
    status.state = state;
    status.description = Some(text.to_owned());
    set(&mut status, &Condition { reason: Reason::ReconcileUnknown, message: None }, subject.generation, now);
    status.observed_generation = Some(subject.generation);
    status
}

/// Sets one condition; its transition time moves only with its status.
fn set(status: &mut IstioStatus, condition: &Condition, generation: i64, now: &Time) {
    let reason = condition.reason;
    let type_ = reason.condition_type().as_str();
    let conditions = status.conditions.get_or_insert_default();
    let position = conditions.iter().position(|known| known.type_ == type_);
    let since = position
        .and_then(|at| conditions.get(at))
        .filter(|known| known.status == reason.status().as_str())
        .map_or_else(|| now.clone(), |known| known.last_transition_time.clone());
    let message = condition.message.as_deref().unwrap_or_else(|| reason.message());
    let new = ApiCondition {
        type_: type_.to_owned(),
        status: reason.status().as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.chars().take(MESSAGE_LIMIT).collect(),
        last_transition_time: since,
        observed_generation: Some(generation),
    };
    match position.and_then(|at| conditions.get_mut(at)) {
        Some(known) => *known = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn subject(generation: i64) -> Subject {
        Subject {
            reference: k8s_openapi::api::core::v1::ObjectReference::default(),
            uid: "u".into(),
            generation,
            deleting: false,
            status: IstioStatus::default(),
        }
    }

    fn settled(state: State, reason: Reason, description: &str) -> Report {
        Report::Settled(Settled {
            state,
            description: description.into(),
            conditions: vec![Condition { reason, message: None }],
        })
    }

    fn ready() -> Report {
        settled(State::Ready, Reason::ReconcileSucceeded, "")
    }

    fn say(text: &str) -> Report {
        Report::Progress(text.into())
    }

    fn ready_condition(status: &IstioStatus) -> &ApiCondition {
        status.conditions.as_ref().and_then(|all| all.iter().find(|c| c.type_ == "Ready")).unwrap()
    }

    #[test]
    fn a_new_resource_shows_what_is_being_done() {
        let status = merge(&IstioStatus::default(), &subject(1), &say("istiod: applying"), &at(1));
        assert_eq!(
            (status.state, status.description.as_deref()),
            (State::Processing, Some("istiod: applying"))
        );
        assert_eq!(ready_condition(&status).status, "Unknown");
        assert_eq!(status.observed_generation, Some(1));
    }

    #[test]
    fn a_ready_resource_does_not_become_processing_by_being_looked_at() {
        let written = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        assert_eq!(merge(&written, &subject(1), &say("applying"), &at(2)), written);
    }

    #[test]
    fn an_error_stays_visible_while_it_is_tried_again() {
        let error = settled(State::Error, Reason::IstioInstallUninstallFailed, "istiod is not ready");
        let written = merge(&IstioStatus::default(), &subject(1), &error, &at(1));
        assert_eq!(merge(&written, &subject(1), &say("applying"), &at(2)), written);
    }

    #[test]
    fn a_changed_resource_is_processing_until_it_is_judged_anew() {
        let written = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        let status = merge(&written, &subject(2), &say("applying"), &at(2));
        assert_eq!((status.state, status.observed_generation), (State::Processing, Some(2)));
        let status = merge(&status, &subject(2), &ready(), &at(3));
        assert_eq!((status.state, status.description), (State::Ready, None));
    }

    #[test]
    fn a_deleted_resource_shows_its_removal() {
        let written = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        let deleting = Subject { deleting: true, ..subject(2) };
        assert_eq!(merge(&written, &deleting, &say("removing"), &at(2)).state, State::Deleting);
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut status = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        status = merge(&status, &subject(1), &ready(), &at(2));
        assert_eq!(ready_condition(&status).last_transition_time, at(1));
        let failed = settled(State::Error, Reason::ReconcileFailed, "x");
        status = merge(&status, &subject(1), &failed, &at(3));
        assert_eq!(ready_condition(&status).last_transition_time, at(3));
        let other = settled(State::Warning, Reason::ValidationFailed, "y");
        status = merge(&status, &subject(1), &other, &at(4));
        assert_eq!(
            (&ready_condition(&status).last_transition_time, ready_condition(&status).reason.as_str()),
            (&at(3), "ValidationFailed")
        );
    }

    #[test]
    fn conditions_of_other_types_stay() {
        let found = settled(State::Warning, Reason::IngressTargetingUserResourceFound, "x");
        let status = merge(&IstioStatus::default(), &subject(1), &found, &at(1));
        let status = merge(&status, &subject(1), &ready(), &at(2));
        let types: Vec<&str> = status.conditions.iter().flatten().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, ["IngressTargetingUserResourceFound", "Ready"]);
    }

    #[test]
    fn a_repeated_report_changes_nothing() {
        for report in [ready(), say("x"), settled(State::Error, Reason::ReconcileFailed, "x")] {
            let once = merge(&IstioStatus::default(), &subject(1), &report, &at(1));
            assert_eq!(merge(&once, &subject(1), &report, &at(2)), once);
        }
    }
}
