//! Argo Rollouts. Argo restarts one pod after the other at the time in `spec.restartAt`, whatever strategy updates use.

use super::disruption::PodReplacement;
use super::rollout::RolloutStatus;
use super::{Gvk, OwnerKind, RestartStrategy, WorkloadKind, replica_set};
use crate::dataplane::model::Workload;
use crate::dataplane::names::ROLLOUT_HASH_LABEL;

/// Argo Rollouts.
pub const KIND: WorkloadKind = WorkloadKind(&ArgoRollout);

struct ArgoRollout;

impl OwnerKind for ArgoRollout {
    fn gvk(&self) -> Gvk {
        Gvk { group: "argoproj.io", version: "v1alpha1", kind: "Rollout" }
    }

    fn can_create(&self, owned: WorkloadKind) -> bool {
        owned == replica_set::KIND
    }

    fn replica_set_hash_label(&self) -> Option<&'static str> {
        Some(ROLLOUT_HASH_LABEL)
    }

    fn is_stateful(&self) -> bool {
        false
    }

    fn restart_strategy(&self, _: &PodReplacement, _: i64) -> Option<RestartStrategy> {
        Some(RestartStrategy::RestartAt)
    }

    fn rollout_status(&self, workload: &Workload) -> RolloutStatus {
        match workload.status.phase.as_str() {
            "Healthy" => RolloutStatus::Complete,
            "Degraded" => RolloutStatus::Failed("the Argo Rollout is degraded".to_owned()),
            "Paused" => RolloutStatus::in_progress("the Argo Rollout is paused"),
            _ => RolloutStatus::in_progress("Argo is replacing pods"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::workload::rollout::test_support::status_text;

    #[test]
    fn the_phase_tells_how_far_an_argo_rollout_is() {
        for (phase, expected) in [
            ("Progressing", "Argo is replacing pods"),
            ("Paused", "the Argo Rollout is paused"),
            ("Degraded", "failed: the Argo Rollout is degraded"),
            ("Healthy", "complete"),
        ] {
            let status = json!({"observedGeneration": "2", "phase": phase});
            assert_eq!(status_text(KIND, &json!({}), &status), expected);
        }
    }
}
