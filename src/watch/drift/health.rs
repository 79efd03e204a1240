//! How the workloads fare that were installed, and when that is worth telling.
//!
//! Pure: no client, and the time is given. A pod that is replaced and an autoscaler that adds some are no news; what lasts is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Kind, Report, kind_of};
use crate::apply::ready::Fitness;
use crate::object::ObjectId;

/// How long a workload may be without any pod before that is told: as long as one pod needs to be replaced.
const DOWN_FOR: Duration = Duration::from_secs(10);
/// How long a workload may lack some of its pods before that is told: a new node brings the agent a minute of work.
const SHORT_FOR: Duration = Duration::from_secs(60);

/// Workloads that do not fare well, and since when.
#[derive(Default)]
pub(super) struct Health {
    ill: BTreeMap<ObjectId, (Fitness, Instant)>,
    /// Kinds that are being listed again, with the workloads of ours that were found so far.
    relisting: BTreeMap<Kind, BTreeSet<ObjectId>>,
    told: BTreeMap<ObjectId, Fitness>,
}

impl Health {
    /// Takes in what a watch saw.
    pub(super) fn note(&mut self, kind: &Kind, report: &Report, now: Instant) {
        match report {
            Report::Restarted => drop(self.relisting.insert(kind.clone(), BTreeSet::new())),
            Report::Fares(id, fitness) => {
                if let Some(found) = self.relisting.get_mut(kind) {
                    found.insert(id.clone());
                }
                self.keep(id, fitness, now);
            }
            Report::Is(id, seen) if seen.entry.is_none() => drop(self.ill.remove(id)),
            Report::Is(..) => {}
            Report::Listed => {
                let found = self.relisting.remove(kind).unwrap_or_default();
                self.ill.retain(|id, _| kind_of(id) != *kind || found.contains(id));
            }
            Report::Gone(id) => drop(self.ill.remove(id)),
            Report::Unknown => self.ill.retain(|id, _| kind_of(id) != *kind),
        }
    }

    fn keep(&mut self, id: &ObjectId, fitness: &Fitness, now: Instant) {
        if *fitness == Fitness::Well {
            self.ill.remove(id);
        } else {
            let since = self.ill.get(id).map_or(now, |(_, since)| *since);
            self.ill.insert(id.clone(), (fitness.clone(), since));
        }
    }

    /// Forgets the workloads of all other kinds: nobody looks at them any more.
    pub(super) fn watch_only(&mut self, kinds: &BTreeSet<Kind>) {
        self.ill.retain(|id, _| kinds.contains(&kind_of(id)));
        self.relisting.retain(|kind, _| kinds.contains(kind));
    }

    /// The workloads of which it is to be told that they do not fare well.
    pub(super) fn ailing(&self, now: Instant) -> BTreeMap<ObjectId, Fitness> {
        let lasting = self.ill.iter().filter(|(_, (fitness, since))| *since + patience(fitness) <= now);
        lasting.map(|(id, (fitness, _))| (id.clone(), fitness.clone())).collect()
    }

    /// Whether something else is to be told than the last time that this was asked.
    pub(super) fn has_news(&mut self, now: Instant) -> bool {
        let ailing = self.ailing(now);
        let is_news = ailing != self.told;
        self.told = ailing;
        is_news
    }

    /// When something is to be told next if nothing happens until then.
    pub(super) fn next_news(&self, now: Instant) -> Option<Instant> {
        let due = self.ill.values().map(|(fitness, since)| *since + patience(fitness));
        due.filter(|due| *due > now).min()
    }
}

const fn patience(fitness: &Fitness) -> Duration {
    match fitness {
        Fitness::Well | Fitness::Short(_) => SHORT_FOR,
        Fitness::Down(_) => DOWN_FOR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::live::Seen;

    fn kind() -> Kind {
        ("apps".into(), "v1".into(), "Deployment".into())
    }

    fn id() -> ObjectId {
        ObjectId {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            namespace: Some("istio-system".into()),
            name: "istiod".into(),
        }
    }

    fn down() -> Fitness {
        Fitness::Down("0 of 2".into())
    }

    fn short() -> Fitness {
        Fitness::Short("1 of 2".into())
    }

    fn fares(health: &mut Health, fitness: Fitness, now: Instant) {
        health.note(&kind(), &Report::Fares(id(), fitness), now);
    }

    #[test]
    fn what_lasts_is_told_once_and_its_end_at_once() {
        for (fitness, patience) in [(down(), DOWN_FOR), (short(), SHORT_FOR)] {
            let start = Instant::now();
            let mut health = Health::default();
            fares(&mut health, fitness.clone(), start);
            assert!(!health.has_news(start), "{fitness:?} at once");
            assert_eq!(health.next_news(start), Some(start + patience));
            assert!(health.has_news(start + patience), "{fitness:?} lasts");
            assert_eq!(health.ailing(start + patience), BTreeMap::from([(id(), fitness.clone())]));
            assert!(!health.has_news(start + patience), "{fitness:?} twice");
            assert_eq!(health.next_news(start + patience), None);
            fares(&mut health, Fitness::Well, start + patience);
            assert!(health.has_news(start + patience), "{fitness:?} is over");
        }
    }

    #[test]
    fn what_is_over_soon_is_no_news() {
        let start = Instant::now();
        for end in [Report::Fares(id(), Fitness::Well), Report::Gone(id())] {
            let mut health = Health::default();
            fares(&mut health, down(), start);
            health.note(&kind(), &end, start);
            assert!(!health.has_news(start + SHORT_FOR));
            assert_eq!(health.next_news(start), None);
        }
    }

    #[test]
    fn a_workload_that_is_no_longer_seen_is_not_ill_any_more() {
        let taken = || Report::Is(id(), Seen { uid: Some("u".into()), entry: None, pause: None });
        for (name, end) in [
            ("deleted", vec![Report::Gone(id())]),
            ("deleted while the watch was away", vec![Report::Restarted, Report::Listed]),
            ("taken by someone else", vec![taken()]),
            ("taken while the watch was away", vec![Report::Restarted, taken(), Report::Listed]),
            ("its kind deleted", vec![Report::Unknown]),
        ] {
            let start = Instant::now();
            let mut health = Health::default();
            fares(&mut health, down(), start);
            assert!(health.has_news(start + DOWN_FOR), "{name}");
            for report in end {
                health.note(&kind(), &report, start + DOWN_FOR);
            }
            assert!(health.has_news(start + DOWN_FOR), "{name}");
            assert_eq!(health.ailing(start + DOWN_FOR), BTreeMap::new(), "{name}");
        }
    }

    #[test]
    fn a_workload_that_is_listed_again_is_ill_since_before() {
        let start = Instant::now();
        let mut health = Health::default();
        fares(&mut health, down(), start);
        let is = Report::Is(id(), Seen { uid: Some("u".into()), entry: Some("e".into()), pause: None });
        for report in [Report::Restarted, is, Report::Fares(id(), down()), Report::Listed] {
            health.note(&kind(), &report, start + DOWN_FOR);
        }
        assert_eq!(health.ailing(start + DOWN_FOR), BTreeMap::from([(id(), down())]));
    }

    #[test]
    fn what_gets_worse_or_better_is_told_from_its_beginning() {
        let start = Instant::now();
        let mut health = Health::default();
        fares(&mut health, short(), start);
        fares(&mut health, down(), start + DOWN_FOR);
        assert!(health.has_news(start + DOWN_FOR), "it has been ill for long enough");
        fares(&mut health, short(), start + SHORT_FOR);
        assert_eq!(health.ailing(start + SHORT_FOR), BTreeMap::from([(id(), short())]));
    }
}
