//! The decision of an election, from the observed Lease and the time of the observation. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::lease;

/// The last observed state of the Lease.
///
/// A holder is respected for the duration that the Lease states, on the *local* monotonic clock, from the moment when the Lease
/// was observed to change. The times inside the Lease come from clocks of other machines and are not used.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    lease: Option<Lease>,
    held_until: Option<Instant>,
}

/// The next action on the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// There is no Lease: create one.
    Create,
    /// The Lease has no holder or has expired: replace it.
    TakeOver,
    /// This process holds it: renew it.
    Renew,
    /// Another process holds it: decide again when it changes, or at this moment.
    Wait {
        /// When the Lease expires if it is not renewed.
        until: Instant,
    },
}

impl Observation {
    /// Records the Lease as observed at `now`; `None` if it does not exist. `fallback` is the duration if the Lease states none.
    pub fn observe(&mut self, observed: Option<Lease>, now: Instant, fallback: Duration) {
        let changed = match (&self.lease, &observed) {
            (Some(before), Some(after)) => before.spec != after.spec,
            (None, Some(_)) => true,
            // The holder of a deleted Lease may still write until it would have expired.
            (_, None) => false,
        };
        if let Some(lease) = observed.as_ref().filter(|_| changed) {
            self.held_until = lease::holder(lease).map(|_| now + lease::duration(lease, fallback));
        }
        self.lease = observed;
    }

    /// The last observed Lease.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The last observed holder.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.lease.as_ref().and_then(lease::holder)
    }
}

/// The action of the process `me` at `now`, given the `observed` Lease.
#[must_use]
pub fn decide(observed: &Observation, me: &str, now: Instant) -> Action {
    if observed.holder() == Some(me) {
        return Action::Renew;
    }
    match (observed.held_until, &observed.lease) {
        (Some(until), _) if until > now => Action::Wait { until },
        (_, Some(_)) => Action::TakeOver,
        (_, None) => Action::Create,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::leader::Timing;

    const FALLBACK: Duration = Duration::from_secs(15);

    /// The Leases that were seen, each with the second.
    type ObservedLeases = Vec<(u64, Option<Lease>)>;

    fn held_by(holder: &str, renewed: i64) -> Lease {
        lease::claim(None, holder, &Timing::default(), MicroTime(Timestamp::from_second(renewed).unwrap()))
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn decisions_follow_from_the_observed_leases() {
        let start = Instant::now();
        let released = lease::release(&held_by("b", 1), MicroTime(Timestamp::UNIX_EPOCH));
        let wait = |seconds| Action::Wait { until: after(start, seconds) };
        // What was seen at which second, the second of the decision, the decision.
        let table: [(&str, ObservedLeases, u64, Action); 11] = [
            ("nothing was seen", vec![], 0, Action::Create),
            ("there is no lease", vec![(0, None)], 0, Action::Create),
            ("another holds it", vec![(0, Some(held_by("b", 1)))], 0, wait(15)),
            ("another holds it, last moment", vec![(0, Some(held_by("b", 1)))], 14, wait(15)),
            ("another let it expire", vec![(0, Some(held_by("b", 1)))], 15, Action::TakeOver),
            ("an old time in it is no expiry", vec![(20, Some(held_by("b", -9999)))], 20, wait(35)),
            (
                "seen again unchanged is no renewal",
                vec![(0, Some(held_by("b", 1))), (9, Some(held_by("b", 1)))],
                15,
                Action::TakeOver,
            ),
            (
                "a renewal prolongs it",
                vec![(0, Some(held_by("b", 1))), (9, Some(held_by("b", 2)))],
                20,
                wait(24),
            ),
            (
                "a release is taken at once",
                vec![(0, Some(held_by("b", 1))), (1, Some(released))],
                1,
                Action::TakeOver,
            ),
            ("deleted under its holder", vec![(0, Some(held_by("b", 1))), (1, None)], 2, wait(15)),
            ("we hold it, even expired", vec![(0, Some(held_by("a", 1)))], 99, Action::Renew),
        ];
        for (what, observations, decided_at, expected) in table {
            let mut observed = Observation::default();
            for (second, lease) in observations {
                observed.observe(lease, after(start, second), FALLBACK);
            }
            assert_eq!(decide(&observed, "a", after(start, decided_at)), expected, "{what}");
        }
    }

    #[test]
    fn a_deleted_lease_is_recreated_after_its_duration() {
        let start = Instant::now();
        let mut observed = Observation::default();
        observed.observe(Some(held_by("b", 1)), start, FALLBACK);
        observed.observe(None, after(start, 1), FALLBACK);
        assert_eq!(decide(&observed, "a", after(start, 15)), Action::Create);
    }
}
