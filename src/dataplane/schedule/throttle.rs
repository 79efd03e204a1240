//! How fast a restart wave goes: which restarts start next, and when it stops. Pure; the time is an argument.
//!
//! Failures are counted per namespace, because its tenant can cause them: they stop the restarts in this namespace. What makes
//! restarts fail everywhere shows in several namespaces and stops the wave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::dataplane::clock::elapsed;
use crate::kubernetes::object::ObjectId;
use crate::validate::ValidatedRestarter;

/// How far a restart wave is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartProgress {
    /// Restarts that have not started.
    pub pending: usize,
    /// Restarts in progress.
    pub running: usize,
    /// Restarts that are done.
    pub done: usize,
    /// Restarts that failed.
    pub failed: usize,
    /// Restarts that are slow, and restarts that failed.
    pub issues: Vec<Issue>,
}

/// A problem with one restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The workload.
    pub workload: ObjectId,
    /// Why it is outdated.
    pub stale_reasons: String,
    /// The problem.
    pub message: String,
}

/// A restart that has not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRestart {
    /// Identifier of the caller.
    pub id: usize,
    /// Namespace of the workload.
    pub namespace: String,
    /// Whether it is a gateway. Gateways start one at a time, when no other restart is in progress.
    pub gateway: bool,
}

/// A restart that has used this part of its timeout is slow.
const SLOW_FRACTION: u32 = 10;
/// One failure among this many restarts is too many, once there are as many failures as the limit.
const FAILURE_SHARE: usize = 20;

/// Namespaces with failures that stop the wave: a fifth of those in it, and at least three. A single tenant rarely has as
/// many, and a problem of the mesh itself shows in more.
const MIN_FAILING_NAMESPACES: usize = 3;
const FAILING_NAMESPACES_SHARE: usize = 5;

/// Which restarts were stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopScope {
    /// All restarts of the wave.
    Wave,
    /// The restarts in these namespaces.
    Namespaces(BTreeSet<String>),
}

impl StopScope {
    /// Whether the restarts in a namespace were stopped.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Wave => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// The restarts of both scopes.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
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
struct RestartTally {
    done: usize,
    failed: usize,
    failed_in_a_row: usize,
}

impl RestartTally {
    fn add(&mut self, end: RestartResult) {
        match end {
            RestartResult::Done => {
                self.done += 1;
                self.failed_in_a_row = 0;
            }
            RestartResult::Failed => {
                self.failed += 1;
                self.failed_in_a_row += 1;
            }
            RestartResult::Skipped => {}
        }
    }

    /// Whether so many failed, in a row or in total, that no further one starts.
    fn exceeds_failure_limit(&self, limit: usize) -> bool {
        // Successes between the failures do not make these less of a pattern.
        let share = self.failed * FAILURE_SHARE >= self.done + self.failed;
        self.failed_in_a_row >= limit || (self.failed >= limit && share)
    }
}

/// The state of one restart wave.
#[derive(Clone, Debug)]
pub struct RolloutThrottle {
    max_unfinished: usize,
    max_per_namespace: usize,
    failure_limit: usize,
    /// Namespaces with failures that stop the wave.
    failing_limit: usize,
    timeout: Duration,
    pending: VecDeque<QueuedRestart>,
    /// Restarts that do not start, because those in their namespace were stopped.
    blocked: Vec<QueuedRestart>,
    running: BTreeMap<usize, RunningRestart>,
    tallies: BTreeMap<String, RestartTally>,
    stopped_namespaces: BTreeSet<String>,
    done: usize,
    /// Restarts done since the last batch started.
    done_since_start: usize,
    failed: usize,
    stopped: bool,
}

#[derive(Clone, Debug)]
struct RunningRestart {
    namespace: String,
    gateway: bool,
    started_at: Timestamp,
    /// Whether its timeout was extended.
    extended: bool,
}

/// How one restart ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartResult {
    /// Every pod was replaced.
    Done,
    /// The rollout failed or took too long.
    Failed,
    /// It did not start after all, which says nothing about other restarts.
    Skipped,
}

impl RolloutThrottle {
    /// A wave with these restarts, in their order.
    #[must_use]
    pub fn new(settings: &ValidatedRestarter, items: impl IntoIterator<Item = QueuedRestart>) -> Self {
        let pending: VecDeque<QueuedRestart> = items.into_iter().collect();
        let namespaces: BTreeSet<&str> = pending.iter().map(|item| item.namespace.as_str()).collect();
        let failing_limit = namespaces.len().div_ceil(FAILING_NAMESPACES_SHARE).max(MIN_FAILING_NAMESPACES);
        Self {
            max_unfinished: settings.max_unfinished.max(1),
            max_per_namespace: settings.max_unfinished_per_namespace.max(1),
            failure_limit: settings.failure_limit.max(1),
            failing_limit,
            timeout: settings.rollout_timeout,
            pending,
            blocked: Vec::new(),
            running: BTreeMap::new(),
            tallies: BTreeMap::new(),
            stopped_namespaces: BTreeSet::new(),
            done: 0,
            done_since_start: 0,
            failed: 0,
            stopped: false,
        }
    }

