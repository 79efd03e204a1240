//! Writes that the inventory does not know of yet.
//!
//! An apply may be dropped at any time, when the resource is edited for example, and what it wrote in the end is not noted
//! then. Nor does the cluster always tell: our entry in the managed fields shows a second write of the same fields by its
//! time alone, in whole seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::kubernetes::object::ObjectId;
use crate::lock::lock;

/// Objects that were written since the inventory was saved, and whether the inventory at hand has the write.
#[derive(Debug, Default)]
pub struct PendingRecords(Mutex<BTreeMap<ObjectId, bool>>);

impl PendingRecords {
    /// Notes that an inventory is at hand that was just read, which has none of these writes.
    pub fn reset_recorded(&self) {
        self.writes().values_mut().for_each(|recorded| *recorded = false);
    }

    /// Notes that an object is about to be written.
    pub fn add(&self, id: &ObjectId) {
        self.writes().insert(id.clone(), false);
    }

    /// Notes that the write of an object is in the inventory at hand.
    pub fn mark_recorded(&self, id: &ObjectId) {
        if let Some(recorded) = self.writes().get_mut(id) {
            *recorded = true;
        }
    }

    /// Notes that the inventory at hand was saved.
    pub fn remove_recorded(&self) {
        self.writes().retain(|_, recorded| !*recorded);
    }

    /// Whether an object may be otherwise than the saved inventory has it.
    #[must_use]
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.writes().contains_key(id)
    }

    fn writes(&self) -> MutexGuard<'_, BTreeMap<ObjectId, bool>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: Some("istio-system".into()),
            name: name.into(),
        }
    }

    fn recorded(name: &str) -> PendingRecords {
        let pending = PendingRecords::default();
        pending.add(&id(name));
        pending.mark_recorded(&id(name));
        pending
    }

    #[test]
    fn a_recorded_write_is_removed_when_the_inventory_is_saved() {
        let pending = recorded("noted");
        pending.add(&id("dropped"));
        pending.mark_recorded(&id("never begun"));
        assert!(pending.contains(&id("noted")) && !pending.contains(&id("never begun")));
        pending.remove_recorded();
        assert!(!pending.contains(&id("noted")) && pending.contains(&id("dropped")));
    }

    #[test]
    fn a_write_that_only_an_earlier_apply_recorded_stays_pending() {
        let pending = recorded("a");
        pending.reset_recorded();
        pending.remove_recorded();
        assert!(pending.contains(&id("a")));
    }

    #[test]
    fn a_write_that_is_started_again_must_be_recorded_again() {
        let pending = recorded("a");
        pending.add(&id("a"));
        pending.remove_recorded();
        assert!(pending.contains(&id("a")));
    }
}
