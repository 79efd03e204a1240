//! When to stop putting something back that another keeps changing.
//!
//! Pure; the time is an argument. Kept in memory only: a restart begins anew and comes to the same end.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::kubernetes::object::ObjectId;

/// So many repairs within [`REVERT_WINDOW`] are a fight.
const REVERT_LIMIT: usize = 3;
const REVERT_WINDOW: Duration = Duration::from_secs(600);
/// How long a fight rests before the next attempt; doubles with each attempt that did not last.
const INITIAL_COOLDOWN: Duration = Duration::from_secs(300);
const MAX_COOLDOWN: Duration = Duration::from_secs(3600);

/// The repairs of each object.
#[derive(Debug, Default)]
pub struct ConflictBackoff {
    objects: BTreeMap<ObjectId, RevertHistory>,
}

#[derive(Debug, Default)]
struct RevertHistory {
    recent: Vec<Instant>,
    cooldown: Option<Cooldown>,
}

#[derive(Clone, Copy, Debug)]
struct Cooldown {
    until: Instant,
    length: Duration,
}

impl ConflictBackoff {
    /// How long an object that differs has to be left as it is; `None` if it may be put back now.
    #[must_use]
    pub fn remaining_cooldown(&self, id: &ObjectId, now: Instant) -> Option<Duration> {
        let cooldown = self.objects.get(id)?.cooldown?;
        cooldown.until.checked_duration_since(now).filter(|remaining| !remaining.is_zero())
    }

    /// Notes that a write was undone at once, and returns how long the object is left alone.
    ///
    /// A failed write tells more than a repair that did not last: three of them would be no better.
    pub fn record_overwrite(&mut self, id: &ObjectId, now: Instant) -> Duration {
        let history = self.objects.entry(id.clone()).or_default();
        let length = history.cooldown.map_or(INITIAL_COOLDOWN, |rest| (rest.length * 2).min(MAX_COOLDOWN));
        history.cooldown = Some(Cooldown { until: now + length, length });
        length
    }

    /// Notes that an object was put back; returns whether that begins or prolongs a rest.
    pub fn record_revert(&mut self, id: &ObjectId, now: Instant) -> bool {
        let history = self.objects.entry(id.clone()).or_default();
        if let Some(cooldown) = history.cooldown {
            // An attempt after a rest that lasts is forgiven after as long as the rest was.
            if now.duration_since(cooldown.until) <= cooldown.length {
                let length = (cooldown.length * 2).min(MAX_COOLDOWN);
                history.cooldown = Some(Cooldown { until: now + length, length });
                return true;
            }
            *history = RevertHistory::default();
        }
        history.recent.retain(|time| now.duration_since(*time) < REVERT_WINDOW);
        history.recent.push(now);
        if history.recent.len() < REVERT_LIMIT {
            return false;
        }
        history.cooldown = Some(Cooldown { until: now + INITIAL_COOLDOWN, length: INITIAL_COOLDOWN });
        true
    }

    /// Forgets everything: what is configured, or who cares about it, has changed.
    pub fn forget(&mut self, id: &ObjectId) {
        self.objects.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn id() -> ObjectId {
        ObjectId {
            group: String::new(),
            version: "v1".into(),
            kind: "Service".into(),
            namespace: None,
            name: "x".into(),
        }
    }

    #[test]
    fn three_reverts_in_ten_minutes_are_a_conflict_and_two_are_not() {
        let (mut backoff, start) = (ConflictBackoff::default(), Instant::now());
        for (revert, expected) in [(0, false), (1, false), (2, true)] {
            assert_eq!(backoff.remaining_cooldown(&id(), start + revert * SECOND), None);
            assert_eq!(backoff.record_revert(&id(), start + revert * SECOND), expected);
        }
        assert_eq!(backoff.remaining_cooldown(&id(), start + 3 * SECOND), Some(299 * SECOND));
        assert_eq!(backoff.remaining_cooldown(&id(), start + 302 * SECOND), None);
    }

    #[test]
    fn reverts_far_apart_are_never_a_conflict() {
        let (mut backoff, start) = (ConflictBackoff::default(), Instant::now());
        assert!((0..50).all(|revert| !backoff.record_revert(&id(), start + revert * 6 * MINUTE)));
    }

    #[test]
    fn a_cooldown_doubles_up_to_an_hour_while_the_conflict_lasts() {
        let (mut backoff, mut now) = (ConflictBackoff::default(), Instant::now());
        let mut cooldowns = Vec::new();
        for _ in 0..2 {
            backoff.record_revert(&id(), now);
        }
        for _ in 0..6 {
            assert!(backoff.record_revert(&id(), now));
            let cooldown = backoff.remaining_cooldown(&id(), now).unwrap();
            cooldowns.push(cooldown.as_secs() / 60);
            now += cooldown + SECOND;
        }
        assert_eq!(cooldowns, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_write_that_was_overwritten_waits_longer_each_time() {
        let (mut backoff, mut now) = (ConflictBackoff::default(), Instant::now());
        let mut cooldowns = Vec::new();
        for _ in 0..6 {
            let cooldown = backoff.record_overwrite(&id(), now);
            assert_eq!(backoff.remaining_cooldown(&id(), now), Some(cooldown));
            cooldowns.push(cooldown.as_secs() / 60);
            now += cooldown + SECOND;
        }
        assert_eq!(cooldowns, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_revert_that_was_not_undone_ends_the_conflict() {
        let (mut backoff, start) = (ConflictBackoff::default(), Instant::now());
        for _ in 0..3 {
            backoff.record_revert(&id(), start);
        }
        assert!(!backoff.record_revert(&id(), start + 60 * MINUTE));
        assert_eq!(backoff.remaining_cooldown(&id(), start + 60 * MINUTE), None);
    }

    #[test]
    fn a_conflict_about_one_object_delays_no_other() {
        let (mut backoff, start) = (ConflictBackoff::default(), Instant::now());
        for _ in 0..3 {
            backoff.record_revert(&id(), start);
        }
        assert_eq!(backoff.remaining_cooldown(&ObjectId { name: "y".into(), ..id() }, start), None);
    }
}