    /// The restarts that start now. Each starts at most once.
    pub fn start_next(&mut self, now: Timestamp) -> Vec<usize> {
        let mut started = Vec::new();
        let mut deferred = VecDeque::new();
        while let Some(item) = self.pending.pop_front() {
            if self.is_stopped() || !self.can_start(&item, deferred.is_empty()) {
                deferred.push_back(item);
                continue;
            }
            started.push(item.id);
            let running = RunningRestart {
                namespace: item.namespace,
                gateway: item.gateway,
                started_at: now,
                extended: false,
            };
            self.running.insert(item.id, running);
        }
        self.pending = deferred;
        self.done_since_start = 0;
        started
    }

    /// Whether so many restarts of the last batch are done that the next batch is worth a write of the ledger.
    ///
    /// Restarts that failed or were rejected do not count, so that failures do not speed up the wave.
    #[must_use]
    pub fn should_start_more(&self) -> bool {
        const MIN_BATCH: usize = 10;
        !self.pending.is_empty()
            && self.done_since_start >= MIN_BATCH
            && self.done_since_start * 10 >= self.max_unfinished * 7
    }

    fn can_start(&self, item: &QueuedRestart, is_first: bool) -> bool {
        if item.gateway {
            return self.running.is_empty() && is_first;
        }
        let in_namespace =
            self.running.values().filter(|running| running.namespace == item.namespace).count();
        self.running.len() < self.max_unfinished
            && in_namespace < self.max_per_namespace
            && !self.running.values().any(|running| running.gateway)
    }

    /// Extends the timeout of a restart, once. Returns whether it was extended.
    pub fn extend_timeout(&mut self, id: usize, now: Timestamp) -> bool {
        let Some(running) = self.running.get_mut(&id).filter(|running| !running.extended) else {
            return false;
        };
        (running.started_at, running.extended) = (now, true);
        true
    }

    /// Records how a restart ended. Returns whether it was in progress; otherwise nothing changes.
    pub fn finish(&mut self, id: usize, end: RestartResult) -> bool {
        let Some(RunningRestart { namespace, .. }) = self.running.remove(&id) else { return false };
        match end {
            RestartResult::Done => {
                self.done += 1;
                self.done_since_start += 1;
            }
            RestartResult::Failed => self.failed += 1,
            RestartResult::Skipped => {}
        }
        let tally = self.tallies.entry(namespace.clone()).or_default();
        tally.add(end);
        if tally.exceeds_failure_limit(self.failure_limit) {
            self.stop_namespace(namespace);
        }
        let failing = self.tallies.values().filter(|tally| tally.failed > 0).count();
        self.stopped |= failing >= self.failing_limit;
        true
    }

    fn stop_namespace(&mut self, namespace: String) {
        let (blocked, pending) = self.pending.drain(..).partition(|item| item.namespace == namespace);
        self.pending = pending;
        let blocked: VecDeque<QueuedRestart> = blocked;
        self.blocked.extend(blocked);
        self.stopped_namespaces.insert(namespace);
    }

    /// The restarts that exceed the rollout timeout.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> Vec<usize> {
        self.older_than(self.timeout, now).collect()
    }

    /// The restarts that are slow enough to be reported.
    pub fn slow(&self, now: Timestamp) -> impl Iterator<Item = usize> {
        self.older_than(self.timeout / SLOW_FRACTION, now)
    }

    fn older_than(&self, age: Duration, now: Timestamp) -> impl Iterator<Item = usize> {
        let is_older = move |running: &RunningRestart| elapsed(running.started_at, now) > age;
        self.running.iter().filter(move |(_, running)| is_older(running)).map(|(id, _)| *id)
    }

    /// Whether restarts failed in so many namespaces that no further one starts.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Which restarts were stopped after failures; `None` if none were.
    #[must_use]
    pub fn stop_scope(&self) -> Option<StopScope> {
        if self.stopped {
            return Some(StopScope::Wave);
        }
        let namespaces = self.stopped_namespaces.clone();
        (!namespaces.is_empty()).then_some(StopScope::Namespaces(namespaces))
    }

    /// Whether no restart is in progress and none will start.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.running.is_empty() && (self.pending.is_empty() || self.is_stopped())
    }

    /// The restarts that will not start, because those in their namespace were stopped.
    pub fn blocked(&self) -> impl Iterator<Item = usize> {
        self.blocked.iter().map(|item| item.id)
    }

    /// The restarts that have not started; if the wave is stopped, they will not.
    pub fn pending(&self) -> impl Iterator<Item = usize> {
        self.pending.iter().map(|item| item.id)
    }

    /// Drops all restarts that have not started.
    pub fn cancel_pending(&mut self) {
        self.pending.clear();
    }

    /// Numbers of restarts in progress, done and failed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.running.len(), self.done, self.failed)
    }
}

