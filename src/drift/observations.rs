//! What the watches reported, compared with what is expected.
//!
//! Pure: no client, no clock.

use std::collections::{BTreeMap, BTreeSet};

use crate::drift::snapshot::{LiveObjects, ObjectSnapshot};
use crate::kubernetes::object::{ObjectId, ObjectKind};
use crate::readiness::rules::WorkloadHealth;

/// One report of a watch.
pub(crate) enum WatchReport {
    /// A list begins.
    Relisting,
    /// An object exists.
    Present(ObjectId, ObjectSnapshot),
    /// The health of one of our workloads.
    Health(ObjectId, WorkloadHealth),
    /// The list is complete.
    Listed,
    /// An object was deleted, or has lost the label of the module.
    Gone(ObjectId),
    /// The API server does not serve the kind (any more).
    NotServed,
}

/// The expected snapshots; `None` for an object that is expected to be missing.
pub(crate) type Expected = BTreeMap<ObjectId, Option<ObjectSnapshot>>;

/// The state of all watches: one snapshot per object of ours.
#[derive(Default)]
pub(crate) struct ObservedObjects {
    kinds: BTreeSet<ObjectKind>,
    /// Kinds that a reconcile needs completely listed.
    required: BTreeSet<ObjectKind>,
    /// Kinds that are completely listed.
    listed: BTreeSet<ObjectKind>,
    /// Kinds that are being listed again, with the objects found so far.
    relisting: BTreeMap<ObjectKind, BTreeSet<ObjectId>>,
    live: LiveObjects,
    /// The expectation of the last reconcile.
    expected: Expected,
    /// The expectation before the reconcile in progress, in case that it fails.
    previous: Expected,
    /// Objects whose current snapshot was reported already.
    reported: BTreeMap<ObjectId, Option<ObjectSnapshot>>,
}

impl ObservedObjects {
    /// A reconcile waits until these kinds are listed.
    pub(crate) fn require(&mut self, kinds: &BTreeSet<ObjectKind>) {
        self.kinds.extend(kinds.iter().cloned());
        self.required.clone_from(kinds);
    }

    /// Whether a reconcile waits for a list.
    pub(crate) fn is_waiting_for_list(&self) -> bool {
        !self.required.is_subset(&self.listed)
    }

    pub(crate) fn kinds(&self) -> &BTreeSet<ObjectKind> {
        &self.kinds
    }

    pub(crate) fn missing(&self, kinds: &BTreeSet<ObjectKind>) -> Vec<ObjectKind> {
        kinds.difference(&self.listed).cloned().collect()
    }

    pub(crate) fn live(&self) -> &LiveObjects {
        &self.live
    }

    /// Begins a reconcile: nothing is expected until it sets expectations.
    pub(crate) fn begin(&mut self) {
        self.previous = std::mem::take(&mut self.expected);
    }

    /// Sets the expectations of a reconcile that waits for a stage.
    pub(crate) fn expect_during_wait(&mut self, expected: Expected) {
        self.kinds.extend(expected.keys().map(ObjectId::object_kind));
        self.expected = expected;
        self.reported.clear();
    }

