//! When to stop putting something back that another keeps changing.
//!
//! Pure; the time is an argument. Kept in memory only: a restart begins anew and comes to the same end.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::object::ObjectId;

/// So many repairs within [`WINDOW`] are a fight.
const REPAIRS: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);
/// How long a fight rests before the next attempt; doubles with each attempt that did not last.
const FIRST_REST: Duration = Duration::from_secs(300);
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// The repairs of each object.
#[derive(Debug, Default)]
pub struct Fights {
    objects: BTreeMap<ObjectId, History>,
}

#[derive(Debug, Default)]
struct History {
    recent: Vec<Instant>,
    rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Fights {
    /// How long an object that differs has to be left as it is; `None` if it may be put back now.
    #[must_use]
    pub fn resting(&self, id: &ObjectId, now: Instant) -> Option<Duration> {
        let rest = self.objects.get(id)?.rest?;
        rest.until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Notes that a write was undone at once, and returns how long the object is left alone.
    ///
    /// A failed write tells more than a repair that did not last: three of them would be no better.
    pub fn undone(&mut self, id: &ObjectId, now: Instant) -> Duration {
        let history = self.objects.entry(id.clone()).or_default();
        let length = history.rest.map_or(FIRST_REST, |rest| (rest.length * 2).min(LONGEST_REST));
        history.rest = Some(Rest { until: now + length, length });
        length
    }

    /// Notes that an object was put back; returns whether that begins or prolongs a rest.
    pub fn repaired(&mut self, id: &ObjectId, now: Instant) -> bool {
        let history = self.objects.entry(id.clone()).or_default();
        if let Some(rest) = history.rest {
            // An attempt after a rest that lasts is forgiven after as long as the rest was.
            if now.duration_since(rest.until) <= rest.length {
                let length = (rest.length * 2).min(LONGEST_REST);
                history.rest = Some(Rest { until: now + length, length });
                return true;
            }
            *history = History::default();
        }
        history.recent.retain(|repair| now.duration_since(*repair) < WINDOW);
        history.recent.push(now);
        if history.recent.len() < REPAIRS {
            return false;
        }
        history.rest = Some(Rest { until: now + FIRST_REST, length: FIRST_REST });
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
    fn three_repairs_in_ten_minutes_are_a_fight_and_two_are_not() {
        let (mut fights, start) = (Fights::default(), Instant::now());
        for (repair, expected) in [(0, false), (1, false), (2, true)] {
            assert_eq!(fights.resting(&id(), start + repair * SECOND), None);
            assert_eq!(fights.repaired(&id(), start + repair * SECOND), expected);
        }
        assert_eq!(fights.resting(&id(), start + 3 * SECOND), Some(299 * SECOND));
        assert_eq!(fights.resting(&id(), start + 302 * SECOND), None);
    }

    #[test]
    fn repairs_far_apart_are_never_a_fight() {
        let (mut fights, start) = (Fights::default(), Instant::now());
        assert!((0..50).all(|repair| !fights.repaired(&id(), start + repair * 6 * MINUTE)));
    }

    #[test]
    fn a_rest_doubles_up_to_an_hour_while_the_other_goes_on() {
        let (mut fights, mut now) = (Fights::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..2 {
            fights.repaired(&id(), now);
        }
        for _ in 0..6 {
            assert!(fights.repaired(&id(), now));
            let rest = fights.resting(&id(), now).unwrap();
            rests.push(rest.as_secs() / 60);
            now += rest + SECOND;
        }
        assert_eq!(rests, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_write_that_was_undone_at_once_rests_longer_each_time() {
        let (mut fights, mut now) = (Fights::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..6 {
            let rest = fights.undone(&id(), now);
            assert_eq!(fights.resting(&id(), now), Some(rest));
            rests.push(rest.as_secs() / 60);
            now += rest + SECOND;
        }
        assert_eq!(rests, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_repair_that_lasted_ends_the_fight() {
        let (mut fights, start) = (Fights::default(), Instant::now());
        for _ in 0..3 {
            fights.repaired(&id(), start);
        }
        assert!(!fights.repaired(&id(), start + 60 * MINUTE));
        assert_eq!(fights.resting(&id(), start + 60 * MINUTE), None);
    }

    #[test]
    fn a_fight_about_one_object_holds_up_no_other() {
        let (mut fights, start) = (Fights::default(), Instant::now());
        for _ in 0..3 {
            fights.repaired(&id(), start);
        }
        assert_eq!(fights.resting(&ObjectId { name: "y".into(), ..id() }, start), None);
    }
}
