//! How fast a wave of restarts goes: which start next, and when it stops. Pure; the time is an argument.
//!
//! Failures are those of a namespace, since its tenant can cause them: they stop the restarts of this namespace. What makes
//! restarts fail everywhere shows in several namespaces, and stops the wave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::settings::Settings;
use crate::object::ObjectId;

/// How far a wave is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Restarts that are to come.
    pub waiting: usize,
    /// Restarts under way.
    pub running: usize,
    /// Restarts that are done.
    pub done: usize,
    /// Restarts that failed.
    pub failed: usize,
    /// What is in the way of restarts: of those that take long, and of those that failed.
    pub troubles: Vec<Trouble>,
}

/// What is in the way of one restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The workload.
    pub workload: ObjectId,
    /// Why it is outdated.
    pub outdated: String,
    /// What is in the way.
    pub why: String,
}

/// One restart that is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What the caller knows it by.
    pub id: usize,
    /// Namespace of the workload.
    pub namespace: String,
    /// Gateways start when nothing else is unfinished, one after the other.
    pub gateway: bool,
}

/// A restart takes long that has used up this part of its time.
const LONG: u64 = 10;
/// One failure among so many restarts is too much, once there are as many as the limit.
const SHARE: usize = 20;

/// Namespaces with failures that stop the wave: a fifth of those in it, and no fewer than these. A single tenant rarely has
/// as many, and what is wrong with the mesh itself shows in more.
const FAILING_NAMESPACES: usize = 3;
const FAILING_SHARE: usize = 5;

/// Which restarts were stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those of the whole wave.
    Wave,
    /// Those of these namespaces.
    Namespaces(BTreeSet<String>),
}

impl Extent {
    /// Whether the restarts of a namespace were stopped.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Wave => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// What was stopped before and what is stopped now.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Namespaces(mut namespaces), Self::Namespaces(others)) => {
                namespaces.extend(others);
                Self::Namespaces(namespaces)
            }
            _ => Self::Wave,
        }
    }
}

/// How the restarts of one namespace ended.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    done: usize,
    failed: usize,
    failed_in_a_row: usize,
}

impl Tally {
    fn add(&mut self, end: End) {
        match end {
            End::Done => {
                self.done += 1;
                self.failed_in_a_row = 0;
            }
            End::Failed => {
                self.failed += 1;
                self.failed_in_a_row += 1;
            }
            End::Skipped => {}
        }
    }

    /// Whether so many failed, in a row or among all, that no further one starts.
    fn is_too_much(&self, limit: usize) -> bool {
        // Successes of others between the failures do not make these less of a pattern.
        let share = self.failed * SHARE >= self.done + self.failed;
        self.failed_in_a_row >= limit || (self.failed >= limit && share)
    }
}

/// The course of one wave.
#[derive(Clone, Debug)]
pub struct Pace {
    unfinished: usize,
    per_namespace: usize,
    failure_limit: usize,
    /// Namespaces with failures that stop the wave.
    failing_limit: usize,
    timeout: u64,
    waiting: VecDeque<Item>,
    /// What does not start, because its namespace was stopped.
    held: Vec<Item>,
    running: BTreeMap<usize, Running>,
    tallies: BTreeMap<String, Tally>,
    stopped_namespaces: BTreeSet<String>,
    done: usize,
    /// Restarts done since some were started last.
    done_since: usize,
    failed: usize,
    stopped: bool,
}

#[derive(Clone, Debug)]
struct Running {
    namespace: String,
    gateway: bool,
    since: u64,
    /// Whether its time began anew.
    extended: bool,
}

/// How one restart ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every pod is new.
    Done,
    /// The rollout failed or took too long.
    Failed,
    /// It was not begun after all; says nothing about the wave.
    Skipped,
}

impl Pace {
    /// A wave over `items`, in their order.
    #[must_use]
    pub fn new(settings: &Settings, items: impl IntoIterator<Item = Item>) -> Self {
        let waiting: VecDeque<Item> = items.into_iter().collect();
        let namespaces: BTreeSet<&str> = waiting.iter().map(|item| item.namespace.as_str()).collect();
        let failing_limit = namespaces.len().div_ceil(FAILING_SHARE).max(FAILING_NAMESPACES);
        Self {
            unfinished: settings.unfinished.max(1),
            per_namespace: settings.unfinished_per_namespace.max(1),
            failure_limit: settings.failure_limit.max(1),
            failing_limit,
            timeout: settings.rollout_timeout.as_secs(),
            waiting,
            held: Vec::new(),
            running: BTreeMap::new(),
            tallies: BTreeMap::new(),
            stopped_namespaces: BTreeSet::new(),
            done: 0,
            done_since: 0,
            failed: 0,
            stopped: false,
        }
    }

