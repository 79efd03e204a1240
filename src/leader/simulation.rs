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
enum Step {
    Pass(u16),
    Read(usize),
    Send(usize),
    Accept(usize),
    Respond(usize),
    Release(usize),
    Crash(usize),
    /// A request that nobody waits for any more arrives.
    Arrive,
}

struct Request {
    sent: Instant,
    claim: Lease,
    fate: Fate,
}

enum Fate {
    UnderWay,
    Accepted(Box<Lease>),
    Refused,
}

struct Process {
    name: String,
    observed: Observation,
    until: Option<Instant>,
    request: Option<Request>,
}

struct World {
    timing: Timing,
    now: Instant,
    ticks: i64,
    stored: Option<Lease>,
    version: u64,
    processes: Vec<Process>,
    adrift: Vec<Lease>,
    born: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            timing: Timing::default(),
            now: Instant::now(),
            ticks: 0,
            stored: None,
            version: 0,
            processes: Vec::new(),
            adrift: Vec::new(),
            born: 0,
        };
        for _ in 0..PROCESSES {
            let process = world.birth();
            world.processes.push(process);
        }
        world
    }

    fn birth(&mut self) -> Process {
        self.born += 1;
        let name = format!("pod_{}", self.born);
        Process { name, observed: Observation::default(), until: None, request: None }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pass(millis) => {
                self.now += Duration::from_millis(millis.into());
                self.ticks += 1;
            }
            Step::Read(index) => {
                let fallback = self.timing.lease_duration();
                self.processes[index].observed.see(self.stored.clone(), self.now, fallback);
            }
            Step::Send(index) => self.send(index),
            Step::Accept(index) => self.accept(index),
            Step::Respond(index) => self.respond(index),
            Step::Release(index) => self.release(index),
            Step::Crash(index) => self.crash(index),
            Step::Arrive => {
                let claim = self.adrift.pop();
                claim.and_then(|claim| self.store(claim));
            }
        }
    }

    fn crash(&mut self, index: usize) {
        let successor = self.birth();
        let dead = std::mem::replace(&mut self.processes[index], successor);
        let under_way = dead.request.filter(|request| matches!(request.fate, Fate::UnderWay));
        self.adrift.extend(under_way.map(|request| request.claim));
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
        process.request = Some(Request { sent: self.now, claim, fate: Fate::UnderWay });
    }

    fn accept(&mut self, index: usize) {
        let Some(request) = self.processes[index].request.as_ref() else { return };
        if !matches!(request.fate, Fate::UnderWay) {
            return;
        }
        let claim = request.claim.clone();
        let fate = self.store(claim).map_or(Fate::Refused, |stored| Fate::Accepted(Box::new(stored)));
        if let Some(request) = self.processes[index].request.as_mut() {
            request.fate = fate;
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
        let Some(Request { sent, claim, fate }) = process.request.take() else { return };
        match fate {
            Fate::UnderWay => self.adrift.push(claim),
            Fate::Refused => {}
            Fate::Accepted(lease) => {
                process.observed.see(Some(*lease), now, timing.lease_duration());
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let process = 0..PROCESSES;
    let step = prop_oneof![
        3 => (1_u16..6_000).prop_map(Step::Pass),
        4 => process.clone().prop_map(Step::Read),
        6 => process.clone().prop_map(Step::Send),
        6 => process.clone().prop_map(Step::Accept),
        6 => process.clone().prop_map(Step::Respond),
        1 => process.clone().prop_map(Step::Release),
        1 => process.prop_map(Step::Crash),
        2 => Just(Step::Arrive),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn never_may_two_processes_write(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            let writers = world.writers();
            prop_assert!(writers.len() <= 1, "{writers:?} write at once after {step:?}");
        }
    }

    /// Whatever happened, somebody leads within a lease and a half once the network is well.
    #[test]
    fn after_any_history_somebody_leads_again(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        for _ in 0..12 {
            for index in 0..PROCESSES {
                for step in [Step::Accept(index), Step::Respond(index), Step::Read(index), Step::Send(index),
                             Step::Accept(index), Step::Respond(index)] {
                    world.step(step);
                }
            }
            world.step(Step::Pass(2_000));
        }
        prop_assert_eq!(world.writers().len(), 1);
    }
}
