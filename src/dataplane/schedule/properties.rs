//! The laws of restarts, against a world that does what it wants: owners that take restarts back, webhooks that answer
//! differently each time, crashes at any point, edits of annotations.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::settings::RestartSettings;
use super::stale_workload::{BlockReason, Decision, RestartAnnotations, StaleWorkload, decide};
use crate::dataplane::reasons::StaleReason;
use crate::dataplane::restart_ledger::{RestartAttempt, RestartLedger};
use crate::dataplane::workload::disruption::PodReplacement;
use crate::dataplane::workload::kind::WorkloadKind;
use crate::dataplane::workload::rollout::RolloutStatus;
use crate::kubernetes::object::ObjectId;

/// What happens next in the world.
#[derive(Clone, Debug)]
enum SimulatedEvent {
    /// The operator looks, and restarts what it decides to; it may crash before or after the write.
    Scan { crash: Crash },
    /// The owner takes the last change of the template back.
    Revert,
    /// Someone scales the workload: its generation grows.
    Scale,
    /// The mesh changes: the target is another.
    Mesh(u8),
    /// An annotation comes or goes.
    Exclude(bool),
    /// Injection, a registry or an autoscaler of resources answers differently from before.
    InjectionAnswer(u8),
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
struct WorkloadSimulation {
    generation: i64,
    target: u8,
    excluded: bool,
    injection_answer: u8,
    ledger: RestartLedger,
    /// Restarts that took place since the target changed last.
    restarts: usize,
}

/// What differs this time.
fn reason(answer: u8) -> StaleReason {
    let text = || format!("of answer {answer}");
    match answer % 4 {
        0 => StaleReason::DnsCapture,
        1 => StaleReason::Image { has: "live".into(), wants: text() },
        2 => StaleReason::Resources { has: "live".into(), wants: text() },
        _ => StaleReason::ProxyMetadata(vec![text()]),
    }
}

impl WorkloadSimulation {
    fn new() -> Self {
        Self {
            generation: 1,
            target: 0,
            excluded: false,
            injection_answer: 0,
            ledger: RestartLedger::default(),
            restarts: 0,
        }
    }

    fn finding(&self) -> StaleWorkload {
        StaleWorkload {
            workload: ObjectId {
                group: "apps".into(),
                version: "v1".into(),
                kind: "Deployment".into(),
                namespace: Some("n".into()),
                name: "w".into(),
            },
            kind: WorkloadKind::Deployment,
            uid: "u".into(),
            generation: self.generation,
            kyma: false,
            gateway: false,
            reasons: vec![reason(self.injection_answer)],
            target: self.target.to_string(),
            replicas: 2,
            replacement: PodReplacement::Rolling { min_available: 2 },
            rollout: RolloutStatus::Complete,
            paused: false,
            pod_created: 0,
            labels: BTreeMap::new(),
            restart_annotations: RestartAnnotations {
                excluded: self.excluded,
                ..RestartAnnotations::default()
            },
            desired_injection: None,
            owner_unverified: None,
        }
    }

    fn decision(&self) -> Decision {
        let stale = self.finding();
        let already_restarted = self.ledger.was_restarted(&stale.uid, &stale.target, stale.generation);
        decide(&stale, &RestartSettings::default(), &[], already_restarted, 0)
    }

    fn apply_event(&mut self, event: &SimulatedEvent) {
        match event {
            SimulatedEvent::Scan { crash } => self.scan(*crash),
            SimulatedEvent::Revert | SimulatedEvent::Scale => self.generation += 1,
            SimulatedEvent::Mesh(target) if *target != self.target => {
                self.target = *target;
                self.restarts = 0;
            }
            SimulatedEvent::Mesh(_) => {}
            SimulatedEvent::Exclude(excluded) => self.excluded = *excluded,
            SimulatedEvent::InjectionAnswer(answer) => self.injection_answer = *answer,
        }
    }

