//! Backs off from reverting an object that another manager keeps changing.
//!
//! Pure; the time is an argument. In memory only: after a restart the same conflict is detected again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::kubernetes::object::ObjectId;

/// That many reverts within [`REVERT_WINDOW`] are a conflict.
const REVERT_LIMIT: usize = 3;
const REVERT_WINDOW: Duration = Duration::from_secs(600);
/// Cooldown before the next attempt; doubles with each attempt that was undone.
const INITIAL_COOLDOWN: Duration = Duration::from_secs(300);
const MAX_COOLDOWN: Duration = Duration::from_secs(3600);

/// The reverts of each object.
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
    /// How long an object that differs must not be reverted; `None` if it may be reverted now.
    #[must_use]
    pub fn remaining_cooldown(&self, id: &ObjectId, now: Instant) -> Option<Duration> {
        let cooldown = self.objects.get(id)?.cooldown?;
        cooldown.until.checked_duration_since(now).filter(|remaining| !remaining.is_zero())
    }

    /// Records that a write was changed at once by admission, and returns the cooldown of the object.
    ///
    /// One such write proves the conflict: unlike a revert that was undone later, repeating it cannot help.
    pub fn record_overwrite(&mut self, id: &ObjectId, now: Instant) -> Duration {
        let history = self.objects.entry(id.clone()).or_default();
        let length =
            history.cooldown.map_or(INITIAL_COOLDOWN, |cooldown| (cooldown.length * 2).min(MAX_COOLDOWN));
        history.cooldown = Some(Cooldown { until: now + length, length });
        length
    }

    /// Records that an object was reverted; returns whether that starts or extends a cooldown.
    pub fn record_revert(&mut self, id: &ObjectId, now: Instant) -> bool {
        let history = self.objects.entry(id.clone()).or_default();
        if let Some(cooldown) = history.cooldown {
            // A revert that holds for as long as its cooldown was ends the conflict.
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

    /// Clears the history of an object, because its planned configuration has changed.
    pub fn reset(&mut self, id: &ObjectId) {
        self.objects.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn id() -> ObjectId {
        ObjectId::namespaced("v1", "Service", "istio-system", "x")
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