    /// Ends a reconcile with its expectations, and drops the kinds without any.
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.kinds = expected.keys().map(ObjectId::object_kind).collect();
        self.required.clear();
        self.listed.retain(|kind| self.kinds.contains(kind));
        self.live.retain(|id, seen| seen.entry.is_some() || expected.contains_key(id));
        self.expected = expected;
        self.previous.clear();
        self.reported.clear();
    }

    /// Ends a reconcile that failed: what is there now is expected.
    pub(crate) fn expect_live(&mut self) {
        let previous = std::mem::take(&mut self.previous);
        let ids = previous.into_keys().chain(std::mem::take(&mut self.expected).into_keys());
        self.expected = ids.map(|id| (id.clone(), self.live.get(&id).cloned())).collect();
        self.reported.clear();
    }

    pub(crate) fn record(&mut self, kind: &ObjectKind, report: WatchReport) {
        match report {
            WatchReport::Relisting => drop(self.relisting.insert(kind.clone(), BTreeSet::new())),
            WatchReport::Present(id, snapshot) => {
                if let Some(found) = self.relisting.get_mut(kind) {
                    found.insert(id.clone());
                }
                self.store(id, snapshot);
            }
            WatchReport::Listed => {
                let found = self.relisting.remove(kind).unwrap_or_default();
                self.live.retain(|id, _| id.object_kind() != *kind || found.contains(id));
                self.listed.insert(kind.clone());
            }
            WatchReport::Gone(id) => drop(self.live.remove(&id)),
            WatchReport::Health(..) => {}
            WatchReport::NotServed => {
                self.live.retain(|id, _| id.object_kind() != *kind);
                self.listed.insert(kind.clone());
            }
        }
    }

    /// Many objects of others have the label, such as a ConfigMap in every namespace; only ours are stored.
    fn store(&mut self, id: ObjectId, snapshot: ObjectSnapshot) {
        if snapshot.entry.is_some() || self.expected.contains_key(&id) || self.previous.contains_key(&id) {
            self.live.insert(id, snapshot);
        } else {
            self.live.remove(&id);
        }
    }

    /// Whether there are differences that were not reported yet.
    pub(crate) fn has_differences(&self) -> bool {
        self.differences().next().is_some()
    }

    /// The objects that are not as expected; each snapshot of an object is reported once.
    pub(crate) fn report_differences(&mut self) -> Vec<ObjectId> {
        let different: Vec<ObjectId> = self.differences().cloned().collect();
        for id in &different {
            self.reported.insert(id.clone(), self.live.get(id).cloned());
        }
        different
    }

    fn differences(&self) -> impl Iterator<Item = &ObjectId> {
        self.expected.iter().filter_map(|(id, expected)| {
            let live = self.live.get(id);
            let is_reported = self.reported.get(id).is_some_and(|reported| reported.as_ref() == live);
            let differs = self.listed.contains(&id.object_kind()) && live != expected.as_ref();
            (differs && !is_reported).then_some(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> ObjectKind {
        ObjectKind::new("v1", "Service")
    }

    fn id(name: &str) -> ObjectId {
        ObjectId::namespaced("v1", "Service", "istio-system", name)
    }

    fn snapshot(uid: &str, entry: Option<&str>) -> ObjectSnapshot {
        ObjectSnapshot { uid: Some(uid.into()), entry: entry.map(str::to_owned), pause: None }
    }

    fn applied() -> ObjectSnapshot {
        snapshot("u", Some("e"))
    }

    /// One Service, expected and observed as it was applied.
    fn in_sync() -> ObservedObjects {
        let mut observed = ObservedObjects::default();
        observed.expect(BTreeMap::from([(id("a"), Some(applied()))]));
        list(&mut observed, &[("a", applied())]);
        observed
    }

    fn list(observed: &mut ObservedObjects, objects: &[(&str, ObjectSnapshot)]) {
        observed.record(&kind(), WatchReport::Relisting);
        for (name, snapshot) in objects {
            observed.record(&kind(), WatchReport::Present(id(name), snapshot.clone()));
        }
        observed.record(&kind(), WatchReport::Listed);
    }

    #[test]
    fn a_change_of_our_object_is_noticed_once() {
        let paused = ObjectSnapshot { pause: Some("true".into()), ..applied() };
        for (name, report) in [
            ("edited", WatchReport::Present(id("a"), snapshot("u", Some("other")))),
            ("taken by force", WatchReport::Present(id("a"), snapshot("u", None))),
            ("recreated", WatchReport::Present(id("a"), snapshot("other", Some("e")))),
            ("deleted, or its label removed", WatchReport::Gone(id("a"))),
            ("paused", WatchReport::Present(id("a"), paused)),
            ("its kind deleted", WatchReport::NotServed),
        ] {
            let mut observed = in_sync();
            assert!(!observed.has_differences(), "{name}");
            observed.record(&kind(), report);
            assert_eq!(observed.report_differences(), [id("a")], "{name}");
            assert!(!observed.has_differences(), "{name} twice");
        }
    }

    #[test]
    fn a_change_during_a_watch_gap_is_noticed_after_the_next_list() {
        let mut observed = in_sync();
        list(&mut observed, &[]);
        assert_eq!(observed.report_differences(), [id("a")]);
    }

    #[test]
    fn a_list_is_needed_until_it_is_complete_or_the_reconcile_ends() {
        let mut observed = ObservedObjects::default();
        assert!(!observed.is_waiting_for_list());
        observed.require(&BTreeSet::from([kind()]));
        assert!(observed.is_waiting_for_list());
        list(&mut observed, &[]);
        assert!(!observed.is_waiting_for_list());
        observed.require(&BTreeSet::from([ObjectKind::new("v1", "Secret")]));
        observed.expect(BTreeMap::from([(id("a"), None)]));
        assert!(!observed.is_waiting_for_list());
    }

    #[test]
    fn an_incomplete_list_shows_no_differences() {
        let mut observed = ObservedObjects::default();
        observed.expect(BTreeMap::from([(id("a"), Some(applied()))]));
        observed.record(&kind(), WatchReport::Relisting);
        assert!(!observed.has_differences());
    }

    #[test]
    fn objects_with_our_label_that_are_not_ours_are_not_stored() {
        let mut observed = in_sync();
        observed.record(&kind(), WatchReport::Present(id("copy"), snapshot("v", None)));
        assert_eq!(observed.live().keys().collect::<Vec<_>>(), [&id("a")]);
    }

    #[test]
    fn changes_during_a_reconcile_are_compared_at_its_end() {
        let mut observed = in_sync();
        observed.begin();
        observed.record(&kind(), WatchReport::Present(id("a"), snapshot("u", Some("new"))));
        observed.record(&kind(), WatchReport::Present(id("b"), snapshot("v", Some("f"))));
        assert!(!observed.has_differences());
        observed.expect(BTreeMap::from([
            (id("a"), Some(snapshot("u", Some("new")))),
            (id("b"), Some(snapshot("v", Some("g")))),
        ]));
        assert_eq!(observed.report_differences(), [id("b")]);
    }

    #[test]
    fn changes_of_expected_objects_are_noticed_while_a_reconcile_waits() {
        let mut observed = in_sync();
        observed.begin();
        observed.expect_during_wait(BTreeMap::from([(id("a"), Some(applied()))]));
        observed.record(&kind(), WatchReport::Present(id("b"), snapshot("v", Some("f"))));
        assert!(!observed.has_differences());
        observed.record(&kind(), WatchReport::Gone(id("a")));
        assert_eq!(observed.report_differences(), [id("a")]);
    }

    #[test]
    fn a_failed_reconcile_is_not_repeated_for_the_state_it_ended_with() {
        let mut observed = in_sync();
        observed.record(&kind(), WatchReport::Gone(id("a")));
        observed.begin();
        observed.expect_live();
        assert!(!observed.has_differences());
        observed.record(&kind(), WatchReport::Present(id("a"), snapshot("w", None)));
        assert!(observed.has_differences());
    }

    #[test]
    fn a_skipped_object_that_is_missing_may_stay_missing() {
        let mut observed = in_sync();
        observed.record(&kind(), WatchReport::Gone(id("a")));
        observed.expect(BTreeMap::from([(id("a"), None)]));
        assert!(!observed.has_differences());
    }
}
