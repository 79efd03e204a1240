//! `--apply`: runs the restart wave of the operator from a terminal, and shows its progress.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::cli::error::CliError;
use crate::cli::identity;
use crate::dataplane::clock::current_second;
use crate::dataplane::model::MeshRevision;
use crate::dataplane::report::events::WorkloadEventRecorder;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::restart::wave::{self, RestartWave, WaveOutcome};
use crate::dataplane::restart_ledger::{self, LedgerStore, RestartLedger};
use crate::dataplane::schedule::plan;
use crate::dataplane::schedule::stale_workload::{BlockReason, RestartStrategy, StaleWorkload};
use crate::dataplane::schedule::throttle::{Issue, RestartProgress, StopScope};
use crate::kubernetes::object::ObjectId;
use crate::lock::lock;
use crate::validate::ValidatedRestarter;

/// Dependencies of a restart wave.
pub(super) struct RestartRun<'a> {
    pub client: &'a Client,
    pub store: &'a mut LedgerStore,
    pub ledger: &'a mut RestartLedger,
    pub settings: &'a ValidatedRestarter,
}

/// Outcome of a restart wave.
#[derive(Debug, Default)]
pub(super) struct RestartSummary {
    /// Restarts that are complete.
    pub done: usize,
    /// Restarts that failed.
    pub failed: usize,
    /// Workloads that are still outdated, and why.
    pub remaining: Vec<(StaleWorkload, BlockReason)>,
    /// Whether the user interrupted it.
    pub interrupted: bool,
    /// Whether the operator has started to restart workloads, too, and restarts the remaining ones.
    pub yielded: bool,
}

impl RestartRun<'_> {
    /// Restarts the workloads of `plan` for the mesh with the hash `mesh`, and shows the progress on standard error.
    pub async fn run(
        self,
        mesh: &MeshRevision,
        plan: Vec<(StaleWorkload, RestartStrategy)>,
    ) -> Result<RestartSummary, CliError> {
        if plan.is_empty() {
            eprintln!("nothing to restart");
            return Ok(RestartSummary::default());
        }
        let bar = Mutex::new(ProgressBar {
            total: plan.len(),
            terminal: std::io::stderr().is_terminal(),
            last: None,
            printed: HashMap::new(),
        });
        let cancelled = CancellationToken::new();
        let progress = Mutex::new(|progress: RestartProgress| lock(&bar).show(&progress));
        let mut wave = RestartWave {
            client: self.client,
            store: &mut *self.store,
            ledger: &mut *self.ledger,
            settings: self.settings,
            events: &WorkloadEventRecorder::new(self.client.clone(), identity::identity()),
            metrics: &DataPlaneMetrics::default(),
            is_superseded: &|| cancelled.is_cancelled(),
            on_progress: &progress,
        };
        let ended = tokio::select! {
            ended = wave.run(plan) => Some(ended),
            () = wait_for_interrupts(&cancelled, &bar) => None,
        };
        lock(&bar).finish_line();
        let Some(ended) = ended else { return Ok(exit_immediately(&bar)) };
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(wave::Error::Ledger { source: restart_ledger::Error::Conflict }) => {
                return Ok(yield_to_operator(&bar));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(extent) = &outcome.stopped {
            self.record_stop(mesh, extent).await?;
        }
        Ok(summarize(outcome, cancelled.is_cancelled(), &bar))
    }

    /// Records that rollouts failed, so that the operator does not continue a wave that stopped here.
    async fn record_stop(self, mesh: &MeshRevision, extent: &StopScope) -> Result<(), CliError> {
        let now = current_second();
        let approval = self.store.save_stop(self.ledger, mesh, extent, now).await?;
        eprintln!("{}", plan::stopped_message(extent, self.settings, &approval));
        Ok(())
    }
}

