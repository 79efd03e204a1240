//! Pods that no controller owns. A pod that is deleted does not come back.

use super::disruption::PodReplacement;
use super::{Gvk, NeverRestarted, OwnerKind, RestartStrategy, WorkloadKind, WorkloadSource};

/// Pods without a controller.
pub const KIND: WorkloadKind = WorkloadKind(&BarePod);

struct BarePod;

impl OwnerKind for BarePod {
    fn gvk(&self) -> Gvk {
        Gvk { group: "", version: "v1", kind: "Pod" }
    }

    fn source(&self) -> WorkloadSource {
        WorkloadSource::Pod
    }

    fn can_create(&self, _: WorkloadKind) -> bool {
        false
    }

    fn never_restarted(&self) -> Option<NeverRestarted> {
        Some(NeverRestarted::NoController)
    }

    fn restart_strategy(&self, _: &PodReplacement, _: i64) -> Option<RestartStrategy> {
        None
    }
}
