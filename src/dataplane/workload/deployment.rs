//! Deployments. A change of the pod template starts a rolling update, or a recreation of all pods.

use serde_json::Value;

use super::disruption::{PodReplacement, Rounding, scaled_value};
use super::rollout::{self, RolloutStatus};
use super::{Gvk, OwnerKind, RestartStrategy, WorkloadKind, replica_set};
use crate::dataplane::model::Workload;
use crate::dataplane::names::TEMPLATE_HASH_LABEL;

/// Deployments.
pub const KIND: WorkloadKind = WorkloadKind(&Deployment);

struct Deployment;

impl OwnerKind for Deployment {
    fn gvk(&self) -> Gvk {
        Gvk { group: "apps", version: "v1", kind: "Deployment" }
    }

    fn can_create(&self, owned: WorkloadKind) -> bool {
        owned == replica_set::KIND
    }

    fn replica_set_hash_label(&self) -> Option<&'static str> {
        Some(TEMPLATE_HASH_LABEL)
    }

    fn is_listed(&self) -> bool {
        true
    }

    fn is_stateful(&self) -> bool {
        false
    }

    fn restart_strategy(&self, _: &PodReplacement, _: i64) -> Option<RestartStrategy> {
        Some(RestartStrategy::Template)
    }

    fn pod_replacement(&self, workload: &Workload, replicas: i64) -> PodReplacement {
        let strategy = workload.spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.get("type")).is_some_and(|kind| kind == "Recreate") {
            return PodReplacement::Recreate;
        }
        let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
        let field = |name| rolling.and_then(|rolling: &Value| rolling.get(name));
        let surge = scaled_value(field("maxSurge"), "25%", replicas, Rounding::Up);
        let unavailable = scaled_value(field("maxUnavailable"), "25%", replicas, Rounding::Down);
        // Both must not be zero; Kubernetes then takes one pod away.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        PodReplacement::Rolling { min_available: (replicas - unavailable).max(0) }
    }

    /// As `kubectl rollout status` judges it.
    fn rollout_status(&self, workload: &Workload) -> RolloutStatus {
        let status = &workload.status;
        // ProgressDeadlineExceeded: the Deployment controller does not expect the rollout to complete.
        if let Some(failure) = rollout::condition_message(status, "Progressing", "False") {
            return RolloutStatus::Failed(failure);
        }
        if let Some(failure) = rollout::condition_message(status, "ReplicaFailure", "True") {
            return RolloutStatus::in_progress(format!("failed to create pods: {failure}"));
        }
        let old = status.replicas - status.updated_replicas;
        if old > 0 {
            return RolloutStatus::in_progress(format!("{old} old pods are still running"));
        }
        let wanted = rollout::desired_replicas(workload);
        rollout::by_counts(wanted, status.updated_replicas, status.available_replicas)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::workload::disruption::test_support::replacement;
    use crate::dataplane::workload::rollout::test_support::status_text;

    #[test]
    fn a_deployment_keeps_pods_available_as_its_strategy_says() {
        let rolling = |min_available| PodReplacement::Rolling { min_available };
        for (spec, replicas, expected) in [
            (json!({}), 1, rolling(1)),
            (json!({}), 4, rolling(3)),
            (json!({"strategy": {"type": "Recreate"}}), 3, PodReplacement::Recreate),
            (json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}), 1, rolling(0)),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}}),
                3,
                rolling(3),
            ),
            (json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}}), 3, rolling(2)),
        ] {
            assert_eq!(replacement(KIND, &spec, replicas), expected, "{spec}");
        }
    }

    #[test]
    fn a_deployment_is_complete_when_every_pod_is_new_and_available() {
        let two = json!({"replicas": 2});
        for (status, expected) in [
            (json!({"observedGeneration": 1}), "its controller has not observed the change yet"),
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
            assert_eq!(status_text(KIND, &two, &status), expected);
        }
    }
}