/// Pending until the user has pressed Ctrl-C twice. The first time, no further restart starts.
async fn wait_for_interrupts(interrupted: &CancellationToken, bar: &Mutex<ProgressBar>) {
    for first in [true, false] {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        if first {
            lock(bar).finish_line();
            eprintln!(
                "interrupted: waiting for the restarts in progress. Press Ctrl-C again to exit immediately"
            );
            interrupted.cancel();
        }
    }
}

fn exit_immediately(bar: &Mutex<ProgressBar>) -> RestartSummary {
    eprintln!("exiting: rollouts in progress continue, and no workload is restarted twice");
    RestartSummary { interrupted: true, ..counts_so_far(bar) }
}

fn yield_to_operator(bar: &Mutex<ProgressBar>) -> RestartSummary {
    eprintln!(
        "stopped: the operator restarts workloads, too, and continues with the remaining ones. See its progress in \
         status.dataPlane with `kubectl get istios -A -o yaml`"
    );
    RestartSummary { yielded: true, ..counts_so_far(bar) }
}

fn counts_so_far(bar: &Mutex<ProgressBar>) -> RestartSummary {
    let last = lock(bar).last.clone().unwrap_or_default();
    RestartSummary { done: last.done, failed: last.failed, ..RestartSummary::default() }
}

fn summarize(outcome: WaveOutcome, interrupted: bool, bar: &Mutex<ProgressBar>) -> RestartSummary {
    for (finding, block_reason) in &outcome.blocked {
        let why = block_reason.to_string();
        if lock(bar).printed.get(&finding.workload) != Some(&why) {
            eprintln!("{}: {why}", finding.workload);
        }
    }
    if interrupted {
        eprintln!("interrupted: {} workloads were not restarted", outcome.interrupted);
    }
    RestartSummary {
        done: outcome.done,
        failed: outcome.failed,
        remaining: outcome.blocked,
        interrupted,
        yielded: false,
    }
}

/// One line that is overwritten on a terminal; otherwise one line per step.
struct ProgressBar {
    total: usize,
    terminal: bool,
    last: Option<RestartProgress>,
    /// Workloads that were printed, each with its issue.
    printed: HashMap<ObjectId, String>,
}

impl ProgressBar {
    fn show(&mut self, progress: &RestartProgress) {
        self.print_issues(&progress.issues);
        let line = format_counts(self.total, progress);
        if self.last.as_ref().is_some_and(|last| format_counts(self.total, last) == line) {
            return;
        }
        if self.terminal {
            // Erases the rest of a longer previous line.
            eprint!("\r{} {line}\x1b[K", render_bar(self.total, progress));
        } else {
            eprintln!("{line}");
        }
        self.last = Some(progress.clone());
    }

    /// Prints each workload with an issue once.
    fn print_issues(&mut self, issues: &[Issue]) {
        for Issue { workload, message: why, .. } in issues {
            if self.printed.contains_key(workload) {
                continue;
            }
            self.finish_line();
            eprintln!("{workload}: {why}");
            self.last = None;
            self.printed.insert(workload.clone(), why.clone());
        }
    }

    /// Ends the line, so that the next output does not overwrite it.
    fn finish_line(&mut self) {
        if self.terminal && self.last.is_some() {
            eprintln!();
        }
    }
}

fn format_counts(total: usize, progress: &RestartProgress) -> String {
    let RestartProgress { running, done, failed, .. } = progress;
    format!("{done} of {total} restarted, {running} in progress, {failed} failed")
}

fn render_bar(total: usize, progress: &RestartProgress) -> String {
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
            let progress = RestartProgress { done, failed, ..RestartProgress::default() };
            assert_eq!(render_bar(total, &progress), bar, "{done} and {failed} of {total}");
        }
        let progress = RestartProgress { pending: 1, running: 2, done: 3, failed: 1, issues: Vec::new() };
        assert_eq!(format_counts(7, &progress), "3 of 7 restarted, 2 in progress, 1 failed");
    }
}
