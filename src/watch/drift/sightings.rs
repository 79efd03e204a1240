//! What the watches saw and what was expected.
//!
//! Pure: no client, no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Report, kind_of};
use crate::apply::live::{Live, Seen};
use crate::object::ObjectId;

/// How objects are to be; `None` for one that is not to be looked for.
pub(super) type Expected = BTreeMap<ObjectId, Option<Seen>>;

/// The memory of the watches: one line for each object of ours.
#[derive(Default)]
pub(super) struct Sightings {
    kinds: BTreeSet<Kind>,
    /// Kinds that a reconcile needs to know all objects of.
    needed: BTreeSet<Kind>,
    /// Kinds whose objects are all known.
    listed: BTreeSet<Kind>,
    /// Kinds that are being listed again, with what was found so far.
    relisting: BTreeMap<Kind, BTreeSet<ObjectId>>,
    seen: Live,
    /// How each object was when a reconcile was content with it; `None` for one that was not there.
    expected: Expected,
    /// What a reconcile that is under way found, for the case that it comes to no result.
    before: Expected,
    /// Objects whose present state was reported already.
    reported: BTreeMap<ObjectId, Option<Seen>>,
}

impl Sightings {
    /// A reconcile cannot go on before these kinds are listed.
    pub(super) fn need(&mut self, kinds: &BTreeSet<Kind>) {
        self.kinds.extend(kinds.iter().cloned());
        self.needed.clone_from(kinds);
    }

    /// Whether a reconcile waits for a list.
    pub(super) fn is_needed(&self) -> bool {
        !self.needed.is_subset(&self.listed)
    }

    pub(super) fn kinds(&self) -> &BTreeSet<Kind> {
        &self.kinds
    }

    pub(super) fn missing(&self, kinds: &BTreeSet<Kind>) -> Vec<Kind> {
        kinds.difference(&self.listed).cloned().collect()
    }

    pub(super) fn seen(&self) -> &Live {
        &self.seen
    }

