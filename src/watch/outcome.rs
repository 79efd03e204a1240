//! How a reconcile ended, and what follows from that: what people see and when it is looked at again.

use std::fmt;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::remark::{self, Remark};
use crate::api::conditions::{Reason, State};
use crate::apply::pause::Pause;
use crate::apply::{self, Applied, Why, releases};
use crate::object::ObjectId;
use crate::plan::Stage;
use crate::remove::order::Step;
use crate::status::{Condition, Settled};
use crate::validate::Rejection;
use crate::validate::version;

/// How one reconcile of one resource ended.
#[derive(Debug)]
pub enum Outcome {
    /// Istio is as configured.
    Ready {
        /// What that took, and what is left alone.
        applied: Applied,
        /// What else there is to know about it.
        remarks: Vec<Remark>,
    },
    /// Someone asked to leave everything alone; nothing was changed.
    Paused(Pause),
    /// The resource is not in charge, or asks for something that cannot be; nothing was changed.
    Rejected(Rejection),
    /// What was installed was changed while the rest was awaited.
    Disturbed,
    /// A workload did not become ready in time.
    NotReady {
        /// The stage that waits.
        stage: Stage,
        /// The object and its own words.
        reason: String,
        /// From which version of Istio to which.
        upgrade: version::Step,
    },
    /// Objects that are being removed do not go.
    NotGone {
        /// The step that waits.
        step: Step,
        /// What is left.
        left: Vec<ObjectId>,
    },
    /// Nothing is left to do for a resource that is being deleted.
    Released,
}

/// When a resource is looked at again, apart from changes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
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
const UNWATCHED_RETRY: Duration = Duration::from_secs(60);
/// Objects that a description names at most.
const NAMED: usize = 5;

/// How often a refused version is looked at again: whoever goes back with `istioctl` or Helm changes no resource.
const VERSION_RETRY: Duration = Duration::from_secs(60);

impl Outcome {
    /// The outcome of an apply that is part of a step between versions, with what there is to know about it if it is
    /// complete.
    #[must_use]
    pub fn of(outcome: apply::Outcome, upgrade: version::Step, remarks: Vec<Remark>) -> Self {
        match outcome {
            apply::Outcome::Complete(applied) => Self::Ready { applied, remarks },
            apply::Outcome::Disturbed => Self::Disturbed,
            apply::Outcome::NotReady { stage, reason } => Self::NotReady { stage, reason, upgrade },
        }
    }

    /// When to look again.
    #[must_use]
    pub fn next(&self) -> Next {
        match self {
            Self::Ready { remarks, .. } if remarks.iter().any(Remark::is_to_be_tried_again) => Next::BackOff,
            Self::Ready { applied, remarks } => next_after(applied, remarks),
            Self::Paused(pause) => pause.left(Timestamp::now()).map_or(Next::OnChange, Next::After),
            Self::NotReady { .. } | Self::NotGone { .. } => Next::BackOff,
            Self::Disturbed => Next::After(Duration::ZERO),
            Self::Rejected(rejection) if rejection.reason == Reason::IstioVersionUpdateNotAllowed => {
                Next::After(VERSION_RETRY)
            }
            Self::Rejected(_) | Self::Released => Next::OnChange,
        }
    }

    /// What the status shows; `None` where the resource is about to vanish or nothing is decided yet.
    #[must_use]
    pub fn settled(&self) -> Option<Settled> {
        Some(match self {
            Self::Released | Self::Disturbed => return None,
            Self::Ready { applied, remarks } => ready(applied, remarks),
            Self::Paused(pause) => settled(
                State::Warning,
                Reason::ReconcilePaused,
                format!("Nothing is written: this resource is {pause}"),
            ),
            Self::Rejected(rejection) => settled(rejection.state, rejection.reason, rejection.to_string()),
            Self::NotReady { stage, reason, upgrade } => settled(
                State::Error,
                Reason::IstioInstallUninstallFailed,
                format!(
                    "{stage} did not become ready in time and is still awaited: {reason}{}",
                    upgrade.advice()
                ),
            ),
            Self::NotGone { step, left } => {
                let names: Vec<String> = left.iter().take(5).map(ToString::to_string).collect();
                let text =
                    format!("removing {step} takes longer than expected; still there: {}", names.join(", "));
                settled(State::Error, Reason::IstioInstallUninstallFailed, text)
            }
        })
    }
}

/// When an installation is looked at again: something may end before the interval does.
fn next_after(applied: &Applied, remarks: &[Remark]) -> Next {
    let now = Timestamp::now();
    let unwatched = !applied.releases.is_empty()
        || !applied.warnings.is_empty()
        || remarks.iter().any(Remark::quotes_pods);
    let retry = unwatched.then_some(UNWATCHED_RETRY);
    let soonest = applied.held.iter().filter_map(|held| held.look_again(now)).chain(retry).min();
    soonest.map_or(Next::Interval, Next::After)
}

/// What is not as described, or may not stay so, is for the user to see.
fn ready(applied: &Applied, remarks: &[Remark]) -> Settled {
    let mut texts: Vec<String> = applied.held.iter().take(NAMED).map(ToString::to_string).collect();
    let fought = applied.held.iter().any(|held| matches!(held.why, Why::Fought { .. }));
    if !applied.releases.is_empty() {
        texts.push(releases::describe(&applied.releases));
    }
    texts.extend(applied.warnings.iter().cloned());
    texts.extend(remarks.iter().map(Remark::text));
    let least = if texts.is_empty() { State::Ready } else { State::Warning };
    let description = texts.join(". ");
    let message = Some(description.clone()).filter(|text| !text.is_empty());
    let reason = if fought { Reason::DriftNotRepaired } else { remark::ready_reason(remarks) };
    Settled {
        state: remarks.iter().map(Remark::state).fold(least, State::max),
        description,
        conditions: vec![Condition { reason, message }, remark::gateway_condition(remarks)],
    }
}

/// A settled state with one condition that says the same as the description.
pub(super) fn settled(state: State, reason: Reason, text: String) -> Settled {
    let condition = Condition { reason, message: Some(text.clone()) };
    Settled { state, description: text, conditions: vec![condition] }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { applied: Applied { written, unchanged, pruned, held, .. }, .. } => {
                let held = held.len();
                write!(
                    f,
                    "complete: {written} objects written, {unchanged} unchanged, {pruned} pruned, {held} left alone"
                )
            }
            Self::Disturbed => f.write_str("begun anew: what was installed was changed meanwhile"),
            Self::Released => f.write_str("released, nothing is left to remove"),
            other => {
                f.write_str(other.settled().map(|settled| settled.description).as_deref().unwrap_or_default())
            }
        }
    }
}
