//! How a reconcile ended, and what follows from that: what people see and when it is looked at again.

use std::fmt;
use std::time::Duration;

use crate::api::conditions::{Reason, State};
use crate::apply::{self, Applied};
use crate::object::ObjectId;
use crate::plan::Stage;
use crate::remove::blockers;
use crate::remove::order::Step;
use crate::status::{Condition, Settled};
use crate::validate::Rejection;
use crate::validate::version;

/// How one reconcile of one resource ended.
#[derive(Debug)]
pub enum Outcome {
    /// Istio is as configured.
    Ready(Applied),
    /// The resource is not in charge, or asks for something that cannot be; nothing was changed.
    Rejected(Rejection),
    /// A workload did not become ready in time.
    NotReady {
        /// The stage that waits.
        stage: Stage,
        /// The object and its own words.
        reason: String,
        /// From which version of Istio to which.
        upgrade: version::Step,
    },
    /// Resources of users keep Istio from being removed.
    Blocked(Vec<ObjectId>),
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

/// How often blockers of a removal are looked for again.
const BLOCKED_RETRY: Duration = Duration::from_secs(10);

/// How often a refused version is looked at again: whoever goes back with `istioctl` or Helm changes no resource.
const VERSION_RETRY: Duration = Duration::from_secs(60);

impl Outcome {
    /// The outcome of an apply that is part of a step between versions.
    #[must_use]
    pub fn of(outcome: apply::Outcome, upgrade: version::Step) -> Self {
        match outcome {
            apply::Outcome::Complete(applied) => Self::Ready(applied),
            apply::Outcome::NotReady { stage, reason } => Self::NotReady { stage, reason, upgrade },
        }
    }

    /// When to look again.
    #[must_use]
    pub fn next(&self) -> Next {
        match self {
            Self::Ready(_) => Next::Interval,
            Self::NotReady { .. } | Self::NotGone { .. } => Next::BackOff,
            Self::Blocked(_) => Next::After(BLOCKED_RETRY),
            Self::Rejected(rejection) if rejection.reason == Reason::IstioVersionUpdateNotAllowed => {
                Next::After(VERSION_RETRY)
            }
            Self::Rejected(_) | Self::Released => Next::OnChange,
        }
    }

    /// What the status shows; `None` where the resource is about to vanish.
    #[must_use]
    pub fn settled(&self) -> Option<Settled> {
        Some(match self {
            Self::Released => return None,
            Self::Ready(Applied { warnings, .. }) if warnings.is_empty() => Settled {
                state: State::Ready,
                description: String::new(),
                conditions: vec![Condition { reason: Reason::ReconcileSucceeded, message: None }],
            },
            Self::Ready(Applied { warnings, .. }) => {
                settled(State::Warning, Reason::ReconcileSucceeded, warnings.join("; "))
            }
            Self::Rejected(rejection) => settled(rejection.state, rejection.reason, rejection.to_string()),
            Self::NotReady { stage, reason, upgrade } => settled(
                State::Error,
                Reason::IstioInstallUninstallFailed,
                format!(
                    "{stage} did not become ready in time and is still awaited: {reason}{}",
                    upgrade.advice()
                ),
            ),
            Self::Blocked(found) => {
                settled(State::Warning, Reason::IstioCustomResourcesDangling, blockers::describe(found))
            }
            Self::NotGone { step, left } => {
                let names: Vec<String> = left.iter().take(5).map(ToString::to_string).collect();
                let text =
                    format!("removing {step} takes longer than expected; still there: {}", names.join(", "));
                settled(State::Error, Reason::IstioInstallUninstallFailed, text)
            }
        })
    }
}

fn settled(state: State, reason: Reason, text: String) -> Settled {
    let condition = Condition { reason, message: Some(text.clone()) };
    Settled { state, description: text, conditions: vec![condition] }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(Applied { written, unchanged, pruned, .. }) => {
                write!(f, "ready: {written} objects written, {unchanged} unchanged, {pruned} pruned")
            }
            Self::Released => f.write_str("released, nothing is left to remove"),
            other => {
                f.write_str(other.settled().map(|settled| settled.description).as_deref().unwrap_or_default())
            }
        }
    }
}
