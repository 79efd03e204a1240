//! Tracks the health of installed workloads, and when to report it.
//!
//! Pure; the time is an argument. A short problem is not reported: pods get replaced, and autoscalers add some.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::observations::WatchReport;
use crate::kubernetes::object::{ObjectId, ObjectKind};
use crate::readiness::rules::WorkloadHealth;

/// How long a workload may have no available pod before that is reported: the time to replace one pod.
const UNAVAILABLE_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// How long a workload may lack some of its pods before that is reported: on a new node the CNI agent needs up to a minute.
const DEGRADED_GRACE_PERIOD: Duration = Duration::from_secs(60);

/// Unhealthy workloads, and since when they are.
#[derive(Default)]
pub(crate) struct HealthTracker {
    unhealthy: BTreeMap<ObjectId, (WorkloadHealth, Instant)>,
    /// Kinds that are being listed again, with our workloads found so far.
    relisting: BTreeMap<ObjectKind, BTreeSet<ObjectId>>,
    reported: BTreeMap<ObjectId, WorkloadHealth>,
}

impl HealthTracker {
    /// Records the report of a watch.
    pub(crate) fn record(&mut self, kind: &ObjectKind, report: &WatchReport, now: Instant) {
        match report {
            WatchReport::Relisting => drop(self.relisting.insert(kind.clone(), BTreeSet::new())),
            WatchReport::Health(id, health) => {
                if let Some(found) = self.relisting.get_mut(kind) {
                    found.insert(id.clone());
                }
                self.update(id, health, now);
            }
            WatchReport::Present(id, snapshot) if snapshot.entry.is_none() => drop(self.unhealthy.remove(id)),
            WatchReport::Present(..) => {}
            WatchReport::Listed => {
                let found = self.relisting.remove(kind).unwrap_or_default();
                self.unhealthy.retain(|id, _| id.object_kind() != *kind || found.contains(id));
            }
            WatchReport::Gone(id) => drop(self.unhealthy.remove(id)),
            WatchReport::NotServed => self.unhealthy.retain(|id, _| id.object_kind() != *kind),
        }
    }

    fn update(&mut self, id: &ObjectId, health: &WorkloadHealth, now: Instant) {
        if *health == WorkloadHealth::Healthy {
            self.unhealthy.remove(id);
        } else {
            let since = self.unhealthy.get(id).map_or(now, |(_, since)| *since);
            self.unhealthy.insert(id.clone(), (health.clone(), since));
        }
    }

    /// Removes the workloads of all other kinds: these are no longer watched.
    pub(crate) fn retain_kinds(&mut self, kinds: &BTreeSet<ObjectKind>) {
        self.unhealthy.retain(|id, _| kinds.contains(&id.object_kind()));
        self.relisting.retain(|kind, _| kinds.contains(kind));
    }

    /// The workloads that have been unhealthy for longer than their grace period.
    pub(crate) fn unhealthy(&self, now: Instant) -> BTreeMap<ObjectId, WorkloadHealth> {
        let overdue =
            self.unhealthy.iter().filter(|(_, (health, since))| *since + grace_period(health) <= now);
        overdue.map(|(id, (health, _))| (id.clone(), health.clone())).collect()
    }

    /// Whether the unhealthy workloads differ from those at the previous call.
    pub(crate) fn has_changed(&mut self, now: Instant) -> bool {
        let unhealthy = self.unhealthy(now);
        let has_changed = unhealthy != self.reported;
        self.reported = unhealthy;
        has_changed
    }

    /// The next time at which the unhealthy workloads change unless a report arrives before.
    pub(crate) fn next_change_at(&self, now: Instant) -> Option<Instant> {
        let due = self.unhealthy.values().map(|(health, since)| *since + grace_period(health));
        due.filter(|due| *due > now).min()
    }
}

