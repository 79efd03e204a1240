//! Merges reports into a status. Pure: the time is an argument.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, Time};

use super::{ReportedResource, StatusReport};
use crate::api::IstioStatus;
use crate::api::conditions::{ConditionType, Reason, State};
use crate::api::v1alpha2::DataPlaneStatus;
use crate::text::sanitized;

/// Maximum size of a condition message and of the description, in bytes. The API server accepts 32768 characters of a
/// message. The longest rejection is shorter than this.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// A condition to be set; its type and status follow from the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// Why the condition has its status.
    pub reason: Reason,
    /// A more specific message than the default one of the reason.
    pub message: Option<String>,
}

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlaneReport {
    /// Overall state.
    pub state: State,
    /// The cause of the state; empty if everything is as configured.
    pub description: String,
    /// Conditions to set. Conditions of other types stay.
    pub conditions: Vec<ConditionUpdate>,
}

/// The state of the sidecars. The overall state follows from the condition.
#[derive(Clone, Debug, PartialEq)]
pub struct DataPlaneReport {
    /// Whether every sidecar is up to date.
    pub condition: ConditionUpdate,
    /// Counts, and blocked workloads.
    pub status: DataPlaneStatus,
}

/// The status after `report`, given the one that was written last.
///
/// The result for the current generation is not replaced by the progress of the next attempt: a resource that is Ready does
/// not become Processing because of a periodic reconcile, and an Error stays visible during a retry.
pub(super) fn merge(
    written: &IstioStatus,
    subject: &ReportedResource,
    report: &StatusReport,
    now: &Time,
) -> IstioStatus {
    match report {
        StatusReport::Progress(text) => progress(written, subject, text, now),
        StatusReport::Event(_) | StatusReport::Flush(_) => written.clone(),
        StatusReport::DataPlane(part) => merge_data_plane(written, subject, None, part, now),
        StatusReport::Finished(control_plane) => {
            let mut status = written.clone();
            let (state, description) = worst(control_plane.state, &control_plane.description, &status);
            status.state = state;
            status.description = sanitized_description(&description);
            for condition in &control_plane.conditions {
                set_condition(&mut status, condition, subject.generation, now);
            }
            status.observed_generation = Some(subject.generation);
            status
        }
    }
}

/// The status with a new part of the data plane. `control_plane` is how the last reconcile of the control plane ended.
///
/// The state and the description are those of the control plane during a reconcile and during deletion.
pub(super) fn merge_data_plane(
    written: &IstioStatus,
    subject: &ReportedResource,
    control_plane: Option<&ControlPlaneReport>,
    part: &DataPlaneReport,
    now: &Time,
) -> IstioStatus {
    let mut status = written.clone();
    set_condition(&mut status, &part.condition, subject.generation, now);
    status.data_plane = Some(part.status.clone());
    let control_plane = control_plane
        .filter(|_| !subject.deleting && written.observed_generation == Some(subject.generation));
    if let Some(control_plane) = control_plane {
        let (state, description) = worst(control_plane.state, &control_plane.description, &status);
        status.state = state;
        status.description = sanitized_description(&description);
    }
    status
}

/// The worse state of control plane and data plane, with its description.
fn worst(state: State, description: &str, status: &IstioStatus) -> (State, String) {
    let type_ = ConditionType::ProxySidecarRestartSucceeded.as_str();
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    let data_plane = condition.map_or(State::Ready, |condition| data_plane_state(&condition.reason));
    match condition {
        // The sidecars determine the state only while the control plane is Ready.
        Some(condition) if state == State::Ready && data_plane > state => {
            (data_plane, condition.message.clone())
        }
        _ => (state, description.to_owned()),
    }
}

/// The state that follows from the reason of the sidecar condition.
pub(super) fn data_plane_state(reason: &str) -> State {
    match reason {
        "ProxySidecarManualRestartRequired" => State::Warning,
        "ProxySidecarRestartFailed" => State::Error,
        _ => State::Ready,
    }
}

fn progress(written: &IstioStatus, subject: &ReportedResource, text: &str, now: &Time) -> IstioStatus {
    let state = if subject.deleting { State::Deleting } else { State::Processing };
    let is_finished = !subject.deleting
        && written.observed_generation == Some(subject.generation)
        && written.state != state;
    if is_finished && written.conditions.is_some() {
        return written.clone();
    }
    let mut status = written.clone();
    status.state = state;
    status.description = sanitized_description(text);
    set_condition(
        &mut status,
        &ConditionUpdate { reason: Reason::ReconcileUnknown, message: None },
        subject.generation,
        now,
    );
    status.observed_generation = Some(subject.generation);
    status
}

