//! The Lease objects that an election writes. Their times are informational, and no decision uses them.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;

use super::Timing;
use crate::api::names::LEADER_LEASE;

/// The holder of a Lease; client-go writes an empty identity for none.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// The lease duration; `fallback` if the Lease states none.
pub fn duration(lease: &Lease, fallback: Duration) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map_or(fallback, Duration::from_secs)
}

/// The Lease with which `me` acquires or renews at `now`, based on the one that was read. It has the resource version of that one,
/// so that the API server rejects it if another process was first.
pub fn claim(read: Option<&Lease>, me: &str, timing: &Timing, now: MicroTime) -> Lease {
    let mut lease = read.cloned().unwrap_or_else(unclaimed);
    let renewal = holder(&lease) == Some(me);
    let spec = lease.spec.get_or_insert_default();
    if !renewal {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions =
            read.map(|_| spec.lease_transitions.unwrap_or(0).saturating_add(1)).or(Some(0));
    }
    spec.holder_identity = Some(me.to_owned());
    spec.lease_duration_seconds = i32::try_from(timing.lease_duration().as_secs()).ok();
    spec.renew_time = Some(now);
    lease
}

/// The Lease with which its holder releases it at `now`, as client-go does.
pub fn release(read: &Lease, now: MicroTime) -> Lease {
    let mut lease = read.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(now.clone());
    spec.renew_time = Some(now);
    lease
}

fn unclaimed() -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(LEADER_LEASE.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec::default()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_first_claim_makes_the_lease() {
        let lease = claim(None, "a", &Timing::default(), at(5));
        assert_eq!(lease.metadata.name.as_deref(), Some("76223278.kyma-project.io"));
        assert_eq!(lease.metadata.resource_version, None);
        let spec = lease.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("a"));
        assert_eq!(spec.lease_duration_seconds, Some(15));
        assert_eq!(spec.lease_transitions, Some(0));
        assert_eq!((spec.acquire_time, spec.renew_time), (Some(at(5)), Some(at(5))));
    }

    #[test]
    fn a_renewal_changes_only_the_time() {
        let held = claim(None, "a", &Timing::default(), at(5));
        let renewed = claim(Some(&held), "a", &Timing::default(), at(7));
        let mut expected = held;
        expected.spec.as_mut().unwrap().renew_time = Some(at(7));
        assert_eq!(renewed, expected);
    }

    #[test]
    fn a_takeover_counts_a_transition_and_preserves_other_fields() {
        let mut held = claim(None, "a", &Timing::default(), at(5));
        held.metadata.resource_version = Some("17".to_owned());
        held.metadata.labels = Some([("team".to_owned(), "mesh".to_owned())].into());
        let takeover = claim(Some(&held), "b", &Timing::default(), at(30));
        assert_eq!(takeover.metadata, held.metadata);
        let spec = takeover.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("b"));
        assert_eq!(spec.lease_transitions, Some(1));
        assert_eq!(spec.acquire_time, Some(at(30)));
    }

    #[test]
    fn a_released_lease_has_no_holder_and_is_valid_for_the_api() {
        let held = claim(None, "a", &Timing::default(), at(5));
        let released = release(&held, at(9));
        assert_eq!(holder(&released), None);
        assert_eq!(duration(&released, Duration::ZERO), Duration::from_secs(1));
        assert_eq!(released.spec.unwrap().lease_transitions, Some(0));
    }

    #[test]
    fn an_invalid_duration_is_replaced_by_the_default() {
        let fallback = Duration::from_secs(15);
        for seconds in [None, Some(0), Some(-3)] {
            let mut lease = claim(None, "a", &Timing::default(), at(0));
            lease.spec.as_mut().unwrap().lease_duration_seconds = seconds;
            assert_eq!(duration(&lease, fallback), fallback);
        }
        assert_eq!(duration(&Lease::default(), fallback), fallback);
    }
}
