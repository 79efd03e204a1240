//! Looking: with what it is begun, what it leaves alone, and what is remembered when nothing is left to do.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{Controller, Error, Ground, Known};
use crate::dataplane::decide::course::{self, INTERVAL, TAKEN_IN};
use crate::dataplane::decide::finding::Decision;
use crate::dataplane::decide::found::Survey;
use crate::dataplane::look::mesh::Mesh;
use crate::dataplane::memory::{Memory, Store};
use crate::dataplane::survey::Surveyor;
use crate::dataplane::survey::judge::Proven;
use crate::dataplane::survey::sweep::Scope;

/// Pods without the label of injection, all of the cluster's, are looked at so often.
const UNLABELLED: Duration = Duration::from_secs(6 * 3600);

impl Controller {
    pub(super) async fn survey(
        &mut self,
        ground: &Ground,
        memory: &Memory,
        settled: bool,
    ) -> Result<Survey, Error> {
        let Ground { mesh, settings, .. } = ground;
        let asked = memory.asked.as_deref() == Some(&mesh.hash);
        let unlabelled = self.unlabelled.is_none_or(|last| last.elapsed() >= UNLABELLED);
        let surveyor = Surveyor {
            client: &self.given.context.client,
            mesh,
            scope: if asked { Scope::Suspects } else { Scope::All },
            settings,
            memory,
            proven: &self.proven,
            metrics: &self.metrics,
            unlabelled,
            revisit: &self.revisit,
            settled,
            renewed: self.mesh.as_ref().filter(|_| !settled).and_then(|mesh| mesh.restarted),
            now: Timestamp::now().as_second(),
        };
        let survey = surveyor.survey().await?;
        if unlabelled && survey.found.missing == 0 {
            self.unlabelled = Some(Instant::now());
        }
        Ok(survey)
    }

    /// Whether istiod has had the time to take the present configuration in.
    pub(super) fn taken_in(&mut self, mesh: &Mesh, memory: &mut Memory) -> bool {
        memory.saw(&mesh.hash);
        if memory.asked.is_some() {
            return true;
        }
        match &self.mesh {
            Some(known) if known.hash == mesh.hash => known.since.elapsed() >= TAKEN_IN,
            _ => {
                self.mesh = Some(Known { hash: mesh.hash.clone(), since: Instant::now(), restarted: None });
                self.proven = Proven::default();
                false
            }
        }
    }

    /// Leaves alone for a while what could not be restarted.
    pub(super) fn leave_missed(&mut self, survey: &mut Survey) {
        // Longer than they count, so that one that is missed again is known.
        self.missed.retain(|_, missed| missed.since.elapsed() < 2 * INTERVAL);
        for (finding, decision) in &mut survey.decisions {
            let missed = self.missed.get(&finding.uid).filter(|missed| missed.target == finding.target);
            let missed = missed.filter(|missed| missed.since.elapsed() < missed.pause);
            if let (Some(missed), Decision::Restart(_)) = (missed, &decision) {
                *decision = Decision::Hold(missed.why.clone());
            }
        }
    }
}

/// Remembers that the mesh is settled, once nothing is left to restart, and what else is not as it was `before`.
pub(super) async fn settle(
    mesh: &Mesh,
    taken_in: bool,
    (store, memory, before): (&mut Store, &mut Memory, &Memory),
    survey: &Survey,
) -> Result<(), Error> {
    course::settle(memory, &mesh.hash, taken_in, survey);
    if memory != before {
        store.save(memory).await?;
    }
    Ok(())
}
