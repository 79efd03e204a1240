//! How far the rollout of a workload is, by the rule of `kubectl rollout status`.
//! Pure judgments over live objects; it neither waits nor explains pods.

use serde_json::Value;

use super::conditions::ConditionRef;
use crate::text::sanitized;

/// Longest condition message that is quoted, in bytes.
const MAX_MESSAGE_BYTES: usize = 300;
/// Reason of the condition `Progressing` once `spec.progressDeadlineSeconds` has passed without progress.
const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

/// The state of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// Every desired pod has the current template and is available, and no old pod is left.
    Complete,
    /// Not complete yet; the text says what is missing.
    InProgress(String),
    /// It makes no more progress on its own; the text quotes why.
    Failed(String),
}

impl RolloutState {
    fn in_progress(text: impl Into<String>) -> Self {
        Self::InProgress(text.into())
    }
}

/// The numbers of a Deployment from which the state of its rollout follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeploymentCounts {
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// `spec.replicas`; 1 if it is not set.
    pub desired: i64,
    /// `status.replicas`, pods of old templates included.
    pub total: i64,
    /// `status.updatedReplicas`.
    pub updated: i64,
    /// `status.availableReplicas`.
    pub available: i64,
}

impl DeploymentCounts {
    /// Reads the numbers from a live Deployment.
    #[must_use]
    pub fn of(deployment: &Value) -> Self {
        let status = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or(0);
        Self {
            generation: number(deployment, "/metadata/generation").unwrap_or(0),
            observed_generation: status("observedGeneration"),
            desired: number(deployment, "/spec/replicas").unwrap_or(1),
            total: status("replicas"),
            updated: status("updatedReplicas"),
            available: status("availableReplicas"),
        }
    }

    /// The state that follows from the numbers alone, in the order in which `kubectl` checks them.
    #[must_use]
    pub fn state(&self) -> RolloutState {
        let Self { desired, total, updated, available, .. } = *self;
        if self.observed_generation < self.generation {
            return unobserved();
        }
        if updated < desired {
            return RolloutState::in_progress(format!("{updated} of {desired} pods have the new template"));
        }
        if total > updated {
            return RolloutState::in_progress(format!("{} old pods are still running", total - updated));
        }
        if available < updated {
            return RolloutState::in_progress(format!("{available} of {updated} pods are available"));
        }
        RolloutState::Complete
    }
}

/// The state of a Deployment's rollout.
///
/// A rollout that exceeded its progress deadline has failed, and one whose pods are rejected is explained by its
/// `ReplicaFailure` condition. Conditions of an earlier generation say nothing about the current one.
#[must_use]
pub fn deployment(deployment: &Value) -> RolloutState {
    let counts = DeploymentCounts::of(deployment);
    if counts.observed_generation < counts.generation {
        return unobserved();
    }
    let condition = |type_| ConditionRef::find(deployment, type_);
    let rejected = condition("ReplicaFailure").filter(|condition| condition.is_true());
    if let Some(progressing) = condition("Progressing")
        && progressing.is_false()
        && progressing.reason() == DEADLINE_EXCEEDED
    {
        let cause = rejected.unwrap_or(progressing);
        return RolloutState::Failed(quoted(cause));
    }
    match rejected {
        Some(rejected) => RolloutState::in_progress(format!("failed to create pods: {}", quoted(rejected))),
        None => counts.state(),
    }
}

/// The state of a DaemonSet's rollout: complete when every eligible node has an available pod of the current template.
///
/// A cluster without an eligible node needs no pod, and that is complete, too.
#[must_use]
pub fn daemon_set(daemon_set: &Value) -> RolloutState {
    let status = |field: &str| number(daemon_set, &format!("/status/{field}")).unwrap_or(0);
    if status("observedGeneration") < number(daemon_set, "/metadata/generation").unwrap_or(0) {
        return unobserved();
    }
    let desired = status("desiredNumberScheduled");
    let (updated, available) = (status("updatedNumberScheduled"), status("numberAvailable"));
    if updated < desired {
        return RolloutState::in_progress(format!("{updated} of {desired} pods have the new template"));
    }
    if available < desired {
        return RolloutState::in_progress(format!("{available} of {desired} pods are available"));
    }
    RolloutState::Complete
}