    /// Begins a reconcile: nothing is expected until it says so.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.expected);
    }

    /// A reconcile that goes on is content with these objects.
    pub(super) fn expect_meanwhile(&mut self, expected: Expected) {
        self.kinds.extend(expected.keys().map(kind_of));
        self.expected = expected;
        self.reported.clear();
    }

    /// Ends a reconcile, and forgets the kinds that it does not care for any more.
    pub(super) fn expect(&mut self, expected: Expected) {
        self.kinds = expected.keys().map(kind_of).collect();
        self.needed.clear();
        self.listed.retain(|kind| self.kinds.contains(kind));
        self.seen.retain(|id, seen| seen.entry.is_some() || expected.contains_key(id));
        self.expected = expected;
        self.before.clear();
        self.reported.clear();
    }

    /// Ends a reconcile that did not come to a result.
    pub(super) fn expect_what_is_seen(&mut self) {
        let before = std::mem::take(&mut self.before);
        let known = before.into_keys().chain(std::mem::take(&mut self.expected).into_keys());
        self.expected = known.map(|id| (id.clone(), self.seen.get(&id).cloned())).collect();
        self.reported.clear();
    }

    pub(super) fn note(&mut self, kind: &Kind, report: Report) {
        match report {
            Report::Restarted => drop(self.relisting.insert(kind.clone(), BTreeSet::new())),
            Report::Is(id, seen) => {
                if let Some(found) = self.relisting.get_mut(kind) {
                    found.insert(id.clone());
                }
                self.keep(id, seen);
            }
            Report::Listed => {
                let found = self.relisting.remove(kind).unwrap_or_default();
                self.seen.retain(|id, _| kind_of(id) != *kind || found.contains(id));
                self.listed.insert(kind.clone());
            }
            Report::Gone(id) => drop(self.seen.remove(&id)),
            Report::Fares(..) => {}
            Report::Unknown => {
                self.seen.retain(|id, _| kind_of(id) != *kind);
                self.listed.insert(kind.clone());
            }
        }
    }

    /// The label is on many objects that are not ours, such as a ConfigMap in every namespace; only ours are kept.
    fn keep(&mut self, id: ObjectId, seen: Seen) {
        if seen.entry.is_some() || self.expected.contains_key(&id) || self.before.contains_key(&id) {
            self.seen.insert(id, seen);
        } else {
            self.seen.remove(&id);
        }
    }

    /// Whether something is not as expected that was not reported yet.
    pub(super) fn differs(&self) -> bool {
        self.differences().next().is_some()
    }

    /// What is not as expected; each state of an object is reported once.
    pub(super) fn report_differences(&mut self) -> Vec<ObjectId> {
        let different: Vec<ObjectId> = self.differences().cloned().collect();
        for id in &different {
            self.reported.insert(id.clone(), self.seen.get(id).cloned());
        }
        different
    }

    fn differences(&self) -> impl Iterator<Item = &ObjectId> {
        self.expected.iter().filter_map(|(id, expected)| {
            let seen = self.seen.get(id);
            let known = self.reported.get(id).is_some_and(|reported| reported.as_ref() == seen);
            let differs = self.listed.contains(&kind_of(id)) && seen != expected.as_ref();
            (differs && !known).then_some(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> Kind {
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

    fn seen(uid: &str, entry: Option<&str>) -> Seen {
        Seen { uid: Some(uid.into()), entry: entry.map(str::to_owned), pause: None }
    }

    fn applied() -> Seen {
        seen("u", Some("e"))
    }

    /// One Service, expected and seen as it was applied.
    fn settled() -> Sightings {
        let mut sightings = Sightings::default();
        sightings.expect(BTreeMap::from([(id("a"), Some(applied()))]));
        list(&mut sightings, &[("a", applied())]);
        sightings
    }

    fn list(sightings: &mut Sightings, objects: &[(&str, Seen)]) {
        sightings.note(&kind(), Report::Restarted);
        for (name, seen) in objects {
            sightings.note(&kind(), Report::Is(id(name), seen.clone()));
        }
        sightings.note(&kind(), Report::Listed);
    }

    #[test]
    fn what_happens_to_an_object_of_ours_is_noticed_once() {
        let paused = Seen { pause: Some("true".into()), ..applied() };
        for (name, report) in [
            ("edited", Report::Is(id("a"), seen("u", Some("other")))),
            ("taken by force", Report::Is(id("a"), seen("u", None))),
            ("recreated", Report::Is(id("a"), seen("other", Some("e")))),
            ("deleted, or its label stripped", Report::Gone(id("a"))),
            ("paused", Report::Is(id("a"), paused)),
            ("its kind deleted", Report::Unknown),
        ] {
            let mut sightings = settled();
            assert!(!sightings.differs(), "{name}");
            sightings.note(&kind(), report);
            assert_eq!(sightings.report_differences(), [id("a")], "{name}");
            assert!(!sightings.differs(), "{name} twice");
        }
    }

    #[test]
    fn a_change_while_the_watch_was_away_is_noticed_when_it_is_back() {
        let mut sightings = settled();
        list(&mut sightings, &[]);
        assert_eq!(sightings.report_differences(), [id("a")]);
    }

    #[test]
    fn a_list_is_needed_until_it_is_complete_or_the_reconcile_ends() {
        let mut sightings = Sightings::default();
        assert!(!sightings.is_needed());
        sightings.need(&BTreeSet::from([kind()]));
        assert!(sightings.is_needed());
        list(&mut sightings, &[]);
        assert!(!sightings.is_needed());
        sightings.need(&BTreeSet::from([(String::new(), "v1".into(), "Secret".into())]));
        sightings.expect(BTreeMap::from([(id("a"), None)]));
        assert!(!sightings.is_needed());
    }

    #[test]
    fn an_unfinished_list_proves_nothing() {
        let mut sightings = Sightings::default();
        sightings.expect(BTreeMap::from([(id("a"), Some(applied()))]));
        sightings.note(&kind(), Report::Restarted);
        assert!(!sightings.differs());
    }

    #[test]
    fn objects_that_carry_our_label_but_are_not_ours_are_not_kept() {
        let mut sightings = settled();
        sightings.note(&kind(), Report::Is(id("copy"), seen("v", None)));
        assert_eq!(sightings.seen().keys().collect::<Vec<_>>(), [&id("a")]);
    }

    #[test]
    fn what_happens_during_a_reconcile_is_judged_at_its_end() {
        let mut sightings = settled();
        sightings.begin();
        sightings.note(&kind(), Report::Is(id("a"), seen("u", Some("new"))));
        sightings.note(&kind(), Report::Is(id("b"), seen("v", Some("f"))));
        assert!(!sightings.differs());
        sightings.expect(BTreeMap::from([
            (id("a"), Some(seen("u", Some("new")))),
            (id("b"), Some(seen("v", Some("g")))),
        ]));
        assert_eq!(sightings.report_differences(), [id("b")]);
    }

    #[test]
    fn what_happens_while_a_reconcile_waits_is_noticed_for_what_it_was_content_with() {
        let mut sightings = settled();
        sightings.begin();
        sightings.expect_meanwhile(BTreeMap::from([(id("a"), Some(applied()))]));
        sightings.note(&kind(), Report::Is(id("b"), seen("v", Some("f"))));
        assert!(!sightings.differs());
        sightings.note(&kind(), Report::Gone(id("a")));
        assert_eq!(sightings.report_differences(), [id("a")]);
    }

    #[test]
    fn a_reconcile_that_failed_is_not_repeated_for_what_it_left_behind() {
        let mut sightings = settled();
        sightings.note(&kind(), Report::Gone(id("a")));
        sightings.begin();
        sightings.expect_what_is_seen();
        assert!(!sightings.differs());
        sightings.note(&kind(), Report::Is(id("a"), seen("w", None)));
        assert!(sightings.differs());
    }

    #[test]
    fn an_object_that_was_left_alone_as_missing_may_stay_so() {
        let mut sightings = settled();
        sightings.note(&kind(), Report::Gone(id("a")));
        sightings.expect(BTreeMap::from([(id("a"), None)]));
        assert!(!sightings.differs());
    }
}