const fn grace_period(health: &WorkloadHealth) -> Duration {
    match health {
        WorkloadHealth::Healthy | WorkloadHealth::Degraded(_) => DEGRADED_GRACE_PERIOD,
        WorkloadHealth::Unavailable(_) => UNAVAILABLE_GRACE_PERIOD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::snapshot::ObjectSnapshot;

    fn kind() -> ObjectKind {
        id().object_kind()
    }

    fn id() -> ObjectId {
        ObjectId::namespaced("apps/v1", "Deployment", "istio-system", "istiod")
    }

    fn unavailable() -> WorkloadHealth {
        WorkloadHealth::Unavailable("0 of 2".into())
    }

    fn degraded() -> WorkloadHealth {
        WorkloadHealth::Degraded("1 of 2".into())
    }

    fn report_health(tracker: &mut HealthTracker, health: WorkloadHealth, now: Instant) {
        tracker.record(&kind(), &WatchReport::Health(id(), health), now);
    }

    #[test]
    fn a_lasting_problem_is_reported_once_and_its_end_at_once() {
        for (status, grace_period) in
            [(unavailable(), UNAVAILABLE_GRACE_PERIOD), (degraded(), DEGRADED_GRACE_PERIOD)]
        {
            let start = Instant::now();
            let mut health = HealthTracker::default();
            report_health(&mut health, status.clone(), start);
            assert!(!health.has_changed(start), "{status:?} at once");
            assert_eq!(health.next_change_at(start), Some(start + grace_period));
            assert!(health.has_changed(start + grace_period), "{status:?} lasts");
            assert_eq!(health.unhealthy(start + grace_period), BTreeMap::from([(id(), status.clone())]));
            assert!(!health.has_changed(start + grace_period), "{status:?} twice");
            assert_eq!(health.next_change_at(start + grace_period), None);
            report_health(&mut health, WorkloadHealth::Healthy, start + grace_period);
            assert!(health.has_changed(start + grace_period), "{status:?} is over");
        }
    }

    #[test]
    fn a_short_problem_is_not_reported() {
        let start = Instant::now();
        for end in [WatchReport::Health(id(), WorkloadHealth::Healthy), WatchReport::Gone(id())] {
            let mut health = HealthTracker::default();
            report_health(&mut health, unavailable(), start);
            health.record(&kind(), &end, start);
            assert!(!health.has_changed(start + DEGRADED_GRACE_PERIOD));
            assert_eq!(health.next_change_at(start), None);
        }
    }

    #[test]
    fn a_workload_that_is_gone_is_not_unhealthy_any_more() {
        let unmanaged =
            || WatchReport::Present(id(), ObjectSnapshot { uid: Some("u".into()), entry: None, pause: None });
        for (name, end) in [
            ("deleted", vec![WatchReport::Gone(id())]),
            ("deleted while the watch was away", vec![WatchReport::Relisting, WatchReport::Listed]),
            ("taken by another manager", vec![unmanaged()]),
            (
                "taken while the watch was away",
                vec![WatchReport::Relisting, unmanaged(), WatchReport::Listed],
            ),
            ("its kind deleted", vec![WatchReport::NotServed]),
        ] {
            let start = Instant::now();
            let mut health = HealthTracker::default();
            report_health(&mut health, unavailable(), start);
            assert!(health.has_changed(start + UNAVAILABLE_GRACE_PERIOD), "{name}");
            for report in end {
                health.record(&kind(), &report, start + UNAVAILABLE_GRACE_PERIOD);
            }
            assert!(health.has_changed(start + UNAVAILABLE_GRACE_PERIOD), "{name}");
            assert_eq!(health.unhealthy(start + UNAVAILABLE_GRACE_PERIOD), BTreeMap::new(), "{name}");
        }
    }

    #[test]
    fn a_workload_that_is_listed_again_stays_unhealthy() {
        let start = Instant::now();
        let mut health = HealthTracker::default();
        report_health(&mut health, unavailable(), start);
        let is = WatchReport::Present(
            id(),
            ObjectSnapshot { uid: Some("u".into()), entry: Some("e".into()), pause: None },
        );
        for report in
            [WatchReport::Relisting, is, WatchReport::Health(id(), unavailable()), WatchReport::Listed]
        {
            health.record(&kind(), &report, start + UNAVAILABLE_GRACE_PERIOD);
        }
        assert_eq!(
            health.unhealthy(start + UNAVAILABLE_GRACE_PERIOD),
            BTreeMap::from([(id(), unavailable())])
        );
    }

    #[test]
    fn a_problem_that_gets_worse_or_better_counts_from_its_start() {
        let start = Instant::now();
        let mut health = HealthTracker::default();
        report_health(&mut health, degraded(), start);
        report_health(&mut health, unavailable(), start + UNAVAILABLE_GRACE_PERIOD);
        assert!(
            health.has_changed(start + UNAVAILABLE_GRACE_PERIOD),
            "unhealthy for longer than the grace period"
        );
        report_health(&mut health, degraded(), start + DEGRADED_GRACE_PERIOD);
        assert_eq!(health.unhealthy(start + DEGRADED_GRACE_PERIOD), BTreeMap::from([(id(), degraded())]));
    }
}
