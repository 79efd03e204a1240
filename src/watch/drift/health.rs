//! How the workloads fare that were installed, and when that is worth telling.
//!
//! Pure: no client, and the time is given. A pod that is replaced and an autoscaler that adds some are no news; what lasts is.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

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
    told: BTreeMap<ObjectId, Fitness>,
}

impl Health {
    /// Takes in what a watch saw.
    pub(super) fn note(&mut self, id: ObjectId, fitness: Fitness, now: Instant) {
        if fitness == Fitness::Well {
            self.ill.remove(&id);
        } else {
            let since = self.ill.get(&id).map_or(now, |(_, since)| *since);
            self.ill.insert(id, (fitness, since));
        }
    }

    /// Forgets a workload that is gone.
    pub(super) fn forget(&mut self, id: &ObjectId) {
        self.ill.remove(id);
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

    #[test]
    fn what_lasts_is_told_once_and_its_end_at_once() {
        for (fitness, patience) in [(down(), DOWN_FOR), (short(), SHORT_FOR)] {
            let start = Instant::now();
            let mut health = Health::default();
            health.note(id(), fitness.clone(), start);
            assert!(!health.has_news(start), "{fitness:?} at once");
            assert_eq!(health.next_news(start), Some(start + patience));
            assert!(health.has_news(start + patience), "{fitness:?} lasts");
            assert_eq!(health.ailing(start + patience), BTreeMap::from([(id(), fitness.clone())]));
            assert!(!health.has_news(start + patience), "{fitness:?} twice");
            assert_eq!(health.next_news(start + patience), None);
            health.note(id(), Fitness::Well, start + patience);
            assert!(health.has_news(start + patience), "{fitness:?} is over");
        }
    }

    #[test]
    fn what_is_over_soon_is_no_news() {
        let start = Instant::now();
        for end in [Some(Fitness::Well), None] {
            let mut health = Health::default();
            health.note(id(), down(), start);
            match end {
                Some(fitness) => health.note(id(), fitness, start),
                None => health.forget(&id()),
            }
            assert!(!health.has_news(start + SHORT_FOR));
            assert_eq!(health.next_news(start), None);
        }
    }

    #[test]
    fn what_gets_worse_or_better_is_told_from_its_beginning() {
        let start = Instant::now();
        let mut health = Health::default();
        health.note(id(), short(), start);
        health.note(id(), down(), start + DOWN_FOR);
        assert!(health.has_news(start + DOWN_FOR), "it has been ill for long enough");
        health.note(id(), short(), start + SHORT_FOR);
        assert_eq!(health.ailing(start + SHORT_FOR), BTreeMap::from([(id(), short())]));
    }
}
