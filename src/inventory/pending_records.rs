//! Writes that are not in the saved inventory yet.
//!
//! An apply can be dropped at any time, for example when the `Istio` resource is edited, and its last writes are not recorded
//! then. The cluster does not always reveal them: a second write of the same fields changes only the time of our entry in the
//! managed fields, and that in whole seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::kubernetes::object::ObjectId;
use crate::lock::lock;

/// Objects that were written since the inventory was saved, and whether the loaded inventory has the write.
#[derive(Debug, Default)]
pub struct PendingRecords(Mutex<BTreeMap<ObjectId, bool>>);

impl PendingRecords {
    /// The inventory was loaded again: it has none of these writes.
    pub fn reset_recorded(&self) {
        self.writes().values_mut().for_each(|recorded| *recorded = false);
    }

    /// An object is about to be written.
    pub fn add(&self, id: &ObjectId) {
        self.writes().insert(id.clone(), false);
    }

    /// The write of an object was recorded in the loaded inventory.
    pub fn mark_recorded(&self, id: &ObjectId) {
        if let Some(recorded) = self.writes().get_mut(id) {
            *recorded = true;
        }
    }

    /// The loaded inventory was saved.
    pub fn remove_recorded(&self) {
        self.writes().retain(|_, recorded| !*recorded);
    }

    /// Whether an object may differ from its record in the saved inventory.
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
        ObjectId::namespaced("v1", "ConfigMap", "istio-system", name)
    }

    fn recorded(name: &str) -> PendingRecords {
        let pending = PendingRecords::default();
        pending.add(&id(name));
        pending.mark_recorded(&id(name));
        pending
    }

    #[test]
    fn a_recorded_write_is_removed_when_the_inventory_is_saved() {
        let pending = recorded("recorded");
        pending.add(&id("dropped"));
        pending.mark_recorded(&id("never started"));
        assert!(pending.contains(&id("recorded")) && !pending.contains(&id("never started")));
        pending.remove_recorded();
        assert!(!pending.contains(&id("recorded")) && pending.contains(&id("dropped")));
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
