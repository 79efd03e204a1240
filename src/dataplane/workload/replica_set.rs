//! `ReplicaSet`s that no Deployment owns. Their pods are evicted: a change of the template replaces none.

use super::{Gvk, OwnerKind, WorkloadKind};

/// `ReplicaSet`s.
pub const KIND: WorkloadKind = WorkloadKind(&ReplicaSet);

struct ReplicaSet;

impl OwnerKind for ReplicaSet {
    fn gvk(&self) -> Gvk {
        Gvk { group: "apps", version: "v1", kind: "ReplicaSet" }
    }

    fn is_intermediate(&self) -> bool {
        true
    }

    fn is_stateful(&self) -> bool {
        false
    }
}
