//! The laws of restarts, against a world that does what it wants: owners that take restarts back, webhooks that answer
//! differently each time, crashes at any point, edits of annotations.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::disruption::Replacement;
use super::finding::{Decision, Finding, Hindrance, Steering, decide};
use super::rollout::Rollout;
use super::settings::Settings;
use crate::dataplane::kind::Kind;
use crate::dataplane::memory::{Attempt, Memory};
use crate::dataplane::reason::Reason;
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
    /// Injection, a registry or an autoscaler of resources answers differently from before.
    Answer(u8),
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
    answer: u8,
    memory: Memory,
    /// Restarts that took place since the target changed last.
    restarts: usize,
}

/// What differs this time.
fn reason(answer: u8) -> Reason {
    let text = || format!("of answer {answer}");
    match answer % 4 {
        0 => Reason::DnsCapture,
        1 => Reason::Image { has: "live".into(), wants: text() },
        2 => Reason::Resources { has: "live".into(), wants: text() },
        _ => Reason::ProxyMetadata(vec![text()]),
    }
}

impl World {
    fn new() -> Self {
        Self { generation: 1, target: 0, excluded: false, answer: 0, memory: Memory::default(), restarts: 0 }
    }

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
            reasons: vec![reason(self.answer)],
            target: self.target.to_string(),
            replicas: 2,
            replacement: Replacement::Rolling { keeps: 2 },
            rollout: Rollout::Complete,
            paused: false,
            pod_created: 0,
            labels: BTreeMap::new(),
            steering: Steering { excluded: self.excluded, ..Steering::default() },
            wanted: None,
            unverified: None,
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
            Event::Answer(answer) => self.answer = *answer,
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
        2 => any::<u8>().prop_map(Event::Answer),
    ]
}

proptest! {
    /// However often it looks outdated, whoever reverts, whenever the operator crashes: one restart for each target.
    #[test]
    fn a_workload_is_restarted_at_most_once_for_what_the_mesh_is(events in prop::collection::vec(event(), 0..60)) {
        let mut world = World::new();
        for event in &events {
            world.happens(event);
            prop_assert!(world.restarts <= 1, "{} restarts", world.restarts);
        }
    }

    /// Whatever happened before: once nothing hinders it, a look restarts what was not restarted yet, or says that it was.
    #[test]
    fn a_workload_is_never_forgotten(events in prop::collection::vec(event(), 0..60)) {
        let mut world = World::new();
        for event in &events {
            world.happens(event);
        }
        world.happens(&Event::Exclude(false));
        let decision = world.decision();
        let told = matches!(&decision, Decision::Hold(Hindrance::AlreadyTried));
        prop_assert!(told || matches!(decision, Decision::Restart(_)), "{decision:?}");
    }

    /// After a settled wave, nothing is restarted without a change of the mesh, whatever else happens.
    #[test]
    fn a_settled_mesh_stays_as_it_is(events in prop::collection::vec(event(), 1..40)) {
        let mut world = World::new();
        world.look(Crash::Never);
        for event in events.iter().filter(|event| !matches!(event, Event::Mesh(_))) {
            world.happens(event);
            world.look(Crash::Never);
        }
        prop_assert_eq!(world.restarts, 1);
    }
}

/// A workload whose pods are evicted one by one, and whose replacements look outdated, too.
struct Evictions {
    /// When the pod of each slot was made.
    pods: Vec<i64>,
    /// Evictions of each slot for the present target.
    evicted: Vec<usize>,
    target: u8,
    memory: Memory,
    now: i64,
}

impl Evictions {
    fn new(pods: usize) -> Self {
        Self { pods: vec![0; pods], evicted: vec![0; pods], target: 0, memory: Memory::default(), now: 100 }
    }

    /// One look with the evictions that follow from it, cut short after `until` of them.
    fn look(&mut self, until: usize) {
        let target = self.target.to_string();
        let oldest = self.pods.iter().copied().min().unwrap_or(self.now);
        if self.memory.replaced("u", &target, oldest) {
            return;
        }
        let since = self.memory.remember("u", Attempt { target, generation: 1, at: self.now });
        // No eviction in the second of the beginning.
        self.now = self.now.max(since + 1);
        let due: Vec<usize> = (0..self.pods.len()).filter(|slot| self.pods[*slot] <= since).collect();
        for slot in due.into_iter().take(until) {
            self.pods[slot] = self.now;
            self.evicted[slot] += 1;
        }
    }
}

proptest! {
    /// Whenever the operator crashes and whatever injection answers: each pod goes at most once for what the mesh is, and
    /// none is forgotten.
    #[test]
    fn a_replacement_is_never_evicted_and_no_pod_is_forgotten(
        pods in 1..6_usize,
        events in prop::collection::vec((0..8_usize, 0..3_i64, prop::option::weighted(0.1, 0..3_u8)), 0..40),
    ) {
        let mut world = Evictions::new(pods);
        for (until, passes, target) in events {
            world.now += passes;
            if let Some(target) = target.filter(|target| *target != world.target) {
                world.target = target;
                world.evicted = vec![0; pods];
                world.memory.forget_others("");
            }
            world.look(until);
            prop_assert!(world.evicted.iter().all(|times| *times <= 1), "{:?}", world.evicted);
        }
        world.look(usize::MAX);
        let old = world.pods.iter().filter(|created| !world.memory.replaced("u", &world.target.to_string(), **created));
        prop_assert_eq!(old.count(), 0);
    }
}
