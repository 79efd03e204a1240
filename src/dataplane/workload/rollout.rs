//! How far the rollout of a workload is. Pure judgements over live workloads, as `kubectl rollout status` makes them.

use super::disruption::{is_on_delete, partition};
use crate::dataplane::types::{ObjectCondition, Workload, WorkloadStatus};
use crate::dataplane::workload::kind::WorkloadKind;
use crate::text::sanitized;

/// Bytes of a condition's message that are shown.
const MAX_MESSAGE_BYTES: usize = 300;

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutStatus {
    /// Every pod is of the current template and available.
    Complete,
    /// Not yet; the text says what is missing.
    InProgress(String),
    /// It will not get further by itself.
    Failed(String),
}

impl RolloutStatus {
    fn in_progress(text: impl Into<String>) -> Self {
        Self::InProgress(text.into())
    }
}

/// Judges the rollout of a workload.
#[must_use]
pub fn rollout_status(kind: WorkloadKind, workload: &Workload) -> RolloutStatus {
    let status = &workload.status;
    if status.observed_generation < workload.metadata.generation {
        return RolloutStatus::in_progress("its controller has not seen the change yet");
    }
    match kind {
        WorkloadKind::Deployment => deployment(status, desired_replicas(workload)),
        WorkloadKind::StatefulSet => stateful_set(workload),
        WorkloadKind::DaemonSet => daemon_set(workload),
        WorkloadKind::Rollout => argo_rollout(status),
        _ => by_counts(desired_replicas(workload), desired_replicas(workload), status.ready_replicas),
    }
}

/// The pods that a workload wants.
#[must_use]
pub fn desired_replicas(workload: &Workload) -> i64 {
    workload.spec.replicas.unwrap_or_else(|| workload.status.desired_number_scheduled.max(1))
}

fn deployment(status: &WorkloadStatus, wanted: i64) -> RolloutStatus {
    let failure = find_condition(status, "Progressing").filter(|condition| condition.status == "False");
    if let Some(failure) = failure {
        return RolloutStatus::Failed(condition_text(failure));
    }
    if let Some(failure) =
        find_condition(status, "ReplicaFailure").filter(|condition| condition.status == "True")
    {
        return RolloutStatus::in_progress(format!("pods cannot be created: {}", condition_text(failure)));
    }
    if status.replicas > status.updated_replicas {
        return RolloutStatus::in_progress(format!(
            "{} old pods are still running",
            status.replicas - status.updated_replicas
        ));
    }
    by_counts(wanted, status.updated_replicas, status.available_replicas)
}

/// Where pods go only when somebody deletes them, no rollout is to come, however old their template.
fn daemon_set(workload: &Workload) -> RolloutStatus {
    let status = &workload.status;
    let wanted = status.desired_number_scheduled;
    let updated = if is_on_delete(workload) { wanted } else { status.updated_number_scheduled };
    by_counts(wanted, updated, status.number_available)
}

/// The revisions of a set with a partition stay apart when its rollout is over, those of one with `OnDelete` for ever.
fn stateful_set(workload: &Workload) -> RolloutStatus {
    let (status, wanted, partition) = (&workload.status, desired_replicas(workload), partition(workload));
    let is_mixed = !status.update_revision.is_empty() && status.current_revision != status.update_revision;
    let is_complete = is_on_delete(workload)
        || !is_mixed
        || (partition > 0 && status.updated_replicas >= wanted - partition);
    if wanted > 0 && !is_complete {
        return RolloutStatus::in_progress(format!(
            "{} of {wanted} pods are of the new template",
            status.updated_replicas
        ));
    }
    by_counts(wanted, wanted, status.ready_replicas)
}

fn argo_rollout(status: &WorkloadStatus) -> RolloutStatus {
    match status.phase.as_str() {
        "Healthy" => RolloutStatus::Complete,
        "Degraded" => RolloutStatus::Failed("Argo says it is degraded".to_owned()),
        "Paused" => RolloutStatus::in_progress("Argo has paused it"),
        _ => RolloutStatus::in_progress("Argo is replacing its pods"),
    }
}