    fn scan(&mut self, crash: Crash) {
        if !matches!(self.decision(), Decision::Restart(_)) {
            return;
        }
        let attempt = RestartAttempt { target: self.target.to_string(), generation: self.generation, at: 0 };
        self.ledger.record_attempt("u", attempt);
        if crash != Crash::BeforeWrite {
            self.generation += 1;
            self.restarts += 1;
        }
    }
}

fn event() -> impl Strategy<Value = SimulatedEvent> {
    let crash = prop_oneof![Just(Crash::Never), Just(Crash::BeforeWrite), Just(Crash::AfterWrite)];
    prop_oneof![
        5 => crash.prop_map(|crash| SimulatedEvent::Scan { crash }),
        2 => Just(SimulatedEvent::Revert),
        1 => Just(SimulatedEvent::Scale),
        1 => (0..3_u8).prop_map(SimulatedEvent::Mesh),
        1 => any::<bool>().prop_map(SimulatedEvent::Exclude),
        2 => any::<u8>().prop_map(SimulatedEvent::InjectionAnswer),
    ]
}

proptest! {
    /// However often it looks outdated, whoever reverts, whenever the operator crashes: one restart for each target.
    #[test]
    fn a_workload_is_restarted_at_most_once_per_mesh_state(events in prop::collection::vec(event(), 0..60)) {
        let mut simulation = WorkloadSimulation::new();
        for event in &events {
            simulation.apply_event(event);
            prop_assert!(simulation.restarts <= 1, "{} restarts", simulation.restarts);
        }
    }

    /// Whatever happened before: once nothing hinders it, a look restarts what was not restarted yet, or says that it was.
    #[test]
    fn a_workload_is_never_forgotten(events in prop::collection::vec(event(), 0..60)) {
        let mut simulation = WorkloadSimulation::new();
        for event in &events {
            simulation.apply_event(event);
        }
        simulation.apply_event(&SimulatedEvent::Exclude(false));
        let decision = simulation.decision();
        let is_reported = matches!(&decision, Decision::Blocked(BlockReason::AlreadyRestarted));
        prop_assert!(is_reported || matches!(decision, Decision::Restart(_)), "{decision:?}");
    }

    /// After a settled wave, nothing is restarted without a change of the mesh, whatever else happens.
    #[test]
    fn a_converged_mesh_is_not_restarted_again(events in prop::collection::vec(event(), 1..40)) {
        let mut simulation = WorkloadSimulation::new();
        simulation.scan(Crash::Never);
        for event in events.iter().filter(|event| !matches!(event, SimulatedEvent::Mesh(_))) {
            simulation.apply_event(event);
            simulation.scan(Crash::Never);
        }
        prop_assert_eq!(simulation.restarts, 1);
    }
}

/// A workload whose pods are evicted one by one, and whose replacements look outdated, too.
struct EvictionSimulation {
    /// When the pod of each slot was made.
    pods: Vec<i64>,
    /// Evictions of each slot for the present target.
    evicted: Vec<usize>,
    target: u8,
    ledger: RestartLedger,
    now: i64,
}

impl EvictionSimulation {
    fn new(pods: usize) -> Self {
        Self {
            pods: vec![0; pods],
            evicted: vec![0; pods],
            target: 0,
            ledger: RestartLedger::default(),
            now: 100,
        }
    }

    /// One look with the evictions that follow from it, cut short after `until` of them.
    fn scan(&mut self, until: usize) {
        let target = self.target.to_string();
        let oldest = self.pods.iter().copied().min().unwrap_or(self.now);
        if self.ledger.is_replacement("u", &target, oldest) {
            return;
        }
        let since = self.ledger.record_attempt("u", RestartAttempt { target, generation: 1, at: self.now });
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
        let mut simulation = EvictionSimulation::new(pods);
        for (until, passes, target) in events {
            simulation.now += passes;
            if let Some(target) = target.filter(|target| *target != simulation.target) {
                simulation.target = target;
                simulation.evicted = vec![0; pods];
                simulation.ledger.forget_other_meshes("");
            }
            simulation.scan(until);
            prop_assert!(simulation.evicted.iter().all(|times| *times <= 1), "{:?}", simulation.evicted);
        }
        simulation.scan(usize::MAX);
        let old = simulation.pods.iter().filter(|created| !simulation.ledger.is_replacement("u", &simulation.target.to_string(), **created));
        prop_assert_eq!(old.count(), 0);
    }
}
