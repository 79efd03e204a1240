//! How a reconcile ended, and what follows from that: what people see and when it is looked at again.

use std::fmt;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::advisories::{self, Advisory};
use crate::api::conditions::{Reason, State};
use crate::apply::{self, ApplySummary, SkipReason};
use crate::drift::pause::Pause;
use crate::inventory::helm_releases;
use crate::kubernetes::object::ObjectId;
use crate::plan::Stage;
use crate::status::{ConditionUpdate, ControlPlaneReport};
use crate::uninstall::order::UninstallStep;
use crate::validate::Rejection;
use crate::validate::version;

/// How one reconcile of one resource ended.
#[derive(Debug)]
pub enum ReconcileOutcome {
    /// Istio is as configured.
    Ready {
        /// What that took, and what is left alone.
        applied: ApplySummary,
        /// What else there is to know about it.
        advisories: Vec<Advisory>,
    },
    /// Someone asked to leave everything alone; nothing was changed.
    Paused(Pause),
    /// The resource is not in charge, or asks for something that cannot be; nothing was changed.
    Rejected(Rejection),
    /// What was installed was changed while the rest was awaited.
    DriftDetected,
    /// A workload did not become ready in time.
    NotReady {
        /// The stage that waits.
        stage: Stage,
        /// The object and its own words.
        reason: String,
        /// From which version of Istio to which.
        upgrade: version::VersionStep,
    },
    /// Objects that are being removed do not go.
    NotGone {
        /// The step that waits.
        step: UninstallStep,
        /// What is left.
        remaining: Vec<ObjectId>,
    },
    /// Nothing is left to do for a resource that is being deleted.
    Released,
}

/// When a resource is looked at again, apart from changes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// After the reconciliation interval.
    Interval,
    /// After a delay that grows with the number of failures in a row.
    BackOff,
    /// After a fixed time.
    After(Duration),
    /// Only when something changes.
    OnChange,
}

/// How often it is looked at what is not watched: a Helm release that lists what was taken over, a definition that is not
/// ours, the words of pods that do not run.
const UNWATCHED_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Objects that a description names at most.
const MAX_NAMED_OBJECTS: usize = 5;

/// How often a refused version is looked at again: whoever goes back with `istioctl` or Helm changes no resource.
const VERSION_RETRY_INTERVAL: Duration = Duration::from_secs(60);

impl ReconcileOutcome {
    /// The outcome of an apply that is part of a step between versions, with what there is to know about it if it is
    /// complete.
    #[must_use]
    pub fn of(
        outcome: apply::ApplyOutcome,
        upgrade: version::VersionStep,
        advisories: Vec<Advisory>,
    ) -> Self {
        match outcome {
            apply::ApplyOutcome::Complete(applied) => Self::Ready { applied, advisories },
            apply::ApplyOutcome::DriftDetected => Self::DriftDetected,
            apply::ApplyOutcome::NotReady { stage, reason } => Self::NotReady { stage, reason, upgrade },
        }
    }

    /// When to look again.
    #[must_use]
    pub fn requeue(&self) -> Requeue {
        match self {
            Self::Ready { advisories, .. } if advisories.iter().any(Advisory::needs_retry) => {
                Requeue::BackOff
            }
            Self::Ready { applied, advisories } => requeue_after(applied, advisories),
            Self::Paused(pause) => {
                pause.remaining(Timestamp::now()).map_or(Requeue::OnChange, Requeue::After)
            }
            Self::NotReady { .. } | Self::NotGone { .. } => Requeue::BackOff,
            Self::DriftDetected => Requeue::After(Duration::ZERO),
            Self::Rejected(rejection) if rejection.reason == Reason::IstioVersionUpdateNotAllowed => {
                Requeue::After(VERSION_RETRY_INTERVAL)
            }
            Self::Rejected(_) | Self::Released => Requeue::OnChange,
        }
    }