fn by_counts(wanted: i64, updated: i64, available: i64) -> RolloutStatus {
    if updated < wanted {
        return RolloutStatus::in_progress(format!("{updated} of {wanted} pods are of the new template"));
    }
    if available < wanted {
        return RolloutStatus::in_progress(format!("{available} of {wanted} pods are available"));
    }
    RolloutStatus::Complete
}

fn find_condition<'a>(status: &'a WorkloadStatus, kind: &str) -> Option<&'a ObjectCondition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

fn condition_text(condition: &ObjectCondition) -> String {
    let text = if condition.message.is_empty() { &condition.reason } else { &condition.message };
    sanitized(text, MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status_text(kind: WorkloadKind, spec: &Value, status: &Value) -> String {
        let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
        match rollout_status(kind, &serde_json::from_str(&object.to_string()).unwrap()) {
            RolloutStatus::Complete => "complete".to_owned(),
            RolloutStatus::InProgress(text) => text,
            RolloutStatus::Failed(text) => format!("failed: {text}"),
        }
    }

    #[test]
    fn a_deployment_is_complete_when_every_pod_is_new_and_available() {
        let two = || json!({"replicas": 2});
        for (status, expected) in [
            (json!({"observedGeneration": 1}), "its controller has not seen the change yet"),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1}),
                "2 old pods are still running",
            ),
            (
                json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                "1 of 2 pods are available",
            ),
            (
                json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                "complete",
            ),
            (
                json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False",
                    "reason": "ProgressDeadlineExceeded", "message": "timed out"}]}),
                "failed: timed out",
            ),
        ] {
            assert_eq!(status_text(WorkloadKind::Deployment, &two(), &status), expected);
        }
    }

    #[test]
    fn a_stateful_set_is_complete_when_its_revision_is_the_only_one() {
        let status = |current: &str, ready: i64| {
            json!({"observedGeneration": 2, "currentRevision": current, "updateRevision": "b",
                "updatedReplicas": 1, "readyReplicas": ready})
        };
        for (status, expected) in [
            (status("a", 3), "1 of 3 pods are of the new template"),
            (status("b", 2), "2 of 3 pods are available"),
            (status("b", 3), "complete"),
        ] {
            assert_eq!(status_text(WorkloadKind::StatefulSet, &json!({"replicas": 3}), &status), expected);
        }
    }

    #[test]
    fn pods_left_at_an_older_template_do_not_delay_the_rollout() {
        let status = |updated: i64| {
            json!({"observedGeneration": 2, "currentRevision": "a", "updateRevision": "b",
                "updatedReplicas": updated, "readyReplicas": 3})
        };
        let partition = json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}});
        let on_delete = json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}});
        for (spec, updated, expected) in [
            (&partition, 0, "0 of 3 pods are of the new template"),
            (&partition, 1, "complete"),
            (&on_delete, 0, "complete"),
        ] {
            assert_eq!(status_text(WorkloadKind::StatefulSet, spec, &status(updated)), expected, "{spec}");
        }
        let agents = json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "numberAvailable": 2});
        assert_eq!(status_text(WorkloadKind::DaemonSet, &on_delete, &agents), "complete");
    }

    #[test]
    fn a_daemon_set_waits_for_every_node_and_a_rollout_for_argo() {
        let nodes = |available: i64| {
            json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2,
                "numberAvailable": available})
        };
        assert_eq!(status_text(WorkloadKind::DaemonSet, &json!({}), &nodes(1)), "1 of 2 pods are available");
        assert_eq!(status_text(WorkloadKind::DaemonSet, &json!({}), &nodes(2)), "complete");
        let argo = |phase: &str| json!({"observedGeneration": "2", "phase": phase});
        assert_eq!(
            status_text(WorkloadKind::Rollout, &json!({}), &argo("Progressing")),
            "Argo is replacing its pods"
        );
        assert_eq!(status_text(WorkloadKind::Rollout, &json!({}), &argo("Healthy")), "complete");
    }
}
