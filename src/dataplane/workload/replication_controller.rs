//! `ReplicationController`s. Their pods are evicted: a change of the template replaces none.

use super::{Gvk, OwnerKind, WorkloadKind};

/// `ReplicationController`s.
pub const KIND: WorkloadKind = WorkloadKind(&ReplicationController);

struct ReplicationController;

impl OwnerKind for ReplicationController {
    fn gvk(&self) -> Gvk {
        Gvk { group: "", version: "v1", kind: "ReplicationController" }
    }

    fn is_intermediate(&self) -> bool {
        true
    }
}
