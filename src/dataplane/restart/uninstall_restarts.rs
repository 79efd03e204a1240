//! Removes the sidecars of workloads during an uninstall: injection is off already and istiod still runs, so that workloads
//! with and without a sidecar reach each other until the last one is restarted.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use thiserror::Error;
use tokio::time::Instant;

use super::wave::{self, RestartWave, WaveOutcome};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::model::WorkloadUid;
use crate::dataplane::report::events::WorkloadEventRecorder;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::restart_ledger::{self, LedgerStore, RestartLedger};
use crate::dataplane::scan;
use crate::dataplane::scan::scanner::ScanScope;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision, RestartStrategy, StaleWorkload};
use crate::dataplane::schedule::throttle::RestartProgress;
use crate::validate::ValidatedRestarter;

/// The time between two checks of rollouts that a former process started.
const ROLLOUT_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long to wait for rollouts of others: their pods may have been created before injection was off.
const OTHER_ROLLOUTS_TIMEOUT: Duration = Duration::from_secs(60);

/// The sidecars could not be removed.
#[derive(Debug, Error)]
pub enum Error {
    /// The workloads could not be found.
    #[error("failed to find the workloads with a sidecar")]
    Scan {
        /// The cause.
        #[from]
        source: scan::Error,
    },
    /// The restart ledger could not be read or written.
    #[error("failed to access the restart ledger")]
    Ledger {
        /// The cause.
        #[from]
        source: restart_ledger::Error,
    },
    /// The restarts failed.
    #[error("failed to restart the workloads with a sidecar")]
    Wave {
        /// The cause.
        #[from]
        source: wave::Error,
    },
}

/// The inputs of the restarts that remove sidecars.
pub struct UninstallRestarts {
    /// Client whose writes are fenced by leadership.
    pub client: Client,
    /// Namespace of the restart ledger.
    pub namespace: String,
    /// Identity of this process, for Events.
    pub identity: String,
    /// UID of the `Istio` resource; another uninstall restarts workloads again.
    pub uid: String,
    /// The settings of restarts.
    pub settings: ValidatedRestarter,
    /// The longest time for all restarts.
    pub deadline: Duration,
}

/// What is to do at one moment.
struct PendingRestarts {
    restarts: Vec<(StaleWorkload, RestartStrategy)>,
    /// Restarts in progress that a former process started.
    in_progress: usize,
    /// Rollouts in progress that this uninstall did not start.
    other_rollouts: usize,
}

impl UninstallRestarts {
    /// Restarts every workload that has a sidecar and may be restarted, and waits for it until the deadline.
    ///
    /// Workloads that cannot be restarted, or not in time, keep their sidecar; the uninstall reports them.
    pub async fn run(&self, report: &(dyn Fn(&dyn Display) + Sync)) -> Result<(), Error> {
        if let Ok(ended) = tokio::time::timeout(self.deadline, self.run_until_converged(report)).await {
            return ended;
        }
        tracing::warn!("not all workloads were restarted in time; continuing the uninstall");
        Ok(())
    }

    async fn run_until_converged(&self, report: &(dyn Fn(&dyn Display) + Sync)) -> Result<(), Error> {
        let settings = ValidatedRestarter { allow_interruption: true, ..self.settings.clone() };
        let mut given_up = HashSet::new();
        let started = Instant::now();
        loop {
            let mut store = LedgerStore::new(self.client.clone(), &self.namespace);
            let mut ledger = store.load().await?;
            let PendingRestarts { restarts, in_progress, other_rollouts } =
                self.find_pending(&settings, &ledger, &given_up).await?;
            if !restarts.is_empty() {
                let outcome =
                    self.restart_workloads(&settings, &mut store, &mut ledger, restarts, report).await?;
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
        settings: &ValidatedRestarter,
        ledger: &RestartLedger,
        given_up: &HashSet<WorkloadUid>,
    ) -> Result<PendingRestarts, Error> {
        let (client, mesh) = (&self.client, &Mesh::uninstalling(&self.uid));
        let assessment = scan::scan_once(client, mesh, ScanScope::Uninstall, settings, ledger).await?;
        let mut pending = PendingRestarts { restarts: Vec::new(), in_progress: 0, other_rollouts: 0 };
        for (stale, decision) in assessment.decisions {
            match decision {
                // Gateways serve nothing without Istio. Their image comes from injection, so that a restart would only break
                // them.
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
        settings: &ValidatedRestarter,
        store: &mut LedgerStore,
        ledger: &mut RestartLedger,
        plan: Vec<(StaleWorkload, RestartStrategy)>,
        report: &(dyn Fn(&dyn Display) + Sync),
    ) -> Result<WaveOutcome, Error> {
        let total = plan.len();
        let progress = Mutex::new(|progress: RestartProgress| {
            let ended = progress.done + progress.failed;
            report(&format_args!(
                "restarting workloads to remove their sidecars: {ended} of {total} done, {} failed",
                progress.failed
            ));
        });
        let mut wave = RestartWave {
            client: &self.client,
            store,
            ledger,
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
