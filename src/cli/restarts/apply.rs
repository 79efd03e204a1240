//! `--apply`: the wave of the operator, run by a person, with its progress on the terminal.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::RestartsError;
use crate::cli::identity;
use crate::dataplane::act::wave::{self, Outcome, Wave};
use crate::dataplane::decide::course;
use crate::dataplane::decide::finding::{Finding, Hindrance, Method};
use crate::dataplane::decide::pace::{Extent, Progress, Trouble};
use crate::dataplane::decide::settings::Settings;
use crate::dataplane::memory::{self, Memory, Store};
use crate::dataplane::tell::events::Announcer;
use crate::dataplane::tell::metrics::Metrics;
use crate::lock::lock;
use crate::object::ObjectId;

/// The means of restarting.
pub(super) struct Apply<'a> {
    pub client: &'a Client,
    pub store: &'a mut Store,
    pub memory: &'a mut Memory,
    pub settings: &'a Settings,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Restarts that are complete.
    pub done: usize,
    /// Restarts that failed.
    pub failed: usize,
    /// Workloads that are outdated still, and why.
    pub left: Vec<(Finding, Hindrance)>,
    /// Whether a person ended it before its end.
    pub interrupted: bool,
    /// Whether the operator began to restart at the same time, and the rest is left to it.
    pub yielded: bool,
}

impl Apply<'_> {
    /// Restarts the workloads of `plan` for the mesh with the hash `mesh`, and tells on standard error how far it is.
    pub async fn run(self, mesh: &str, plan: Vec<(Finding, Method)>) -> Result<Applied, RestartsError> {
        if plan.is_empty() {
            eprintln!("nothing to restart");
            return Ok(Applied::default());
        }
        let bar = Mutex::new(Bar {
            total: plan.len(),
            terminal: std::io::stderr().is_terminal(),
            last: None,
            named: HashMap::new(),
        });
        let interrupted = CancellationToken::new();
        let progress = Mutex::new(|progress: Progress| lock(&bar).show(&progress));
        let mut wave = Wave {
            client: self.client,
            store: &mut *self.store,
            memory: &mut *self.memory,
            settings: self.settings,
            events: &Announcer::new(self.client.clone(), identity::identity()),
            metrics: &Metrics::default(),
            superseded: &|| interrupted.is_cancelled(),
            progress: &progress,
        };
        let ended = tokio::select! {
            ended = wave.run(plan) => Some(ended),
            () = interruptions(&interrupted, &bar) => None,
        };
        lock(&bar).end();
        let Some(ended) = ended else { return Ok(left_at_once(&bar)) };
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(wave::Error::Memory { source: memory::Error::Conflict }) => return Ok(yielded(&bar)),
            Err(error) => return Err(error.into()),
        };
        if let Some(extent) = &outcome.stopped {
            self.stop(mesh, extent).await?;
        }
        Ok(concluded(outcome, interrupted.is_cancelled(), &bar))
    }

    /// Remembers that rollouts failed, so that the operator does not go on where a person was stopped.
    async fn stop(self, mesh: &str, extent: &Extent) -> Result<(), RestartsError> {
        let now = Timestamp::now().as_second();
        let release = self.store.stop(self.memory, mesh, extent, now).await?;
        eprintln!("{}", course::stopped(extent, self.settings, &release));
        Ok(())
    }
}

/// Pending until a person has pressed Ctrl-C twice; the first time, no further restart begins.
async fn interruptions(interrupted: &CancellationToken, bar: &Mutex<Bar>) {
    for first in [true, false] {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        if first {
            lock(bar).end();
            eprintln!("no further restart begins; waiting for those under way. Ctrl-C again leaves at once");
            interrupted.cancel();
        }
    }
}

fn left_at_once(bar: &Mutex<Bar>) -> Applied {
    eprintln!("left; the rollouts under way go on by themselves, and nothing is restarted twice");
    Applied { interrupted: true, ..counted(bar) }
}

fn yielded(bar: &Mutex<Bar>) -> Applied {
    eprintln!(
        "the operator restarts workloads at the same time; the rest is left to it. `kubectl get istios -A -o yaml` shows \
         its progress under status.dataPlane"
    );
    Applied { yielded: true, ..counted(bar) }
}

fn counted(bar: &Mutex<Bar>) -> Applied {
    let last = lock(bar).last.clone().unwrap_or_default();
    Applied { done: last.done, failed: last.failed, ..Applied::default() }
}

fn concluded(outcome: Outcome, interrupted: bool, bar: &Mutex<Bar>) -> Applied {
    for (finding, why) in &outcome.left {
        let why = why.to_string();
        if lock(bar).named.get(&finding.workload) != Some(&why) {
            eprintln!("{}: {why}", finding.workload);
        }
    }
    if interrupted {
        eprintln!("interrupted: {} workloads were not restarted", outcome.interrupted);
    }
    Applied { done: outcome.done, failed: outcome.failed, left: outcome.left, interrupted, yielded: false }
}

/// One line that is written over on a terminal, and elsewhere a line for each step.
struct Bar {
    total: usize,
    terminal: bool,
    last: Option<Progress>,
    /// Workloads that were named, and with what trouble.
    named: HashMap<ObjectId, String>,
}

impl Bar {
    fn show(&mut self, progress: &Progress) {
        self.name(&progress.troubles);
        let told = counts(self.total, progress);
        if self.last.as_ref().is_some_and(|last| counts(self.total, last) == told) {
            return;
        }
        if self.terminal {
            // The rest of a longer line before is erased.
            eprint!("\r{} {told}\x1b[K", filled(self.total, progress));
        } else {
            eprintln!("{told}");
        }
        self.last = Some(progress.clone());
    }

    /// Names each workload that is in trouble once.
    fn name(&mut self, troubles: &[Trouble]) {
        for Trouble { workload, why, .. } in troubles {
            if self.named.contains_key(workload) {
                continue;
            }
            self.end();
            eprintln!("{workload}: {why}");
            self.last = None;
            self.named.insert(workload.clone(), why.clone());
        }
    }

    /// Leaves the line, so that what follows does not write over it.
    fn end(&mut self) {
        if self.terminal && self.last.is_some() {
            eprintln!();
        }
    }
}

fn counts(total: usize, progress: &Progress) -> String {
    let Progress { running, done, failed, .. } = progress;
    format!("{done} of {total} restarted, {running} under way, {failed} failed")
}

fn filled(total: usize, progress: &Progress) -> String {
    const WIDTH: usize = 30;
    let filled = WIDTH * (progress.done + progress.failed).min(total) / total.max(1);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(WIDTH - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_when_all_have_ended() {
        for (total, done, failed, bar) in [
            (4, 0, 0, "[------------------------------]"),
            (4, 1, 1, "[###############---------------]"),
            (4, 3, 1, "[##############################]"),
            (0, 0, 0, "[------------------------------]"),
        ] {
            let progress = Progress { done, failed, ..Progress::default() };
            assert_eq!(filled(total, &progress), bar, "{done} and {failed} of {total}");
        }
        let progress = Progress { waiting: 1, running: 2, done: 3, failed: 1, troubles: Vec::new() };
        assert_eq!(counts(7, &progress), "3 of 7 restarted, 2 under way, 1 failed");
    }
}
