//! Looking: with what it is begun, what it leaves alone, and what is remembered when nothing is left to do.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{CachedMesh, CycleContext, DataPlaneController, Error};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::restart_ledger::{LedgerStore, RestartLedger};
use crate::dataplane::scan::DataPlaneScanner;
use crate::dataplane::scan::evaluator::UpToDateCache;
use crate::dataplane::scan::scanner::ScanScope;
use crate::dataplane::schedule::plan::{self, CONFIG_PROPAGATION_TIMEOUT, SCAN_INTERVAL};
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::Decision;

/// Pods without the label of injection, all of the cluster's, are looked at so often.
const UNLABELLED_SCAN_INTERVAL: Duration = Duration::from_secs(6 * 3600);

impl DataPlaneController {
    pub(crate) async fn scan(
        &mut self,
        context: &CycleContext,
        ledger: &RestartLedger,
        config_propagated: bool,
    ) -> Result<Assessment, Error> {
        let CycleContext { mesh, settings, .. } = context;
        let fully_scanned = ledger.fully_scanned_mesh.as_deref() == Some(&mesh.hash);
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
            now: Timestamp::now().as_second(),
        };
        let assessment = scanner.scan().await?;
        if unlabelled && assessment.scan.missing_sidecars == 0 {
            self.unlabelled_scanned_at = Some(Instant::now());
        }
        Ok(assessment)
    }

    /// Whether istiod has had the time to take the present configuration in.
    pub(crate) fn has_config_propagated(&mut self, mesh: &Mesh, ledger: &mut RestartLedger) -> bool {
        ledger.observe_mesh(&mesh.hash);
        if ledger.fully_scanned_mesh.is_some() {
            return true;
        }
        match &self.cached_mesh {
            Some(cached) if cached.hash == mesh.hash => {
                cached.first_seen.elapsed() >= CONFIG_PROPAGATION_TIMEOUT
            }
            _ => {
                self.cached_mesh = Some(CachedMesh {
                    hash: mesh.hash.clone(),
                    first_seen: Instant::now(),
                    first_restart: None,
                });
                self.up_to_date = UpToDateCache::default();
                false
            }
        }
    }

    /// Leaves alone for a while what could not be restarted.
    pub(crate) fn block_failed_restarts(&mut self, assessment: &mut Assessment) {
        // Longer than they count, so that one that is missed again is known.
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

/// Remembers that the mesh is settled, once nothing is left to restart, and what else is not as it was `before`.
pub(crate) async fn save_convergence(
    mesh: &Mesh,
    config_propagated: bool,
    (store, memory, before): (&mut LedgerStore, &mut RestartLedger, &RestartLedger),
    assessment: &Assessment,
) -> Result<(), Error> {
    plan::record_convergence(memory, &mesh.hash, config_propagated, assessment);
    if memory != before {
        store.save(memory).await?;
    }
    Ok(())
}
