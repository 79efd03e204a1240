//! Takes the sidecars out of workloads while Istio is removed: injection is off already and istiod still runs, so that
//! workloads with and without a sidecar reach each other until the last one is restarted.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use thiserror::Error;
use tokio::time::Instant;

use super::wave::{self, RestartWave, WaveOutcome};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::report::events::WorkloadEventRecorder;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::restart_ledger::{self, LedgerStore, RestartLedger};
use crate::dataplane::scan;
use crate::dataplane::scan::scanner::ScanScope;
use crate::dataplane::schedule::settings::RestartSettings;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, RestartStrategy, StaleWorkload};
use crate::dataplane::schedule::throttle::RestartProgress;

/// How often rollouts are looked at that a process before this one began.
const ROLLOUT_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long rollouts of others are waited for: pods that came before injection was off have a sidecar.
const OTHER_ROLLOUTS_TIMEOUT: Duration = Duration::from_secs(60);

/// The sidecars could not be taken out.
#[derive(Debug, Error)]
pub enum Error {
    /// The workloads could not be found.
    #[error("cannot tell which workloads have a sidecar")]
    Scan {
        /// What happened.
        #[from]
        source: scan::Error,
    },
    /// What was restarted could not be remembered.
    #[error("cannot remember which workloads were restarted")]
    Ledger {
        /// What happened.
        #[from]
        source: restart_ledger::Error,
    },
    /// The restarts could not go on.
    #[error("cannot restart the workloads that have a sidecar")]
    Wave {
        /// What happened.
        #[from]
        source: wave::Error,
    },
}

/// The means of taking sidecars out.
pub struct UninstallRestarts {
    /// Client whose writes are gated by leadership.
    pub client: Client,
    /// Where restarts are remembered.
    pub namespace: String,
    /// This process, for Events.
    pub identity: String,
    /// The resource that goes; another removal restarts anew.
    pub uid: String,
    /// How restarts are made.
    pub settings: RestartSettings,
    /// Longest time for all of it.
    pub deadline: Duration,
}

/// What there is to do at one moment.
struct PendingRestarts {
    restarts: Vec<(StaleWorkload, RestartStrategy)>,
    /// Restarts without a sidecar that are not through, begun by a process before this one.
    in_progress: usize,
    /// Rollouts of others, a wave that was under way among them.
    other_rollouts: usize,
}

impl UninstallRestarts {
    /// Restarts every workload that has a sidecar and may be restarted, and waits for it until the deadline.
    ///
    /// What cannot be restarted, or is not done in time, is left; who goes on removing names it.
    pub async fn run(&self, report: &(dyn Fn(&dyn Display) + Sync)) -> Result<(), Error> {
        if let Ok(ended) = tokio::time::timeout(self.deadline, self.run_until_converged(report)).await {
            return ended;
        }
        tracing::warn!("not every workload was restarted in time; the removal goes on");
        Ok(())
    }

    async fn run_until_converged(&self, report: &(dyn Fn(&dyn Display) + Sync)) -> Result<(), Error> {
        let settings = RestartSettings { allow_interruption: true, ..self.settings.clone() };
        let mut given_up = HashSet::new();
        let started = Instant::now();
        loop {
            let mut store = LedgerStore::new(self.client.clone(), &self.namespace);
            let mut ledger = store.load().await?;
            let PendingRestarts { restarts, in_progress, other_rollouts } =
                self.find_pending(&settings, &ledger, &given_up).await?;
            if !restarts.is_empty() {
                let outcome =
                    self.restart_workloads(&settings, (&mut store, &mut ledger), restarts, report).await?;
                given_up.extend(outcome.blocked.into_iter().map(|(stale, _)| stale.uid));
            } else if in_progress > 0 || (other_rollouts > 0 && started.elapsed() < OTHER_ROLLOUTS_TIMEOUT) {
                report(&format_args!(
                    "waiting for the rollouts of {} workloads",
                    in_progress + other_rollouts
                ));
                tokio::time::sleep(ROLLOUT_POLL_INTERVAL).await;
            } else {
                return Ok(());
            }
        }
    }

    async fn find_pending(
        &self,
        settings: &RestartSettings,
        ledger: &RestartLedger,
        given_up: &HashSet<String>,
    ) -> Result<PendingRestarts, Error> {
        let (client, mesh) = (&self.client, &Mesh::uninstalling(&self.uid));
        let assessment = scan::scan_once(client, mesh, ScanScope::Uninstall, settings, ledger).await?;
        let mut pending = PendingRestarts { restarts: Vec::new(), in_progress: 0, other_rollouts: 0 };
        for (stale, decision) in assessment.decisions {
            match decision {
                // Gateways without Istio serve nothing; their image is named by injection, so that a restart would only
                // break them.
                _ if stale.gateway => {}
                Decision::Restart(strategy) if !given_up.contains(&stale.uid) => {
                    pending.restarts.push((stale, strategy));
                }
                Decision::Blocked(BlockReason::RolloutInProgress(_))
                    if ledger.has_attempt(&stale.uid, &stale.target) =>
                {
                    pending.in_progress += 1;
                }
                Decision::Blocked(BlockReason::RolloutInProgress(_)) => pending.other_rollouts += 1,
                Decision::Restart(_) | Decision::Blocked(_) => {}
            }
        }
        Ok(pending)
    }

    async fn restart_workloads(
        &self,
        settings: &RestartSettings,
        (store, memory): (&mut LedgerStore, &mut RestartLedger),
        plan: Vec<(StaleWorkload, RestartStrategy)>,
        report: &(dyn Fn(&dyn Display) + Sync),
    ) -> Result<WaveOutcome, Error> {
        let total = plan.len();
        let progress = Mutex::new(|progress: RestartProgress| {
            let ended = progress.done + progress.failed;
            report(&format_args!(
                "restarting workloads without a sidecar: {ended} of {total}, {} failed",
                progress.failed
            ));
        });
        let mut wave = RestartWave {
            client: &self.client,
            store,
            ledger: memory,
            settings,
            events: &WorkloadEventRecorder::new(self.client.clone(), self.identity.clone()),
            metrics: &DataPlaneMetrics::default(),
            is_superseded: &|| false,
            on_progress: &progress,
        };
        Ok(wave.run(plan).await?)
    }

    /// Forgets all restarts, once Istio is gone.
    pub async fn clear_ledger(&self) -> Result<(), Error> {
        Ok(LedgerStore::new(self.client.clone(), &self.namespace).delete().await?)
    }
}
