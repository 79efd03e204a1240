//! What the watches saw and what was expected.
//!
//! Pure: no client, no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::watcher::{WatchReport, WatchedKind, kind_of};
use crate::drift::snapshot::{LiveObjects, ObjectSnapshot};
use crate::kubernetes::object::ObjectId;

/// How objects are to be; `None` for one that is not to be looked for.
pub(crate) type Expected = BTreeMap<ObjectId, Option<ObjectSnapshot>>;

/// The memory of the watches: one line for each object of ours.
#[derive(Default)]
pub(crate) struct ObservedObjects {
    kinds: BTreeSet<WatchedKind>,
    /// Kinds that a reconcile needs to know all objects of.
    required: BTreeSet<WatchedKind>,
    /// Kinds whose objects are all known.
    listed: BTreeSet<WatchedKind>,
    /// Kinds that are being listed again, with what was found so far.
    relisting: BTreeMap<WatchedKind, BTreeSet<ObjectId>>,
    live: LiveObjects,
    /// How each object was when a reconcile was content with it; `None` for one that was not there.
    expected: Expected,
    /// What a reconcile that is under way found, for the case that it comes to no result.
    previous: Expected,
    /// Objects whose present state was reported already.
    reported: BTreeMap<ObjectId, Option<ObjectSnapshot>>,
}

impl ObservedObjects {
    /// A reconcile cannot go on before these kinds are listed.
    pub(crate) fn require(&mut self, kinds: &BTreeSet<WatchedKind>) {
        self.kinds.extend(kinds.iter().cloned());
        self.required.clone_from(kinds);
    }

    /// Whether a reconcile waits for a list.
    pub(crate) fn is_waiting_for_list(&self) -> bool {
        !self.required.is_subset(&self.listed)
    }

    pub(crate) fn kinds(&self) -> &BTreeSet<WatchedKind> {
        &self.kinds
    }

    pub(crate) fn missing(&self, kinds: &BTreeSet<WatchedKind>) -> Vec<WatchedKind> {
        kinds.difference(&self.listed).cloned().collect()
    }

    pub(crate) fn live(&self) -> &LiveObjects {
        &self.live
    }

    /// Begins a reconcile: nothing is expected until it says so.
    pub(crate) fn begin(&mut self) {
        self.previous = std::mem::take(&mut self.expected);
    }

    /// A reconcile that goes on is content with these objects.
    pub(crate) fn expect_during_wait(&mut self, expected: Expected) {
        self.kinds.extend(expected.keys().map(kind_of));
        self.expected = expected;
        self.reported.clear();
    }

    /// Ends a reconcile, and forgets the kinds that it does not care for any more.
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.kinds = expected.keys().map(kind_of).collect();
        self.required.clear();
        self.listed.retain(|kind| self.kinds.contains(kind));
        self.live.retain(|id, seen| seen.entry.is_some() || expected.contains_key(id));
        self.expected = expected;
        self.previous.clear();
        self.reported.clear();
    }

    /// Ends a reconcile that did not come to a result.
    pub(crate) fn expect_live(&mut self) {
        let previous = std::mem::take(&mut self.previous);
        let ids = previous.into_keys().chain(std::mem::take(&mut self.expected).into_keys());
        self.expected = ids.map(|id| (id.clone(), self.live.get(&id).cloned())).collect();
        self.reported.clear();
    }

    pub(crate) fn record(&mut self, kind: &WatchedKind, report: WatchReport) {
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
                self.live.retain(|id, _| kind_of(id) != *kind || found.contains(id));
                self.listed.insert(kind.clone());
            }
            WatchReport::Gone(id) => drop(self.live.remove(&id)),
            WatchReport::Health(..) => {}
            WatchReport::NotServed => {
                self.live.retain(|id, _| kind_of(id) != *kind);
                self.listed.insert(kind.clone());
            }
        }
    }

    /// The label is on many objects that are not ours, such as a ConfigMap in every namespace; only ours are kept.
    fn store(&mut self, id: ObjectId, snapshot: ObjectSnapshot) {
        if snapshot.entry.is_some() || self.expected.contains_key(&id) || self.previous.contains_key(&id) {
            self.live.insert(id, snapshot);
        } else {
            self.live.remove(&id);
        }
    }

    /// Whether something is not as expected that was not reported yet.
    pub(crate) fn has_differences(&self) -> bool {
        self.differences().next().is_some()
    }

    /// What is not as expected; each state of an object is reported once.
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
            let differs = self.listed.contains(&kind_of(id)) && live != expected.as_ref();
            (differs && !is_reported).then_some(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> WatchedKind {
        (String::new(), "v1".into(), "Service".into())
    }

    fn id(name: &str) -> ObjectId {
        ObjectId {
            group: String::new(),
            version: "v1".into(),
            kind: "Service".into(),
            namespace: None,
            name: name.into(),
        }
    }

    fn snapshot(uid: &str, entry: Option<&str>) -> ObjectSnapshot {
        ObjectSnapshot { uid: Some(uid.into()), entry: entry.map(str::to_owned), pause: None }
    }

    fn applied() -> ObjectSnapshot {
        snapshot("u", Some("e"))
    }

    /// One Service, expected and seen as it was applied.
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
            ("deleted, or its label stripped", WatchReport::Gone(id("a"))),
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
        observed.require(&BTreeSet::from([(String::new(), "v1".into(), "Secret".into())]));
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