    /// What the status shows; `None` where the resource is about to vanish or nothing is decided yet.
    #[must_use]
    pub fn control_plane_report(&self) -> Option<ControlPlaneReport> {
        Some(match self {
            Self::Released | Self::DriftDetected => return None,
            Self::Ready { applied, advisories } => ready(applied, advisories),
            Self::Paused(pause) => single_condition_report(
                State::Warning,
                Reason::ReconcilePaused,
                format!("Nothing is written: this resource is {pause}"),
            ),
            Self::Rejected(rejection) => {
                single_condition_report(rejection.state, rejection.reason, rejection.to_string())
            }
            Self::NotReady { stage, reason, upgrade } => single_condition_report(
                State::Error,
                Reason::IstioInstallUninstallFailed,
                format!(
                    "{stage} did not become ready in time and is still awaited: {reason}{}",
                    upgrade.advice()
                ),
            ),
            Self::NotGone { step, remaining } => {
                let names: Vec<String> = remaining.iter().take(5).map(ToString::to_string).collect();
                let text =
                    format!("removing {step} takes longer than expected; still there: {}", names.join(", "));
                single_condition_report(State::Error, Reason::IstioInstallUninstallFailed, text)
            }
        })
    }
}

/// When an installation is looked at again: something may end before the interval does.
fn requeue_after(applied: &ApplySummary, advisories: &[Advisory]) -> Requeue {
    let now = Timestamp::now();
    let unwatched = !applied.helm_secrets.is_empty()
        || !applied.warnings.is_empty()
        || advisories.iter().any(Advisory::quotes_pods);
    let retry = unwatched.then_some(UNWATCHED_RETRY_INTERVAL);
    let soonest = applied.skipped.iter().filter_map(|held| held.retry_after(now)).chain(retry).min();
    soonest.map_or(Requeue::Interval, Requeue::After)
}

/// What is not as described, or may not stay so, is for the user to see.
fn ready(applied: &ApplySummary, advisories: &[Advisory]) -> ControlPlaneReport {
    let mut texts: Vec<String> =
        applied.skipped.iter().take(MAX_NAMED_OBJECTS).map(ToString::to_string).collect();
    let has_conflict =
        applied.skipped.iter().any(|held| matches!(held.reason, SkipReason::FieldConflict { .. }));
    if !applied.helm_secrets.is_empty() {
        texts.push(helm_releases::describe(&applied.helm_secrets));
    }
    texts.extend(applied.warnings.iter().cloned());
    texts.extend(advisories.iter().map(Advisory::text));
    let least = if texts.is_empty() { State::Ready } else { State::Warning };
    let description = texts.join(". ");
    let message = Some(description.clone()).filter(|text| !text.is_empty());
    let reason = if has_conflict { Reason::DriftNotRepaired } else { advisories::ready_reason(advisories) };
    ControlPlaneReport {
        state: advisories.iter().map(Advisory::state).fold(least, State::max),
        description,
        conditions: vec![ConditionUpdate { reason, message }, advisories::gateway_condition(advisories)],
    }
}

/// A settled state with one condition that says the same as the description.
pub(crate) fn single_condition_report(state: State, reason: Reason, text: String) -> ControlPlaneReport {
    let condition = ConditionUpdate { reason, message: Some(text.clone()) };
    ControlPlaneReport { state, description: text, conditions: vec![condition] }
}

impl fmt::Display for ReconcileOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { applied: ApplySummary { written, unchanged, pruned, skipped, .. }, .. } => {
                let held = skipped.len();
                write!(
                    f,
                    "complete: {written} objects written, {unchanged} unchanged, {pruned} pruned, {held} left alone"
                )
            }
            Self::DriftDetected => f.write_str("begun anew: what was installed was changed meanwhile"),
            Self::Released => f.write_str("released, nothing is left to remove"),
            other => f.write_str(
                other
                    .control_plane_report()
                    .map(|settled| settled.description)
                    .as_deref()
                    .unwrap_or_default(),
            ),
        }
    }
}