    /// What starts now. Each item starts at most once.
    pub fn start(&mut self, now: u64) -> Vec<usize> {
        let mut started = Vec::new();
        let mut passed_over = VecDeque::new();
        while let Some(item) = self.waiting.pop_front() {
            if self.is_stopped() || !self.has_room(&item, passed_over.is_empty()) {
                passed_over.push_back(item);
                continue;
            }
            started.push(item.id);
            let running =
                Running { namespace: item.namespace, gateway: item.gateway, since: now, extended: false };
            self.running.insert(item.id, running);
        }
        self.waiting = passed_over;
        self.done_since = 0;
        started
    }

    /// Whether so many restarts are done since some were started last that it is time for more. Each start of some is a write
    /// of the memory, so that few are not worth it.
    ///
    /// Restarts that failed or were refused make nothing faster.
    #[must_use]
    pub fn is_time_for_more(&self) -> bool {
        const WORTH: usize = 10;
        !self.waiting.is_empty() && self.done_since >= WORTH && self.done_since * 10 >= self.unfinished * 7
    }

    fn has_room(&self, item: &Item, nothing_before: bool) -> bool {
        if item.gateway {
            return self.running.is_empty() && nothing_before;
        }
        let in_namespace =
            self.running.values().filter(|running| running.namespace == item.namespace).count();
        self.running.len() < self.unfinished
            && in_namespace < self.per_namespace
            && !self.running.values().any(|running| running.gateway)
    }

    /// Lets the time of a restart begin anew, once; tells whether it does.
    pub fn extend(&mut self, id: usize, now: u64) -> bool {
        let Some(running) = self.running.get_mut(&id).filter(|running| !running.extended) else {
            return false;
        };
        (running.since, running.extended) = (now, true);
        true
    }

    /// Notes how a restart ended, and tells whether it ran until now. What does not run is ignored.
    pub fn end(&mut self, id: usize, end: End) -> bool {
        let Some(Running { namespace, .. }) = self.running.remove(&id) else { return false };
        match end {
            End::Done => {
                self.done += 1;
                self.done_since += 1;
            }
            End::Failed => self.failed += 1,
            End::Skipped => {}
        }
        let tally = self.tallies.entry(namespace.clone()).or_default();
        tally.add(end);
        if tally.is_too_much(self.failure_limit) {
            self.stop_namespace(namespace);
        }
        let failing = self.tallies.values().filter(|tally| tally.failed > 0).count();
        self.stopped |= failing >= self.failing_limit;
        true
    }

    fn stop_namespace(&mut self, namespace: String) {
        let (held, waiting) = self.waiting.drain(..).partition(|item| item.namespace == namespace);
        self.waiting = waiting;
        let held: VecDeque<Item> = held;
        self.held.extend(held);
        self.stopped_namespaces.insert(namespace);
    }

    /// The restarts that run longer than a rollout may take.
    #[must_use]
    pub fn overdue(&self, now: u64) -> Vec<usize> {
        self.older_than(self.timeout, now).collect()
    }

    /// The restarts that take so long that people may ask why.
    pub fn slow(&self, now: u64) -> impl Iterator<Item = usize> {
        self.older_than(self.timeout / LONG, now)
    }

    fn older_than(&self, age: u64, now: u64) -> impl Iterator<Item = usize> {
        let is_older = move |running: &Running| now.saturating_sub(running.since) > age;
        self.running.iter().filter(move |(_, running)| is_older(running)).map(|(id, _)| *id)
    }

    /// Whether restarts failed in so many namespaces that no further one starts.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Which restarts were stopped after failures; `None` if none were.
    #[must_use]
    pub fn extent(&self) -> Option<Extent> {
        if self.stopped {
            return Some(Extent::Wave);
        }
        let namespaces = self.stopped_namespaces.clone();
        (!namespaces.is_empty()).then_some(Extent::Namespaces(namespaces))
    }

    /// Whether nothing runs and nothing will start.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.running.is_empty() && (self.waiting.is_empty() || self.is_stopped())
    }

    /// The items that will not start any more, because their namespace was stopped.
    pub fn held(&self) -> impl Iterator<Item = usize> {
        self.held.iter().map(|item| item.id)
    }

    /// The items that have not started; where the wave is stopped, they will not.
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter().map(|item| item.id)
    }

    /// Takes back everything that has not started.
    pub fn cancel(&mut self) {
        self.waiting.clear();
    }

    /// Restarts under way, done and failed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.running.len(), self.done, self.failed)
    }
}

