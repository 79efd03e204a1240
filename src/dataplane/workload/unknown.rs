//! Owners of a kind that this operator does not know. Their pods are evicted if the scale subresource of the owner tells how
//! many pods there should be; otherwise nothing shows when an evicted pod was replaced.

use super::disruption::PodReplacement;
use super::{Gvk, OwnerKind, RestartStrategy, WorkloadKind, WorkloadSource};

/// Owners of unknown kinds.
pub const KIND: WorkloadKind = WorkloadKind(&UnknownOwner);

struct UnknownOwner;

impl OwnerKind for UnknownOwner {
    fn gvk(&self) -> Gvk {
        Gvk { group: "", version: "", kind: "Other" }
    }

    fn source(&self) -> WorkloadSource {
        WorkloadSource::Scale
    }

    /// Its controller may create anything.
    fn can_create(&self, _: WorkloadKind) -> bool {
        true
    }

    fn restart_strategy(&self, _: &PodReplacement, replicas: i64) -> Option<RestartStrategy> {
        (replicas > 0).then_some(RestartStrategy::Evict)
    }
}
