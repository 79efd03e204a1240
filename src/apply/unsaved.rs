//! Writes that the inventory does not know of yet.
//!
//! An apply may be dropped at any time, when the resource is edited for example, and what it wrote in the end is not noted
//! then. Nor does the cluster always tell: our entry in the managed fields shows a second write of the same fields by its
//! time alone, in whole seconds.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::lock::lock;
use crate::object::ObjectId;

/// Objects that were written since the inventory was saved, and whether the inventory at hand has the write.
#[derive(Debug, Default)]
pub struct Unsaved(Mutex<BTreeMap<ObjectId, bool>>);

impl Unsaved {
    /// Notes that an inventory is at hand that was just read, which has none of these writes.
    pub fn start(&self) {
        self.writes().values_mut().for_each(|recorded| *recorded = false);
    }

    /// Notes that an object is about to be written.
    pub fn begin(&self, id: &ObjectId) {
        self.writes().insert(id.clone(), false);
    }

    /// Notes that the write of an object is in the inventory at hand.
    pub fn recorded(&self, id: &ObjectId) {
        if let Some(recorded) = self.writes().get_mut(id) {
            *recorded = true;
        }
    }

    /// Notes that the inventory at hand was saved.
    pub fn saved(&self) {
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

    fn recorded(name: &str) -> Unsaved {
        let unsaved = Unsaved::default();
        unsaved.begin(&id(name));
        unsaved.recorded(&id(name));
        unsaved
    }

    #[test]
    fn a_write_is_forgotten_when_the_inventory_that_has_it_is_saved() {
        let unsaved = recorded("noted");
        unsaved.begin(&id("dropped"));
        unsaved.recorded(&id("never begun"));
        assert!(unsaved.contains(&id("noted")) && !unsaved.contains(&id("never begun")));
        unsaved.saved();
        assert!(!unsaved.contains(&id("noted")) && unsaved.contains(&id("dropped")));
    }

    #[test]
    fn a_write_that_an_apply_before_recorded_in_vain_is_not_forgotten() {
        let unsaved = recorded("a");
        unsaved.start();
        unsaved.saved();
        assert!(unsaved.contains(&id("a")));
    }

    #[test]
    fn a_write_that_is_begun_again_has_to_be_noted_again() {
        let unsaved = recorded("a");
        unsaved.begin(&id("a"));
        unsaved.saved();
        assert!(unsaved.contains(&id("a")));
    }
}
