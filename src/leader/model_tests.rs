//! The law of an election, checked against random schedules: at no moment may two processes write.
//!
//! The API server is a Lease with a version counter that refuses a write made from an older version. Time passes,
//! reads and watch events arrive late, requests are accepted long after they were sent and their responses come later
//! still or never, processes release or crash.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use tokio::time::Instant;

use super::{Action, Leadership, Observation, Timing, decide, lease};

const PROCESSES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum SimulationStep {
    PassTime(u16),
    Read(usize),
    Send(usize),
    Accept(usize),
    Respond(usize),
    Release(usize),
    Crash(usize),
    /// A request that nobody waits for any more arrives.
    DeliverLate,
}

struct PendingRequest {
    sent: Instant,
    claim: Lease,
    state: RequestState,
}

enum RequestState {
    InFlight,
    Accepted(Box<Lease>),
    Refused,
}

struct Process {
    name: String,
    observed: Observation,
    until: Option<Instant>,
    request: Option<PendingRequest>,
}

struct ElectionModel {
    timing: Timing,
    now: Instant,
    ticks: i64,
    stored: Option<Lease>,
    version: u64,
    processes: Vec<Process>,
    late_claims: Vec<Lease>,
    started: usize,
}

impl ElectionModel {
    fn new() -> Self {
        let mut model = Self {
            timing: Timing::default(),
            now: Instant::now(),
            ticks: 0,
            stored: None,
            version: 0,
            processes: Vec::new(),
            late_claims: Vec::new(),
            started: 0,
        };
        for _ in 0..PROCESSES {
            let process = model.start_process();
            model.processes.push(process);
        }
        model
    }

    fn start_process(&mut self) -> Process {
        self.started += 1;
        let name = format!("pod_{}", self.started);
        Process { name, observed: Observation::default(), until: None, request: None }
    }

    fn step(&mut self, step: SimulationStep) {
        match step {
            SimulationStep::PassTime(millis) => {
                self.now += Duration::from_millis(millis.into());
                self.ticks += 1;
            }
            SimulationStep::Read(index) => {
                let fallback = self.timing.lease_duration();
                self.processes[index].observed.observe(self.stored.clone(), self.now, fallback);
            }
            SimulationStep::Send(index) => self.send(index),
            SimulationStep::Accept(index) => self.accept(index),
            SimulationStep::Respond(index) => self.respond(index),
            SimulationStep::Release(index) => self.release(index),
            SimulationStep::Crash(index) => self.crash(index),
            SimulationStep::DeliverLate => {
                let claim = self.late_claims.pop();
                claim.and_then(|claim| self.store(claim));
            }
        }
    }

    fn crash(&mut self, index: usize) {
        let successor = self.start_process();
        let dead = std::mem::replace(&mut self.processes[index], successor);
        let in_flight = dead.request.filter(|request| matches!(request.state, RequestState::InFlight));
        self.late_claims.extend(in_flight.map(|request| request.claim));
    }

    fn wall_clock(&self) -> MicroTime {
        MicroTime(Timestamp::from_second(self.ticks).unwrap())
    }

    fn send(&mut self, index: usize) {
        let now = self.wall_clock();
        let process = &mut self.processes[index];
        let waits = matches!(decide(&process.observed, &process.name, self.now), Action::Wait { .. });
        if process.request.is_some() || waits {
            return;
        }
        let claim = lease::claim(process.observed.lease(), &process.name, &self.timing, now);
        process.request = Some(PendingRequest { sent: self.now, claim, state: RequestState::InFlight });
    }

    fn accept(&mut self, index: usize) {
        let Some(request) = self.processes[index].request.as_ref() else { return };
        if !matches!(request.state, RequestState::InFlight) {
            return;
        }
        let claim = request.claim.clone();
        let state = self
            .store(claim)
            .map_or(RequestState::Refused, |stored| RequestState::Accepted(Box::new(stored)));
        if let Some(request) = self.processes[index].request.as_mut() {
            request.state = state;
        }
    }

    /// What the API server does with a claim: the stored Lease, or `None` if the claim came too late.
    fn store(&mut self, mut claim: Lease) -> Option<Lease> {
        let current = self.stored.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if claim.metadata.resource_version != current {
            return None;
        }
        self.version += 1;
        claim.metadata.resource_version = Some(self.version.to_string());
        self.stored = Some(claim.clone());
        Some(claim)
    }

    /// The process gets its answer or, if there is none yet, gives up waiting while its request travels on.
    fn respond(&mut self, index: usize) {
        let (now, timing) = (self.now, self.timing);
        let process = &mut self.processes[index];
        let Some(PendingRequest { sent, claim, state }) = process.request.take() else { return };
        match state {
            RequestState::InFlight => self.late_claims.push(claim),
            RequestState::Refused => {}
            RequestState::Accepted(lease) => {
                process.observed.observe(Some(*lease), now, timing.lease_duration());
                process.until = Some(timing.may_write_until(sent));
            }
        }
    }

    /// A clean stop: writes end, then the Lease is given up, then the process is gone.
    fn release(&mut self, index: usize) {
        let read = self.processes[index].observed.clone();
        if read.holder() == Some(self.processes[index].name.as_str()) {
            self.store(lease::release(read.lease().unwrap(), self.wall_clock()));
        }
        self.crash(index);
    }

    fn writers(&self) -> Vec<&str> {
        let may_write = |process: &&Process| {
            let leadership = Leadership::Leading { until: process.until };
            process.until.is_some() && leadership.remaining(self.now).is_some()
        };
        self.processes.iter().filter(may_write).map(|process| process.name.as_str()).collect()
    }
}

fn steps() -> impl Strategy<Value = Vec<SimulationStep>> {
    let process = 0..PROCESSES;
    let step = prop_oneof![
        3 => (1_u16..6_000).prop_map(SimulationStep::PassTime),
        4 => process.clone().prop_map(SimulationStep::Read),
        6 => process.clone().prop_map(SimulationStep::Send),
        6 => process.clone().prop_map(SimulationStep::Accept),
        6 => process.clone().prop_map(SimulationStep::Respond),
        1 => process.clone().prop_map(SimulationStep::Release),
        1 => process.prop_map(SimulationStep::Crash),
        2 => Just(SimulationStep::DeliverLate),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn two_processes_never_write_at_once(steps in steps()) {
        let mut model = ElectionModel::new();
        for step in steps {
            model.step(step);
            let writers = model.writers();
            prop_assert!(writers.len() <= 1, "{writers:?} write at once after {step:?}");
        }
    }

    /// Whatever happened, somebody leads within a lease and a half once the network is well.
    #[test]
    fn some_process_leads_after_any_history(steps in steps()) {
        let mut model = ElectionModel::new();
        for step in steps {
            model.step(step);
        }
        for _ in 0..12 {
            for index in 0..PROCESSES {
                for step in [SimulationStep::Accept(index), SimulationStep::Respond(index), SimulationStep::Read(index), SimulationStep::Send(index),
                             SimulationStep::Accept(index), SimulationStep::Respond(index)] {
                    model.step(step);
                }
            }
            model.step(SimulationStep::PassTime(2_000));
        }
        prop_assert_eq!(model.writers().len(), 1);
    }
}
