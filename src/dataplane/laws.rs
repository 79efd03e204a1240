//! The laws of restarts, against a world that does what it wants: owners that take restarts back, webhooks that answer
//! differently each time, crashes at any point, edits of annotations.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::disruption::Replacement;
use super::finding::{Decision, Finding, Hindrance, Steering, decide};
use super::memory::{Attempt, Memory};
use super::owner::Kind;
use super::reason::Reason;
use super::rollout::Rollout;
use super::settings::Settings;
use crate::object::ObjectId;

/// What happens next in the world.
#[derive(Clone, Debug)]
enum Event {
    /// The operator looks, and restarts what it decides to; it may crash before or after the write.
    Look { crash: Crash },
    /// The owner takes the last change of the template back.
    Revert,
    /// Someone scales the workload: its generation grows.
    Scale,
    /// The mesh changes: the target is another.
    Mesh(u8),
    /// An annotation comes or goes.
    Exclude(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Never,
    /// Remembered, but not made.
    BeforeWrite,
    /// Made, but the answer was never seen.
    AfterWrite,
}

/// One workload whose proxy looks outdated for ever, whatever is done.
struct World {
    generation: i64,
    target: u8,
    excluded: bool,
    memory: Memory,
    /// Restarts that took place since the target changed last.
    restarts: usize,
}

impl World {
    fn finding(&self) -> Finding {
        Finding {
            workload: ObjectId {
                group: "apps".into(),
                version: "v1".into(),
                kind: "Deployment".into(),
                namespace: Some("n".into()),
                name: "w".into(),
            },
            kind: Kind::Deployment,
            uid: "u".into(),
            generation: self.generation,
            kyma: false,
            gateway: false,
            reasons: vec![Reason::DnsCapture],
            target: self.target.to_string(),
            replicas: 2,
            replacement: Replacement::Rolling { keeps: 2 },
            rollout: Rollout::Complete,
            paused: false,
            pod_created: 0,
            labels: BTreeMap::new(),
            steering: Steering { excluded: self.excluded, ..Steering::default() },
        }
    }

    fn decision(&self) -> Decision {
        let finding = self.finding();
        let tried = self.memory.tried(&finding.uid, &finding.target, finding.generation);
        decide(&finding, &Settings::default(), &[], tried, 0)
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Look { crash } => self.look(*crash),
            Event::Revert | Event::Scale => self.generation += 1,
            Event::Mesh(target) if *target != self.target => {
                self.target = *target;
                self.restarts = 0;
            }
            Event::Mesh(_) => {}
            Event::Exclude(excluded) => self.excluded = *excluded,
        }
    }

    fn look(&mut self, crash: Crash) {
        if !matches!(self.decision(), Decision::Restart(_)) {
            return;
        }
        let attempt = Attempt { target: self.target.to_string(), generation: self.generation, at: 0 };
        self.memory.remember("u", attempt);
        if crash != Crash::BeforeWrite {
            self.generation += 1;
            self.restarts += 1;
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let crash = prop_oneof![Just(Crash::Never), Just(Crash::BeforeWrite), Just(Crash::AfterWrite)];
    prop_oneof![
        5 => crash.prop_map(|crash| Event::Look { crash }),
        2 => Just(Event::Revert),
        1 => Just(Event::Scale),
        1 => (0..3_u8).prop_map(Event::Mesh),
        1 => any::<bool>().prop_map(Event::Exclude),
    ]
}

proptest! {
    /// However often it looks outdated, whoever reverts, whenever the operator crashes: one restart for each target.
    #[test]
    fn a_workload_is_restarted_at_most_once_for_what_the_mesh_is(events in prop::collection::vec(event(), 0..60)) {
        let mut world =
            World { generation: 1, target: 0, excluded: false, memory: Memory::default(), restarts: 0 };
        for event in &events {
            world.happens(event);
            prop_assert!(world.restarts <= 1, "{} restarts", world.restarts);
        }
    }

    /// Whatever happened before: once nothing hinders it, a look restarts what was not restarted yet, or says that it was.
    #[test]
    fn a_workload_is_never_forgotten(events in prop::collection::vec(event(), 0..60)) {
        let mut world =
            World { generation: 1, target: 0, excluded: false, memory: Memory::default(), restarts: 0 };
        for event in &events {
            world.happens(event);
        }
        world.happens(&Event::Exclude(false));
        let decision = world.decision();
        let told = matches!(&decision, Decision::Hold(Hindrance::AlreadyTried));
        prop_assert!(told || matches!(decision, Decision::Restart(_)), "{decision:?}");
    }

    /// After a settled wave, nothing is restarted without a change of the mesh, whatever the annotations.
    #[test]
    fn a_settled_mesh_stays_as_it_is(excluded in prop::collection::vec(any::<bool>(), 1..20)) {
        let mut world =
            World { generation: 1, target: 0, excluded: false, memory: Memory::default(), restarts: 0 };
        world.look(Crash::Never);
        let generation = world.generation;
        for excluded in excluded {
            world.happens(&Event::Exclude(excluded));
            world.look(Crash::Never);
        }
        prop_assert_eq!(world.generation, generation);
    }
}
