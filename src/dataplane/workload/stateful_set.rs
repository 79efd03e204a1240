//! `StatefulSet`s. A change of the pod template replaces one pod after the other, unless the update strategy leaves that to
//! whoever deletes pods (`OnDelete`) or holds a part of them back (`partition`); then outdated pods are evicted.

use super::disruption::{PodReplacement, Rounding, is_on_delete, scaled_value};
use super::rollout::{self, RolloutStatus};
use super::{Gvk, OwnerKind, RestartStrategy, WorkloadKind};
use crate::dataplane::model::Workload;

/// `StatefulSet`s.
pub const KIND: WorkloadKind = WorkloadKind(&StatefulSet);

struct StatefulSet;

impl OwnerKind for StatefulSet {
    fn gvk(&self) -> Gvk {
        Gvk { group: "apps", version: "v1", kind: "StatefulSet" }
    }

    fn is_listed(&self) -> bool {
        true
    }

    /// The name of a pod is that of the set and an ordinal.
    fn can_name_pod(&self, name: &str, pod: &str) -> bool {
        let ordinal = pod.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        ordinal.is_some_and(|ordinal| ordinal.parse::<u32>().is_ok())
    }

    fn restart_strategy(&self, replacement: &PodReplacement, _: i64) -> Option<RestartStrategy> {
        replacement.strategy_of_set()
    }

    fn pod_replacement(&self, workload: &Workload, replicas: i64) -> PodReplacement {
        if is_on_delete(workload) {
            return PodReplacement::on_delete(workload.status.updated_replicas, replicas);
        }
        if partition(workload) > 0 {
            return PodReplacement::Partitioned;
        }
        let strategy = workload.spec.update_strategy.as_ref();
        let unavailable = strategy.and_then(|strategy| strategy.pointer("/rollingUpdate/maxUnavailable"));
        let unavailable = scaled_value(unavailable, "1", replicas, Rounding::Up).max(1);
        PodReplacement::Rolling { min_available: (replicas - unavailable).max(0) }
    }

    /// The revisions of a set with a partition differ even after its rollout, those of one with `OnDelete` at any time.
    fn rollout_status(&self, workload: &Workload) -> RolloutStatus {
        let (status, partition) = (&workload.status, partition(workload));
        let wanted = rollout::desired_replicas(workload);
        let is_mixed =
            !status.update_revision.is_empty() && status.current_revision != status.update_revision;
        let is_partition_complete = partition > 0 && status.updated_replicas >= wanted - partition;
        if wanted > 0 && is_mixed && !is_on_delete(workload) && !is_partition_complete {
            return RolloutStatus::not_updated(status.updated_replicas, wanted);
        }
        rollout::by_counts(wanted, wanted, status.ready_replicas)
    }
}

/// How many pods of a set, those with the lowest ordinals, keep the old template.
fn partition(workload: &Workload) -> i64 {
    let strategy = workload.spec.update_strategy.as_ref();
    let partition = strategy.and_then(|strategy| strategy.pointer("/rollingUpdate/partition")?.as_i64());
    partition.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::workload::disruption::test_support::replacement;
    use crate::dataplane::workload::rollout::test_support::status_text;

    #[test]
    fn a_stateful_set_replaces_one_pod_at_a_time_by_default() {
        let rolling = |min_available| PodReplacement::Rolling { min_available };
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        let partition = json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}});
        for (spec, replicas, expected) in [
            (&json!({}), 3, rolling(2)),
            (&json!({}), 1, rolling(0)),
            (&on_delete, 2, PodReplacement::OnDelete),
            (&on_delete, 3, PodReplacement::OnDeletePending),
            (&partition, 3, PodReplacement::Partitioned),
        ] {
            assert_eq!(replacement(KIND, spec, replicas), expected, "{spec}");
        }
    }

    #[test]
    fn a_stateful_set_is_complete_when_only_one_revision_is_left() {
        let status = |current: &str, ready: i64| {
            json!({"observedGeneration": 2, "currentRevision": current, "updateRevision": "b",
                "updatedReplicas": 1, "readyReplicas": ready})
        };
        for (status, expected) in [
            (status("a", 3), "1 of 3 pods are updated"),
            (status("b", 2), "2 of 3 pods are available"),
            (status("b", 3), "complete"),
        ] {
            assert_eq!(status_text(KIND, &json!({"replicas": 3}), &status), expected);
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
            (&partition, 0, "0 of 3 pods are updated"),
            (&partition, 1, "complete"),
            (&on_delete, 0, "complete"),
        ] {
            assert_eq!(status_text(KIND, spec, &status(updated)), expected, "{spec}");
        }
    }
}
