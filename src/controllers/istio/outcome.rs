//! How a reconcile ended, and what follows from it: the status and the time of the next reconcile. Pure, except for the clock.

use std::fmt;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::advisories::{self, Advisory};
use crate::api::conditions::{Reason, State};
use crate::apply::{self, ApplySummary, SkipReason};
use crate::drift::pause::Pause;
use crate::inventory::helm_releases;
use crate::kubernetes::object::ObjectId;
use crate::messages;
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
        /// Counts of objects, and what was skipped.
        applied: ApplySummary,
        /// What the user should know about the installation.
        advisories: Vec<Advisory>,
    },
    /// An annotation pauses the reconcile; nothing was changed.
    Paused(Pause),
    /// The resource is not active or not valid; nothing was changed.
    Rejected(Rejection),
    /// Installed objects were changed by others during the apply.
    DriftDetected,
    /// A workload did not become ready in time.
    NotReady {
        /// The stage that is not ready.
        stage: Stage,
        /// The object and its diagnosis.
        reason: String,
        /// From which version of Istio to which.
        upgrade: version::VersionStep,
    },
    /// Objects that are being removed still exist.
    NotGone {
        /// The step that is not complete.
        step: UninstallStep,
        /// The objects that still exist.
        remaining: Vec<ObjectId>,
    },
    /// The resource is being deleted, and nothing remains to be removed.
    Released,
}

/// When a resource is reconciled again, unless it changes before.
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

/// Interval of reconciles that depend on objects that are not watched: the Helm release of adopted objects, CRDs of other
/// managers, the state of pods.
const UNWATCHED_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of objects in a description.
const MAX_NAMED_OBJECTS: usize = 5;

/// Interval of reconciles after a rejected version: a downgrade with `istioctl` or Helm does not change the resource.
const VERSION_RETRY_INTERVAL: Duration = Duration::from_secs(60);

impl ReconcileOutcome {
    /// The outcome of an apply, with the advisories of a complete one.
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

    /// When to reconcile again.
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

    /// The report for the status; `None` if the resource is about to be deleted or the reconcile starts over.
    #[must_use]
    pub fn control_plane_report(&self) -> Option<ControlPlaneReport> {
        Some(match self {
            Self::Released | Self::DriftDetected => return None,
            Self::Ready { applied, advisories } => ready(applied, advisories),
            Self::Paused(pause) => {
                single_condition_report(State::Warning, Reason::ReconcilePaused, messages::paused(pause))
            }
            Self::Rejected(rejection) => {
                single_condition_report(rejection.state, rejection.reason, rejection.to_string())
            }
            Self::NotReady { stage, reason, upgrade } => single_condition_report(
                State::Error,
                Reason::IstioInstallUninstallFailed,
                messages::stage_not_ready(stage, reason, &upgrade.advice()),
            ),
            Self::NotGone { step, remaining } => single_condition_report(
                State::Error,
                Reason::IstioInstallUninstallFailed,
                messages::step_not_gone(step, remaining),
            ),
        })
    }
}

/// When an installation is reconciled again: a pause or a cooldown may end before the interval.
fn requeue_after(applied: &ApplySummary, advisories: &[Advisory]) -> Requeue {
    let now = Timestamp::now();
    let unwatched = !applied.helm_secrets.is_empty()
        || !applied.warnings.is_empty()
        || advisories.iter().any(Advisory::quotes_pods);
    let retry = unwatched.then_some(UNWATCHED_RETRY_INTERVAL);
    let soonest = applied.skipped.iter().filter_map(|skipped| skipped.retry_after(now)).chain(retry).min();
    soonest.map_or(Requeue::Interval, Requeue::After)
}

/// The report of a complete installation. Whatever is not as configured is a warning.
fn ready(applied: &ApplySummary, advisories: &[Advisory]) -> ControlPlaneReport {
    let mut texts: Vec<String> =
        applied.skipped.iter().take(MAX_NAMED_OBJECTS).map(ToString::to_string).collect();
    let has_conflict =
        applied.skipped.iter().any(|skipped| matches!(skipped.reason, SkipReason::FieldConflict { .. }));
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

/// A report with one condition, whose message is the description.
pub(crate) fn single_condition_report(state: State, reason: Reason, text: String) -> ControlPlaneReport {
    let condition = ConditionUpdate { reason, message: Some(text.clone()) };
    ControlPlaneReport { state, description: text, conditions: vec![condition] }
}

impl fmt::Display for ReconcileOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { applied: ApplySummary { written, unchanged, pruned, skipped, .. }, .. } => {
                f.write_str(&messages::complete(*written, *unchanged, *pruned, skipped.len()))
            }
            Self::DriftDetected => f.write_str(messages::DRIFT_DETECTED),
            Self::Released => f.write_str(messages::RELEASED),
            other => f.write_str(
                other.control_plane_report().map(|report| report.description).as_deref().unwrap_or_default(),
            ),
        }
    }
}
