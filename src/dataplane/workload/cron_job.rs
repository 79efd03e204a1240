//! `CronJob`s. The pods of their next run get a new sidecar, so they are reported and never restarted.

use super::disruption::PodReplacement;
use super::{Gvk, NeverRestarted, OwnerKind, RestartStrategy, WorkloadKind, job};

/// `CronJob`s.
pub const KIND: WorkloadKind = WorkloadKind(&CronJob);

struct CronJob;

impl OwnerKind for CronJob {
    fn gvk(&self) -> Gvk {
        Gvk { group: "batch", version: "v1", kind: "CronJob" }
    }

    fn can_create(&self, owned: WorkloadKind) -> bool {
        owned == job::KIND
    }

    fn has_selector(&self) -> bool {
        false
    }

    fn never_restarted(&self) -> Option<NeverRestarted> {
        Some(NeverRestarted::NextRun)
    }

    fn restart_strategy(&self, _: &PodReplacement, _: i64) -> Option<RestartStrategy> {
        None
    }
}