/// Whether so many workloads are outdated without a reason that the wave has to be released by a person.
///
/// `explained` is whether version or configuration of the mesh changed since the last settled wave.
#[must_use]
pub fn needs_release(stale: usize, total: usize, explained: bool, settings: &Settings) -> bool {
    // In a small mesh, a few workloads are a large share.
    const FEW: usize = 3;
    !explained && stale > FEW && stale * 100 > total * settings.unexplained_share
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn item(id: usize, namespace: &str, gateway: bool) -> Item {
        Item { id, namespace: namespace.to_owned(), gateway }
    }

    fn settings(unfinished: usize, per_namespace: usize, failure_limit: usize) -> Settings {
        Settings { unfinished, unfinished_per_namespace: per_namespace, failure_limit, ..Settings::default() }
    }

    #[test]
    fn a_full_namespace_does_not_hold_up_others() {
        let items = [item(0, "a", false), item(1, "a", false), item(2, "b", false)];
        let mut pace = Pace::new(&settings(5, 1, 3), items);
        assert_eq!(pace.start(0), [0, 2]);
        pace.end(0, End::Done);
        assert_eq!(pace.start(0), [1]);
    }

    #[test]
    fn gateways_wait_for_everything_else_and_go_alone() {
        let items = [item(0, "a", false), item(1, "g", true), item(2, "g", true)];
        let mut pace = Pace::new(&settings(5, 5, 3), items);
        assert_eq!(pace.start(0), [0]);
        assert_eq!(pace.start(0), [0; 0]);
        pace.end(0, End::Done);
        assert_eq!(pace.start(0), [1]);
        assert_eq!(pace.start(0), [0; 0]);
        pace.end(1, End::Done);
        assert_eq!(pace.start(0), [2]);
    }

    #[test]
    fn more_start_when_most_of_the_limit_is_done_and_it_is_worth_a_write() {
        let ended = |unfinished, ends: &[End]| {
            let mut pace = Pace::new(&settings(unfinished, 99, 99), (0..99).map(|id| item(id, "a", false)));
            let started = pace.start(0);
            assert!(!pace.is_time_for_more(), "nothing is done");
            for (id, end) in started.into_iter().zip(ends) {
                pace.end(id, *end);
            }
            let time = pace.is_time_for_more();
            pace.start(0);
            assert!(!pace.is_time_for_more(), "these were started for");
            time
        };
        for (unfinished, ends, time) in [
            (1, vec![End::Done], false),
            (4, vec![End::Done; 4], false),
            (10, vec![End::Done; 10], true),
            (20, vec![End::Done; 13], false),
            (20, vec![End::Done; 14], true),
            (20, vec![End::Failed; 20], false),
        ] {
            assert_eq!(ended(unfinished, &ends), time, "{unfinished} {ends:?}");
        }
    }

    #[test]
    fn repeated_failures_stop_their_namespace_and_single_ones_do_not() {
        use End::{Done, Failed, Skipped};
        let with_many = |ends: [End; 3]| std::iter::repeat_n(Done, 50).chain(ends).collect::<Vec<_>>();
        for (ends, stopped) in [
            (vec![Failed, Done], false),
            (vec![Failed, Failed], true),
            (vec![Failed, Skipped, Failed], true),
            (vec![Failed, Done, Failed], true),
            (with_many([Failed, Done, Failed]), false),
            (with_many([Done, Failed, Failed]), true),
        ] {
            let items = (0..=ends.len()).map(|id| item(id, "a", false));
            let last = [item(ends.len() + 1, "b", false), item(ends.len() + 2, "b", true)];
            let mut pace = Pace::new(&settings(1, 1, 2), items.chain(last));
            for end in &ends {
                let [id] = pace.start(0)[..] else { panic!("one at a time") };
                pace.end(id, *end);
            }
            let a = Extent::Namespaces(["a".to_owned()].into());
            assert_eq!(pace.extent(), stopped.then_some(a), "{ends:?}");
            assert_eq!(pace.held().count(), usize::from(stopped));
            let mut rest = Vec::new();
            while !pace.is_over() {
                for id in pace.start(0) {
                    rest.push(id);
                    pace.end(id, Done);
                }
            }
            let first = if stopped { ends.len() + 1 } else { ends.len() };
            assert_eq!(
                rest,
                (first..=ends.len() + 2).collect::<Vec<_>>(),
                "the others go on, gateways included"
            );
        }
    }

    #[test]
    fn the_wave_stops_when_a_fifth_of_the_namespaces_fails_and_no_fewer_than_three() {
        for (namespaces, failing, stopped) in [
            (2, 2, false),
            (3, 2, false),
            (3, 3, true),
            (15, 2, false),
            (15, 3, true),
            (16, 3, false),
            (16, 4, true),
            (100, 19, false),
            (100, 20, true),
        ] {
            let items = (0..namespaces).map(|id| item(id, &format!("n{id}"), false));
            let mut pace = Pace::new(&settings(200, 1, 3), items);
            let started = pace.start(0);
            for id in started.iter().take(failing) {
                pace.end(*id, End::Failed);
            }
            assert_eq!(pace.is_stopped(), stopped, "{failing} of {namespaces}");
            assert_eq!(pace.extent(), stopped.then_some(Extent::Wave));
        }
    }

    #[test]
    fn what_is_stopped_adds_up() {
        let of = |names: &[&str]| Extent::Namespaces(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(of(&["a"]).and(of(&["b"])), of(&["a", "b"]));
        assert_eq!(of(&["a"]).and(Extent::Wave), Extent::Wave);
        assert_eq!(Extent::Wave.and(of(&["a"])), Extent::Wave);
        assert_eq!(
            [of(&["a"]).covers("a"), of(&["a"]).covers("b"), Extent::Wave.covers("b")],
            [true, false, true]
        );
    }

    #[test]
    fn a_rollout_that_takes_too_long_is_told_and_then_overdue() {
        let mut pace = Pace::new(&Settings::default(), [item(0, "a", false)]);
        pace.start(100);
        let slow = |pace: &Pace, now| pace.slow(now).collect::<Vec<_>>();
        assert_eq!(slow(&pace, 160), [0; 0]);
        assert_eq!(slow(&pace, 161), [0]);
        assert_eq!(pace.overdue(700), [0; 0]);
        assert_eq!(pace.overdue(701), [0]);
        assert!(pace.end(0, End::Failed));
        assert_eq!(slow(&pace, 701), [0; 0]);
        assert!(!pace.end(0, End::Done), "it ended before");
        assert_eq!(pace.counts(), (0, 0, 1));
    }

    #[test]
    fn the_time_of_a_restart_begins_anew_once() {
        let mut pace = Pace::new(&Settings::default(), [item(0, "a", false)]);
        pace.start(100);
        assert!(pace.extend(0, 800));
        assert_eq!(pace.overdue(1400), [0; 0]);
        assert_eq!(pace.overdue(1401), [0]);
        assert!(!pace.extend(0, 1401));
    }

    #[test]
    fn a_large_wave_without_a_cause_needs_a_release() {
        for (stale, total, explained, needed) in [
            (21, 100, false, true),
            (20, 100, false, false),
            (100, 100, true, false),
            (3, 3, false, false),
            (4, 4, false, true),
        ] {
            let found = needs_release(stale, total, explained, &Settings::default());
            assert_eq!(found, needed, "{stale} of {total}");
        }
    }

    proptest! {
        /// Whatever ends in whatever order: limits hold, nothing starts twice, nothing is forgotten.
        #[test]
        fn limits_hold_and_each_item_starts_once(
            namespaces in prop::collection::vec((0..4_u8, prop::bool::weighted(0.1)), 0..40),
            unfinished in 1..6_usize, per_namespace in 1..4_usize, failure_limit in 1..5_usize,
            ends in prop::collection::vec((any::<usize>(), 0..5_u8), 0..200),
        ) {
            let items: Vec<Item> = namespaces.iter().enumerate()
                .map(|(id, (namespace, gateway))| item(id, &namespace.to_string(), *gateway)).collect();
            let settings = settings(unfinished, per_namespace, failure_limit);
            let mut pace = Pace::new(&settings, items.clone());
            let mut started = BTreeSet::new();
            let mut running: Vec<usize> = Vec::new();
            let mut ends = ends.into_iter();
            while !pace.is_over() {
                for id in pace.start(0) {
                    prop_assert!(started.insert(id), "started twice");
                    running.push(id);
                }
                prop_assert!(running.len() <= unfinished.max(1));
                for namespace in 0..4_u8 {
                    let here = running.iter().filter(|id| items[**id].namespace == namespace.to_string()).count();
                    prop_assert!(here <= per_namespace);
                }
                let gateways = running.iter().filter(|id| items[**id].gateway).count();
                prop_assert!(gateways == 0 || running.len() == 1);
                if running.is_empty() { continue; }
                let (index, end) = ends.next().unwrap_or((0, 0));
                let id = running.remove(index % running.len());
                pace.end(id, match end { 0..=2 => End::Done, 3 => End::Failed, _ => End::Skipped });
            }
            prop_assert_eq!(started.len() + pace.waiting().count() + pace.held().count(), items.len());
            let is_stopped = |id: usize| pace.extent().is_some_and(|extent| extent.covers(&items[id].namespace));
            prop_assert!(pace.held().all(is_stopped));
            prop_assert!(pace.is_stopped() || pace.waiting().count() == 0);
        }
    }
}
