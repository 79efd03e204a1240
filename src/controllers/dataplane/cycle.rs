//! The scan of one cycle: its inputs, and failed restarts that are not retried yet.

use std::time::Duration;

use tokio::time::Instant;

use super::{CachedMesh, CycleContext, DataPlaneController, Error};
use crate::dataplane::clock::current_second;
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::restart_ledger::RestartLedger;
use crate::dataplane::scan::DataPlaneScanner;
use crate::dataplane::scan::evaluator::UpToDateCache;
use crate::dataplane::scan::scanner::ScanScope;
use crate::dataplane::schedule::plan::{CONFIG_PROPAGATION_TIMEOUT, SCAN_INTERVAL};
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::Decision;

/// The time between two scans of pods without the injection label, which are all other pods of the cluster.
const UNLABELLED_SCAN_INTERVAL: Duration = Duration::from_secs(6 * 3600);

impl DataPlaneController {
    pub(crate) async fn scan(
        &mut self,
        context: &CycleContext,
        ledger: &RestartLedger,
        config_propagated: bool,
    ) -> Result<Assessment, Error> {
        let CycleContext { mesh, settings, .. } = context;
        let fully_scanned = ledger.fully_scanned_mesh.as_ref() == Some(&mesh.revision);
        let unlabelled =
            self.unlabelled_scanned_at.is_none_or(|last| last.elapsed() >= UNLABELLED_SCAN_INTERVAL);
        let scanner = DataPlaneScanner {
            client: &self.inputs.context.client,
            mesh,
            scope: if fully_scanned { ScanScope::Candidates } else { ScanScope::All },
            settings,
            ledger,
            up_to_date: &self.up_to_date,
            metrics: &self.metrics,
            unlabelled,
            known_stale: &self.stale_owners,
            config_propagated,
            restarted_since: self
                .cached_mesh
                .as_ref()
                .filter(|_| !config_propagated)
                .and_then(|mesh| mesh.first_restart),
            now: current_second(),
        };
        let assessment = scanner.scan().await?;
        if unlabelled && assessment.scan.missing_sidecars == 0 {
            self.unlabelled_scanned_at = Some(Instant::now());
        }
        Ok(assessment)
    }

    /// Whether every istiod is expected to use the present configuration.
    pub(crate) fn has_config_propagated(&mut self, mesh: &Mesh, ledger: &mut RestartLedger) -> bool {
        ledger.observe_mesh(&mesh.revision);
        if ledger.fully_scanned_mesh.is_some() {
            return true;
        }
        match &self.cached_mesh {
            Some(cached) if cached.revision == mesh.revision => {
                cached.first_seen.elapsed() >= CONFIG_PROPAGATION_TIMEOUT
            }
            _ => {
                self.cached_mesh = Some(CachedMesh {
                    revision: mesh.revision.clone(),
                    first_seen: Instant::now(),
                    first_restart: None,
                });
                self.up_to_date = UpToDateCache::default();
                false
            }
        }
    }

    /// Blocks restarts that failed, until their delay has passed.
    pub(crate) fn block_failed_restarts(&mut self, assessment: &mut Assessment) {
        // Longer than they block, so that the next failure has a longer delay.
        self.failed_restarts.retain(|_, failed| failed.failed_at.elapsed() < 2 * SCAN_INTERVAL);
        for (stale, decision) in &mut assessment.decisions {
            let failed = self.failed_restarts.get(&stale.uid).filter(|failed| failed.target == stale.target);
            let failed = failed.filter(|missed| missed.failed_at.elapsed() < missed.retry_after);
            if let (Some(failed), Decision::Restart(_)) = (failed, &decision) {
                *decision = Decision::Blocked(failed.reason.clone());
            }
        }
    }
}