/// A description that is safe to show; `None` if it is empty.
fn sanitized_description(text: &str) -> Option<String> {
    Some(sanitized(text, MAX_MESSAGE_BYTES)).filter(|text| !text.is_empty())
}

/// Sets one condition; its transition time moves only with its status.
fn set_condition(status: &mut IstioStatus, condition: &ConditionUpdate, generation: i64, now: &Time) {
    let reason = condition.reason;
    let type_ = reason.condition_type().as_str();
    let conditions = status.conditions.get_or_insert_default();
    let position = conditions.iter().position(|existing| existing.type_ == type_);
    let since = position
        .and_then(|at| conditions.get(at))
        .filter(|existing| existing.status == reason.status().as_str())
        .map_or_else(|| now.clone(), |existing| existing.last_transition_time.clone());
    let message = condition.message.as_deref().unwrap_or_else(|| reason.message());
    let new = ApiCondition {
        type_: type_.to_owned(),
        status: reason.status().as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: sanitized(message, MAX_MESSAGE_BYTES),
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

    fn subject(generation: i64) -> ReportedResource {
        ReportedResource {
            reference: k8s_openapi::api::core::v1::ObjectReference::default(),
            uid: "u".into(),
            generation,
            deleting: false,
            status: IstioStatus::default(),
        }
    }

    fn finished(state: State, reason: Reason, description: &str) -> StatusReport {
        StatusReport::Finished(ControlPlaneReport {
            state,
            description: description.into(),
            conditions: vec![ConditionUpdate { reason, message: None }],
        })
    }

    fn ready() -> StatusReport {
        finished(State::Ready, Reason::ReconcileSucceeded, "")
    }

    fn progress_report(text: &str) -> StatusReport {
        StatusReport::Progress(text.into())
    }

    fn ready_condition(status: &IstioStatus) -> &ApiCondition {
        status.conditions.as_ref().and_then(|all| all.iter().find(|c| c.type_ == "Ready")).unwrap()
    }

    #[test]
    fn texts_in_a_status_are_one_line_and_bounded() {
        let hostile = "denied\nby\u{1b}[0m ü policy ".repeat(100_000);
        let condition = ConditionUpdate { reason: Reason::ReconcileFailed, message: Some(hostile.clone()) };
        let failed = StatusReport::Finished(ControlPlaneReport {
            state: State::Error,
            description: hostile.clone(),
            conditions: vec![condition],
        });
        for report in [failed, progress_report(&hostile)] {
            let status = merge(&IstioStatus::default(), &subject(1), &report, &at(1));
            let shown = [status.description.clone().unwrap(), ready_condition(&status).message.clone()];
            for text in shown {
                assert!(text.len() <= MAX_MESSAGE_BYTES, "{}", text.len());
                assert!(!text.chars().any(crate::text::is_unsafe), "{text:?}");
            }
        }
    }

    #[test]
    fn a_new_resource_shows_the_current_progress() {
        let status =
            merge(&IstioStatus::default(), &subject(1), &progress_report("istiod: applying"), &at(1));
        assert_eq!(
            (status.state, status.description.as_deref()),
            (State::Processing, Some("istiod: applying"))
        );
        assert_eq!(ready_condition(&status).status, "Unknown");
        assert_eq!(status.observed_generation, Some(1));
    }

    #[test]
    fn a_ready_resource_stays_ready_while_it_is_reconciled_again() {
        let written = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        assert_eq!(merge(&written, &subject(1), &progress_report("applying"), &at(2)), written);
    }

    #[test]
    fn an_error_stays_visible_during_a_retry() {
        let error = finished(State::Error, Reason::IstioInstallUninstallFailed, "istiod is not ready");
        let written = merge(&IstioStatus::default(), &subject(1), &error, &at(1));
        assert_eq!(merge(&written, &subject(1), &progress_report("applying"), &at(2)), written);
    }

    #[test]
    fn a_changed_resource_is_processing_until_its_reconcile_finished() {
        let written = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        let status = merge(&written, &subject(2), &progress_report("applying"), &at(2));
        assert_eq!((status.state, status.observed_generation), (State::Processing, Some(2)));
        let status = merge(&status, &subject(2), &ready(), &at(3));
        assert_eq!((status.state, status.description), (State::Ready, None));
    }

    #[test]
    fn a_deleted_resource_shows_its_removal() {
        let written = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        let deleting = ReportedResource { deleting: true, ..subject(2) };
        assert_eq!(merge(&written, &deleting, &progress_report("removing"), &at(2)).state, State::Deleting);
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut status = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        status = merge(&status, &subject(1), &ready(), &at(2));
        assert_eq!(ready_condition(&status).last_transition_time, at(1));
        let failed = finished(State::Error, Reason::ReconcileFailed, "x");
        status = merge(&status, &subject(1), &failed, &at(3));
        assert_eq!(ready_condition(&status).last_transition_time, at(3));
        let other = finished(State::Warning, Reason::ValidationFailed, "y");
        status = merge(&status, &subject(1), &other, &at(4));
        assert_eq!(
            (&ready_condition(&status).last_transition_time, ready_condition(&status).reason.as_str()),
            (&at(3), "ValidationFailed")
        );
    }

    #[test]
    fn conditions_of_other_types_stay() {
        let found = finished(State::Warning, Reason::IngressTargetingUserResourceFound, "x");
        let status = merge(&IstioStatus::default(), &subject(1), &found, &at(1));
        let status = merge(&status, &subject(1), &ready(), &at(2));
        let types: Vec<&str> = status.conditions.iter().flatten().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, ["IngressTargetingUserResourceFound", "Ready"]);
    }

    fn sidecars(reason: Reason, text: &str) -> DataPlaneReport {
        DataPlaneReport {
            condition: ConditionUpdate { reason, message: Some(text.into()) },
            status: DataPlaneStatus { total: 7, ..DataPlaneStatus::default() },
        }
    }

    #[test]
    fn sidecars_make_a_ready_resource_worse_and_never_better() {
        let ready_report =
            ControlPlaneReport { state: State::Ready, description: String::new(), conditions: vec![] };
        let failed =
            ControlPlaneReport { state: State::Error, description: "broken".into(), conditions: vec![] };
        for (control_plane, reason, state, description) in [
            (&ready_report, Reason::ProxySidecarRestartSucceeded, State::Ready, None),
            (&ready_report, Reason::ProxySidecarRestartPartiallySucceeded, State::Ready, None),
            (
                &ready_report,
                Reason::ProxySidecarManualRestartRequired,
                State::Warning,
                Some("of the sidecars"),
            ),
            (&ready_report, Reason::ProxySidecarRestartFailed, State::Error, Some("of the sidecars")),
            (&failed, Reason::ProxySidecarManualRestartRequired, State::Error, Some("broken")),
        ] {
            let written = merge(
                &IstioStatus::default(),
                &subject(1),
                &StatusReport::Finished(control_plane.clone()),
                &at(1),
            );
            let part = sidecars(reason, "of the sidecars");
            let status = merge_data_plane(&written, &subject(1), Some(control_plane), &part, &at(2));
            assert_eq!((status.state, status.description.as_deref()), (state, description), "{reason:?}");
            assert_eq!(status.data_plane, Some(part.status.clone()));
            let again = merge(&status, &subject(1), &StatusReport::Finished(control_plane.clone()), &at(3));
            assert_eq!((again.state, again.description.as_deref()), (state, description), "{reason:?}");
        }
    }

    #[test]
    fn sidecars_do_not_change_the_state_of_an_unfinished_resource() {
        let written = merge(&IstioStatus::default(), &subject(1), &ready(), &at(1));
        let written = merge(&written, &subject(2), &progress_report("applying"), &at(2));
        let part = sidecars(Reason::ProxySidecarRestartFailed, "of the sidecars");
        assert_eq!(merge_data_plane(&written, &subject(2), None, &part, &at(3)).state, State::Processing);
    }

    #[test]
    fn a_repeated_report_changes_nothing() {
        for report in [ready(), progress_report("x"), finished(State::Error, Reason::ReconcileFailed, "x")] {
            let once = merge(&IstioStatus::default(), &subject(1), &report, &at(1));
            assert_eq!(merge(&once, &subject(1), &report, &at(2)), once);
        }
    }
}