/// Whether so many workloads are outdated without a cause that a person has to approve the restart wave.
///
/// `explained` says whether version or configuration of Istio changed since the mesh converged.
#[must_use]
pub fn needs_approval(stale: usize, total: usize, explained: bool, settings: &ValidatedRestarter) -> bool {
    // In a small mesh, a few workloads are a large share.
    const MIN_WORKLOADS: usize = 3;
    !explained && stale > MIN_WORKLOADS && stale * 100 > total * settings.unexplained_share_percent
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn item(id: usize, namespace: &str, gateway: bool) -> QueuedRestart {
        QueuedRestart { id, namespace: namespace.to_owned(), gateway }
    }

    fn settings(unfinished: usize, per_namespace: usize, failure_limit: usize) -> ValidatedRestarter {
        ValidatedRestarter {
            max_unfinished: unfinished,
            max_unfinished_per_namespace: per_namespace,
            failure_limit,
            ..ValidatedRestarter::default()
        }
    }

    #[test]
    fn a_full_namespace_does_not_hold_up_others() {
        let items = [item(0, "a", false), item(1, "a", false), item(2, "b", false)];
        let mut throttle = RolloutThrottle::new(&settings(5, 1, 3), items);
        assert_eq!(throttle.start_next(second(0)), [0, 2]);
        throttle.finish(0, RestartResult::Done);
        assert_eq!(throttle.start_next(second(0)), [1]);
    }

    #[test]
    fn gateways_wait_for_everything_else_and_go_alone() {
        let items = [item(0, "a", false), item(1, "g", true), item(2, "g", true)];
        let mut throttle = RolloutThrottle::new(&settings(5, 5, 3), items);
        assert_eq!(throttle.start_next(second(0)), [0]);
        assert_eq!(throttle.start_next(second(0)), [0; 0]);
        throttle.finish(0, RestartResult::Done);
        assert_eq!(throttle.start_next(second(0)), [1]);
        assert_eq!(throttle.start_next(second(0)), [0; 0]);
        throttle.finish(1, RestartResult::Done);
        assert_eq!(throttle.start_next(second(0)), [2]);
    }

    #[test]
    fn more_restarts_start_once_most_of_a_batch_is_done() {
        let should_start_after = |unfinished, ends: &[RestartResult]| {
            let mut throttle =
                RolloutThrottle::new(&settings(unfinished, 99, 99), (0..99).map(|id| item(id, "a", false)));
            let started = throttle.start_next(second(0));
            assert!(!throttle.should_start_more(), "nothing is done");
            for (id, end) in started.into_iter().zip(ends) {
                throttle.finish(id, *end);
            }
            let time = throttle.should_start_more();
            throttle.start_next(second(0));
            assert!(!throttle.should_start_more(), "these were started for");
            time
        };
        for (unfinished, ends, time) in [
            (1, vec![RestartResult::Done], false),
            (4, vec![RestartResult::Done; 4], false),
            (10, vec![RestartResult::Done; 10], true),
            (20, vec![RestartResult::Done; 13], false),
            (20, vec![RestartResult::Done; 14], true),
            (20, vec![RestartResult::Failed; 20], false),
        ] {
            assert_eq!(should_start_after(unfinished, &ends), time, "{unfinished} {ends:?}");
        }
    }

    #[test]
    fn repeated_failures_stop_their_namespace_and_single_ones_do_not() {
        use RestartResult::{Done, Failed, Skipped};
        let with_many =
            |ends: [RestartResult; 3]| std::iter::repeat_n(Done, 50).chain(ends).collect::<Vec<_>>();
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
            let mut throttle = RolloutThrottle::new(&settings(1, 1, 2), items.chain(last));
            for end in &ends {
                let [id] = throttle.start_next(second(0))[..] else { panic!("one at a time") };
                throttle.finish(id, *end);
            }
            let a = StopScope::Namespaces(["a".to_owned()].into());
            assert_eq!(throttle.stop_scope(), stopped.then_some(a), "{ends:?}");
            assert_eq!(throttle.blocked().count(), usize::from(stopped));
            let mut remaining = Vec::new();
            while !throttle.is_finished() {
                for id in throttle.start_next(second(0)) {
                    remaining.push(id);
                    throttle.finish(id, Done);
                }
            }
            let first = if stopped { ends.len() + 1 } else { ends.len() };
            assert_eq!(
                remaining,
                (first..=ends.len() + 2).collect::<Vec<_>>(),
                "the others go on, gateways included"
            );
        }
    }

    #[test]
    fn a_wave_stops_when_a_fifth_and_at_least_three_namespaces_fail() {
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
            let mut throttle = RolloutThrottle::new(&settings(200, 1, 3), items);
            let started = throttle.start_next(second(0));
            for id in started.iter().take(failing) {
                throttle.finish(*id, RestartResult::Failed);
            }
            assert_eq!(throttle.is_stopped(), stopped, "{failing} of {namespaces}");
            assert_eq!(throttle.stop_scope(), stopped.then_some(StopScope::Wave));
        }
    }

    #[test]
    fn stop_scopes_add_up() {
        let of =
            |names: &[&str]| StopScope::Namespaces(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(of(&["a"]).union(of(&["b"])), of(&["a", "b"]));
        assert_eq!(of(&["a"]).union(StopScope::Wave), StopScope::Wave);
        assert_eq!(StopScope::Wave.union(of(&["a"])), StopScope::Wave);
        assert_eq!(
            [of(&["a"]).covers("a"), of(&["a"]).covers("b"), StopScope::Wave.covers("b")],
            [true, false, true]
        );
    }

    #[test]
    fn a_long_rollout_is_slow_first_and_then_overdue() {
        let mut throttle = RolloutThrottle::new(&ValidatedRestarter::default(), [item(0, "a", false)]);
        throttle.start_next(second(100));
        let slow = |throttle: &RolloutThrottle, now| throttle.slow(now).collect::<Vec<_>>();
        assert_eq!(slow(&throttle, second(160)), [0; 0]);
        assert_eq!(slow(&throttle, second(161)), [0]);
        assert_eq!(throttle.overdue(second(700)), [0; 0]);
        assert_eq!(throttle.overdue(second(701)), [0]);
        assert!(throttle.finish(0, RestartResult::Failed));
        assert_eq!(slow(&throttle, second(701)), [0; 0]);
        assert!(!throttle.finish(0, RestartResult::Done), "it ended before");
        assert_eq!(throttle.counts(), (0, 0, 1));
    }

    #[test]
    fn the_timeout_of_a_restart_is_extended_once() {
        let mut throttle = RolloutThrottle::new(&ValidatedRestarter::default(), [item(0, "a", false)]);
        throttle.start_next(second(100));
        assert!(throttle.extend_timeout(0, second(800)));
        assert_eq!(throttle.overdue(second(1400)), [0; 0]);
        assert_eq!(throttle.overdue(second(1401)), [0]);
        assert!(!throttle.extend_timeout(0, second(1401)));
    }

    #[test]
    fn a_large_wave_without_a_cause_needs_approval() {
        for (stale, total, explained, needed) in [
            (21, 100, false, true),
            (20, 100, false, false),
            (100, 100, true, false),
            (3, 3, false, false),
            (4, 4, false, true),
        ] {
            let found = needs_approval(stale, total, explained, &ValidatedRestarter::default());
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
            let items: Vec<QueuedRestart> = namespaces.iter().enumerate()
                .map(|(id, (namespace, gateway))| item(id, &namespace.to_string(), *gateway)).collect();
            let settings = settings(unfinished, per_namespace, failure_limit);
            let mut throttle = RolloutThrottle::new(&settings, items.clone());
            let mut started = BTreeSet::new();
            let mut running: Vec<usize> = Vec::new();
            let mut ends = ends.into_iter();
            while !throttle.is_finished() {
                for id in throttle.start_next(second(0)) {
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
                throttle.finish(id, match end { 0..=2 => RestartResult::Done, 3 => RestartResult::Failed, _ => RestartResult::Skipped });
            }
            prop_assert_eq!(started.len() + throttle.pending().count() + throttle.blocked().count(), items.len());
            let is_stopped = |id: usize| throttle.stop_scope().is_some_and(|scope| scope.covers(&items[id].namespace));
            prop_assert!(throttle.blocked().all(is_stopped));
            prop_assert!(throttle.is_stopped() || throttle.pending().count() == 0);
        }
    }
}