fn unobserved() -> RolloutState {
    RolloutState::in_progress("its controller has not observed the change yet")
}

/// A condition's text, bounded and without control characters: it may quote an admission webhook.
fn quoted(condition: ConditionRef<'_>) -> String {
    sanitized(condition.text(), MAX_MESSAGE_BYTES)
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(state: RolloutState) -> String {
        match state {
            RolloutState::Complete => "complete".to_owned(),
            RolloutState::InProgress(text) => text,
            RolloutState::Failed(text) => format!("failed: {text}"),
        }
    }

    fn live(generation: i64, status: &Value) -> Value {
        json!({"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn a_deployment_is_complete_only_when_no_old_pod_is_left() {
        let counts = |total: i64, updated: i64, available: i64| {
            json!({"observedGeneration": 1, "replicas": total, "updatedReplicas": updated,
                "availableReplicas": available})
        };
        for (generation, status, expected) in [
            (1, json!({}), "its controller has not observed the change yet"),
            (2, counts(2, 2, 2), "its controller has not observed the change yet"),
            (1, counts(2, 2, 2), "complete"),
            (1, counts(3, 1, 2), "1 of 2 pods have the new template"),
            (1, counts(3, 2, 3), "1 old pods are still running"),
            (1, counts(2, 2, 1), "1 of 2 pods are available"),
        ] {
            assert_eq!(text(deployment(&live(generation, &status))), expected, "{generation} {status}");
        }
    }

    #[test]
    fn a_rollout_past_its_progress_deadline_has_failed() {
        let progressing = |status: &str, reason: &str| {
            json!({"type": "Progressing", "status": status, "reason": reason,
                "message": "ReplicaSet \"istiod-1\" has timed out progressing."})
        };
        let quota = json!({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"});
        for (generation, conditions, expected) in [
            (
                1,
                json!([progressing("False", "ProgressDeadlineExceeded")]),
                "failed: ReplicaSet \"istiod-1\" has timed out progressing.",
            ),
            // What was true of the generation before says nothing about this one.
            (
                2,
                json!([progressing("False", "ProgressDeadlineExceeded")]),
                "its controller has not observed the change yet",
            ),
            (1, json!([progressing("True", "ReplicaSetUpdated")]), "0 of 2 pods have the new template"),
            (1, json!([progressing("Unknown", "DeploymentPaused")]), "0 of 2 pods have the new template"),
            (1, json!([quota]), "failed to create pods: exceeded quota"),
            (1, json!([progressing("False", "ProgressDeadlineExceeded"), quota]), "failed: exceeded quota"),
        ] {
            let status = json!({"observedGeneration": 1, "conditions": conditions});
            assert_eq!(text(deployment(&live(generation, &status))), expected, "{conditions}");
        }
    }

    #[test]
    fn a_quoted_message_is_bounded_and_on_one_line() {
        let message = format!("refused\nby {}", "x".repeat(1000));
        let condition = json!({"type": "ReplicaFailure", "status": "True", "message": message});
        let status = json!({"observedGeneration": 1, "conditions": [condition]});
        let text = text(deployment(&live(1, &status)));
        assert!(text.starts_with("failed to create pods: refused by xxx") && text.len() < 350, "{text}");
    }

    #[test]
    fn a_daemon_set_needs_a_pod_on_each_eligible_node() {
        for (status, expected) in [
            (json!({"observedGeneration": 1, "desiredNumberScheduled": 0}), "complete"),
            (
                json!({"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3,
                    "numberAvailable": 2}),
                "2 of 3 pods are available",
            ),
            (
                json!({"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1,
                    "numberAvailable": 3}),
                "1 of 3 pods have the new template",
            ),
            (json!({"desiredNumberScheduled": 0}), "its controller has not observed the change yet"),
        ] {
            assert_eq!(text(daemon_set(&live(1, &status))), expected, "{status}");
        }
    }
}
