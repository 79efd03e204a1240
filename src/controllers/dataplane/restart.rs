//! The restart wave of one cycle. It runs until it is finished or superseded by a change.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::{CycleContext, DataPlaneController, DataPlaneInputs, Error, FailedRestart};
use crate::api::Istio;
use crate::dataplane::clock::current_second;
use crate::dataplane::report::summary;
use crate::dataplane::restart::wave::{RestartWave, WaveOutcome};
use crate::dataplane::restart_ledger::{LedgerStore, RestartLedger};
use crate::dataplane::schedule::plan;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::{BlockReason, RestartStrategy, StaleWorkload};
use crate::dataplane::schedule::throttle::RestartProgress;
use crate::messages::EventReason;
use crate::status::ResourceEvent;

/// The time between two reports of progress: rollouts take a minute, and each report is a request to an API server that is
/// busy with them.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

impl DataPlaneController {
    /// Restarts the workloads of `plan`.
    pub(crate) async fn restart_workloads(
        &mut self,
        context: &CycleContext,
        store: &mut LedgerStore,
        ledger: &mut RestartLedger,
        assessment: Assessment,
        plan: Vec<(StaleWorkload, RestartStrategy)>,
        suspended: Option<String>,
    ) -> Result<(), Error> {
        tracing::info!(
            workloads = plan.len(),
            total = assessment.scan.total,
            "restarting outdated workloads"
        );
        let (triggers, inputs) = (&self.triggers, &self.inputs);
        let is_superseded = || {
            *triggers.mesh_changes.borrow() != context.mesh_changes || !is_current(inputs, &context.resource)
        };
        let reporter = context.reporter.clone();
        let mut next = Instant::now();
        let progress = Mutex::new(move |progress: RestartProgress| {
            let is_over = progress.pending + progress.running == 0;
            if is_over || Instant::now() >= next {
                next = Instant::now() + STATUS_INTERVAL;
                reporter.report_data_plane(summary::data_plane_report(
                    &assessment,
                    &progress,
                    suspended.as_deref(),
                ));
            }
        });
        let mesh = &context.mesh.revision;
        ledger.forget_other_meshes(mesh);
        if let Some(cached) = self.cached_mesh.as_mut().filter(|cached| cached.revision == *mesh) {
            cached.first_restart.get_or_insert_with(current_second);
        }
        let mut wave = RestartWave {
            client: &self.inputs.context.client,
            store,
            ledger,
            settings: &context.settings,
            events: &self.events,
            metrics: &self.metrics,
            is_superseded: &is_superseded,
            on_progress: &progress,
        };
        let outcome = wave.run(plan).await?;
        self.last_wave_done = Some(outcome.done);
        self.record_failed_restarts(&outcome);
        tracing::info!(
            done = outcome.done,
            failed = outcome.failed,
            blocked = outcome.blocked.len(),
            interrupted = outcome.interrupted,
            stopped = ?outcome.stopped,
            "finished restarting workloads"
        );
        if let Some(scope) = &outcome.stopped {
            let approval_id = store.save_stop(ledger, mesh, scope, current_second()).await?;
            let note = plan::stopped_message(scope, &context.settings, &approval_id);
            let reason = EventReason::RestartsStopped;
            context.reporter.emit_event(ResourceEvent { reason, note, about: None });
        }
        Ok(())
    }

    fn record_failed_restarts(&mut self, outcome: &WaveOutcome) {
        for (stale, why) in outcome.blocked.iter().filter(|(_, why)| *why != BlockReason::WaveSuspended) {
            let previous =
                self.failed_restarts.get(&stale.uid).filter(|failed| failed.target == stale.target);
            let (why, pause) =
                plan::back_off_failed_restart(why.clone(), previous.map(|failed| failed.retry_after));
            let (target, since) = (stale.target.clone(), Instant::now());
            self.failed_restarts.insert(
                stale.uid.clone(),
                FailedRestart { target, reason: why, failed_at: since, retry_after: pause },
            );
        }
    }
}

fn is_current(inputs: &DataPlaneInputs, resource: &Istio) -> bool {
    let present =
        inputs.resources.state().into_iter().find(|present| present.metadata.uid == resource.metadata.uid);
    present.is_some_and(|present| {
        present.metadata.generation == resource.metadata.generation
            && present.metadata.deletion_timestamp.is_none()
    })
}
