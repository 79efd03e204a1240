//! `DaemonSet`s. A change of the pod template replaces the pods node by node, unless the update strategy is `OnDelete`; then
//! outdated pods are evicted.

use super::disruption::{PodReplacement, Rounding, is_on_delete, scaled_value};
use super::rollout::{self, RolloutStatus};
use super::{Gvk, OwnerKind, RestartStrategy, WorkloadKind};
use crate::dataplane::model::Workload;

/// `DaemonSet`s.
pub const KIND: WorkloadKind = WorkloadKind(&DaemonSet);

struct DaemonSet;

impl OwnerKind for DaemonSet {
    fn gvk(&self) -> Gvk {
        Gvk { group: "apps", version: "v1", kind: "DaemonSet" }
    }

    fn is_listed(&self) -> bool {
        true
    }

    fn is_node_agent(&self) -> bool {
        true
    }

    fn restart_strategy(&self, replacement: &PodReplacement, _: i64) -> Option<RestartStrategy> {
        replacement.strategy_of_set()
    }

    fn pod_replacement(&self, workload: &Workload, replicas: i64) -> PodReplacement {
        if is_on_delete(workload) {
            return PodReplacement::on_delete(workload.status.updated_number_scheduled, replicas);
        }
        let strategy = workload.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.get("rollingUpdate"));
        let field = |name| rolling.and_then(|rolling: &serde_json::Value| rolling.get(name));
        let surge = scaled_value(field("maxSurge"), "0", replicas, Rounding::Up);
        let unavailable = scaled_value(field("maxUnavailable"), "1", replicas, Rounding::Up);
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        PodReplacement::Rolling { min_available: (replicas - unavailable).max(0) }
    }

    /// With `OnDelete` there is no rollout to wait for, however old the template of a pod is.
    fn rollout_status(&self, workload: &Workload) -> RolloutStatus {
        let status = &workload.status;
        let wanted = status.desired_number_scheduled;
        let updated = if is_on_delete(workload) { wanted } else { status.updated_number_scheduled };
        rollout::by_counts(wanted, updated, status.number_available)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::workload::disruption::test_support::replacement;
    use crate::dataplane::workload::rollout::test_support::status_text;

    #[test]
    fn a_daemon_set_replaces_one_pod_at_a_time_by_default() {
        let rolling = |min_available| PodReplacement::Rolling { min_available };
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        let surge = json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}});
        for (spec, replicas, expected) in [
            (&json!({}), 5, rolling(4)),
            (&surge, 5, rolling(5)),
            (&on_delete, 2, PodReplacement::OnDelete),
            (&on_delete, 5, PodReplacement::OnDeletePending),
        ] {
            assert_eq!(replacement(KIND, spec, replicas), expected, "{spec}");
        }
    }

    #[test]
    fn a_daemon_set_is_complete_when_the_pods_of_all_nodes_are_available() {
        let nodes = |available: i64| {
            json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2,
                "numberAvailable": available})
        };
        assert_eq!(status_text(KIND, &json!({}), &nodes(1)), "1 of 2 pods are available");
        assert_eq!(status_text(KIND, &json!({}), &nodes(2)), "complete");
        let on_delete = json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}});
        let agents = json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "numberAvailable": 2});
        assert_eq!(status_text(KIND, &on_delete, &agents), "complete");
    }
}
