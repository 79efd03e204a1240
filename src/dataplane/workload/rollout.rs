//! How far the rollout of a workload is, and what the kinds share to judge that. Pure judgements over live workloads, as
//! `kubectl rollout status` makes them. What differs between kinds is in [`OwnerKind::rollout_status`](super::OwnerKind).

use super::WorkloadKind;
use crate::dataplane::model::{Workload, WorkloadStatus};
use crate::text::sanitized;

/// Bytes of a condition's message that are shown.
const MAX_MESSAGE_BYTES: usize = 300;

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutStatus {
    /// Every pod has the current template and is available.
    Complete,
    /// Not complete; the text says what is missing.
    InProgress(String),
    /// The controller does not expect it to complete; the text says why.
    Failed(String),
}

impl RolloutStatus {
    pub(super) fn in_progress(text: impl Into<String>) -> Self {
        Self::InProgress(text.into())
    }

    pub(super) fn not_updated(updated: i64, wanted: i64) -> Self {
        Self::InProgress(format!("{updated} of {wanted} pods are updated"))
    }
}

/// Judges the rollout of a workload.
#[must_use]
pub fn rollout_status(kind: WorkloadKind, workload: &Workload) -> RolloutStatus {
    if workload.status.observed_generation < workload.metadata.generation {
        return RolloutStatus::in_progress("its controller has not observed the change yet");
    }
    kind.rollout_status(workload)
}

/// The number of pods that a workload wants.
#[must_use]
pub fn desired_replicas(workload: &Workload) -> i64 {
    workload.spec.replicas.unwrap_or_else(|| workload.status.desired_number_scheduled.max(1))
}

/// The rollout of a workload that wants `wanted` pods.
pub(super) fn by_counts(wanted: i64, updated: i64, available: i64) -> RolloutStatus {
    if updated < wanted {
        return RolloutStatus::not_updated(updated, wanted);
    }
    if available < wanted {
        return RolloutStatus::in_progress(format!("{available} of {wanted} pods are available"));
    }
    RolloutStatus::Complete
}

/// The message of a condition if it has this status, or its reason if there is no message.
pub(super) fn condition_message(status: &WorkloadStatus, type_: &str, value: &str) -> Option<String> {
    let is_meant = |condition: &&crate::dataplane::model::ObjectCondition| {
        condition.type_ == type_ && condition.status == value
    };
    let condition = status.conditions.iter().find(is_meant)?;
    let text = if condition.message.is_empty() { &condition.reason } else { &condition.message };
    Some(sanitized(text, MAX_MESSAGE_BYTES))
}

#[cfg(test)]
pub(super) mod test_support {
    use serde_json::{Value, json};

    use super::*;

    /// The rollout of a workload of generation 2, as one text.
    pub fn status_text(kind: WorkloadKind, spec: &Value, status: &Value) -> String {
        let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
        match rollout_status(kind, &serde_json::from_str(&object.to_string()).unwrap()) {
            RolloutStatus::Complete => "complete".to_owned(),
            RolloutStatus::InProgress(text) => text,
            RolloutStatus::Failed(text) => format!("failed: {text}"),
        }
    }
}
