//! Properties of restarts that hold whatever happens: owners that revert restarts, webhooks that respond differently each
//! time, crashes at any point, edits of annotations.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::stale_workload::{BlockReason, Decision, RestartAnnotations, StaleWorkload, decide};
use crate::dataplane::model::{RestartTarget, WorkloadUid};
use crate::dataplane::reasons::{Detail, StaleReason, dns_capture, image, proxy_metadata, resources};
use crate::dataplane::restart_ledger::{RestartAttempt, RestartLedger};
use crate::dataplane::workload::deployment;
use crate::dataplane::workload::disruption::PodReplacement;
use crate::dataplane::workload::rollout::RolloutStatus;
use crate::validate::ValidatedRestarter;

/// What happens next.
#[derive(Clone, Debug)]
enum SimulatedEvent {
    /// The operator scans and restarts; it may crash before or after the write.
    Scan { crash: Crash },
    /// The owner reverts the last change of the template.
    Revert,
    /// Someone scales the workload: its generation grows.
    Scale,
    /// The mesh changes: the target is another.
    Mesh(u8),
    /// The annotation is added or removed.
    Exclude(bool),
    /// Injection, a registry or an autoscaler of resources responds differently.
    InjectionAnswer(u8),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Never,
    /// Recorded, but not made.
    BeforeWrite,
    /// Made, but the response was lost.
    AfterWrite,
}

/// One workload whose sidecar stays outdated, whatever is done.
struct WorkloadSimulation {
    generation: i64,
    target: u8,
    excluded: bool,
    injection_answer: u8,
    ledger: RestartLedger,
    /// Restarts since the last change of the target.
    restarts: usize,
}

/// A difference that depends on the response.
fn reason(answer: u8) -> StaleReason {
    let text = format!("of answer {answer}");
    let mismatch = || Detail::Mismatch { actual: "live".into(), expected: text.clone() };
    match answer % 4 {
        0 => StaleReason::plain(&dns_capture::SPEC),
        1 => StaleReason::new(&image::SPEC, mismatch()),
        2 => StaleReason::new(&resources::SPEC, mismatch()),
        _ => StaleReason::new(&proxy_metadata::SPEC, Detail::Names(vec![text])),
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
            workload: deployment::KIND.object("n", "w"),
            kind: deployment::KIND,
            uid: "u".into(),
            generation: self.generation,
            kyma: false,
            gateway: false,
            reasons: vec![reason(self.injection_answer)],
            target: self.target.to_string().into(),
            replicas: 2,
            replacement: PodReplacement::Rolling { min_available: 2 },
            rollout: RolloutStatus::Complete,
            paused: false,
            pod_created: Timestamp::UNIX_EPOCH,
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
        decide(&stale, &ValidatedRestarter::default(), &[], already_restarted, Timestamp::UNIX_EPOCH)
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
        let attempt = RestartAttempt {
            target: self.target.to_string().into(),
            generation: self.generation,
            at: Timestamp::UNIX_EPOCH,
        };
        self.ledger.record_attempt(&"u".into(), attempt);
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
    /// However often it is outdated, whoever reverts, whenever the operator crashes: one restart for each target.
    #[test]
    fn a_workload_is_restarted_at_most_once_per_mesh_state(events in prop::collection::vec(event(), 0..60)) {
        let mut simulation = WorkloadSimulation::new();
        for event in &events {
            simulation.apply_event(event);
            prop_assert!(simulation.restarts <= 1, "{} restarts", simulation.restarts);
        }
    }

    /// Whatever happened before: once nothing blocks it, a scan restarts what was not restarted, or reports that it was.
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

    /// Once the mesh has converged, nothing is restarted without a change of the mesh, whatever else happens.
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

/// A workload whose pods are evicted one by one, and whose replacements are outdated, too.
struct EvictionSimulation {
    /// When the pod of each slot was created.
    pods: Vec<Timestamp>,
    /// Evictions of each slot for the present target.
    evicted: Vec<usize>,
    target: u8,
    ledger: RestartLedger,
    now: Timestamp,
}

impl EvictionSimulation {
    fn new(pods: usize) -> Self {
        Self {
            pods: vec![Timestamp::UNIX_EPOCH; pods],
            evicted: vec![0; pods],
            target: 0,
            ledger: RestartLedger::default(),
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100),
        }
    }

    /// One scan with the evictions that follow from it, interrupted after `until` of them.
    fn scan(&mut self, until: usize) {
        let (uid, target) = (WorkloadUid::from("u"), RestartTarget::from(self.target.to_string()));
        let oldest = self.pods.iter().copied().min().unwrap_or(self.now);
        if self.ledger.is_replacement(&uid, &target, oldest) {
            return;
        }
        let since = self.ledger.record_attempt(&uid, RestartAttempt { target, generation: 1, at: self.now });
        // No eviction in the first second.
        self.now = self.now.max(since + SignedDuration::from_secs(1));
        let due: Vec<usize> = (0..self.pods.len()).filter(|slot| self.pods[*slot] <= since).collect();
        for slot in due.into_iter().take(until) {
            self.pods[slot] = self.now;
            self.evicted[slot] += 1;
        }
    }
}

proptest! {
    /// Whenever the operator crashes and whatever injection responds: each pod is evicted at most once for each mesh, and none
    /// is forgotten.
    #[test]
    fn a_replacement_is_never_evicted_and_no_pod_is_forgotten(
        pods in 1..6_usize,
        events in prop::collection::vec((0..8_usize, 0..3_i64, prop::option::weighted(0.1, 0..3_u8)), 0..40),
    ) {
        let mut simulation = EvictionSimulation::new(pods);
        for (until, passes, target) in events {
            simulation.now += SignedDuration::from_secs(passes);
            if let Some(target) = target.filter(|target| *target != simulation.target) {
                simulation.target = target;
                simulation.evicted = vec![0; pods];
                simulation.ledger.forget_other_meshes(&"".into());
            }
            simulation.scan(until);
            prop_assert!(simulation.evicted.iter().all(|times| *times <= 1), "{:?}", simulation.evicted);
        }
        simulation.scan(usize::MAX);
        let old = simulation.pods.iter().filter(|created| !simulation.ledger.is_replacement(&"u".into(), &simulation.target.to_string().into(), **created));
        prop_assert_eq!(old.count(), 0);
    }
}
