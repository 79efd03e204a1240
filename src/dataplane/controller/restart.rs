//! Restarting what a look found: one wave, until it is over or what it was planned for no longer holds.

use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{Controller, DataPlane, Error, Ground, Missed};
use crate::api::Istio;
use crate::dataplane::act::wave::{Outcome, Wave};
use crate::dataplane::decide::course;
use crate::dataplane::decide::finding::{Finding, Hindrance, Method};
use crate::dataplane::decide::found::Survey;
use crate::dataplane::decide::pace::Progress;
use crate::dataplane::memory::{Memory, Store};
use crate::dataplane::tell::report;
use crate::status::Announcement;

/// How far a wave is, is written so often: rollouts take a minute, and each write is a request to an API server that has
/// much to do just then.
const TOLD: Duration = Duration::from_secs(5);

impl Controller {
    /// Restarts the workloads of `plan`.
    pub(super) async fn restart(
        &mut self,
        ground: &Ground,
        (store, memory): (&mut Store, &mut Memory),
        survey: Survey,
        plan: Vec<(Finding, Method)>,
        held: Option<String>,
    ) -> Result<(), Error> {
        tracing::info!(workloads = plan.len(), total = survey.found.total, "restarting outdated workloads");
        let (triggers, given) = (&self.triggers, &self.given);
        let superseded = || *triggers.mesh.borrow() != ground.changes || !is_current(given, &ground.resource);
        let told = ground.reporter.clone();
        let mut next = Instant::now();
        let progress = Mutex::new(move |progress: Progress| {
            let is_over = progress.waiting + progress.running == 0;
            if is_over || Instant::now() >= next {
                next = Instant::now() + TOLD;
                told.data_plane(report::report(&survey, &progress, held.as_deref()));
            }
        });
        memory.forget_others(&ground.mesh.hash);
        if let Some(known) = self.mesh.as_mut().filter(|known| known.hash == ground.mesh.hash) {
            known.restarted.get_or_insert_with(|| Timestamp::now().as_second());
        }
        let mut wave = Wave {
            client: &self.given.context.client,
            store,
            memory,
            settings: &ground.settings,
            events: &self.events,
            metrics: &self.metrics,
            superseded: &superseded,
            progress: &progress,
        };
        let outcome = wave.run(plan).await?;
        self.done = Some(outcome.done);
        self.remember_missed(&outcome);
        tracing::info!(
            done = outcome.done,
            failed = outcome.failed,
            left = outcome.left.len(),
            interrupted = outcome.interrupted,
            stopped = ?outcome.stopped,
            "restarts ended"
        );
        if let Some(extent) = &outcome.stopped {
            let release = store.stop(memory, &ground.mesh.hash, extent, Timestamp::now().as_second()).await?;
            let note = course::stopped(extent, &ground.settings, &release);
            let reason = "RestartsStopped";
            ground.reporter.announce(Announcement { warning: true, reason, note, about: None });
        }
        Ok(())
    }

    fn remember_missed(&mut self, outcome: &Outcome) {
        for (finding, why) in outcome.left.iter().filter(|(_, why)| *why != Hindrance::WaveHeld) {
            let before = self.missed.get(&finding.uid).filter(|missed| missed.target == finding.target);
            let (why, pause) = course::missed(why.clone(), before.map(|missed| missed.pause));
            let (target, since) = (finding.target.clone(), Instant::now());
            self.missed.insert(finding.uid.clone(), Missed { target, why, since, pause });
        }
    }
}

fn is_current(given: &DataPlane, resource: &Istio) -> bool {
    let present =
        given.resources.state().into_iter().find(|present| present.metadata.uid == resource.metadata.uid);
    present.is_some_and(|present| {
        present.metadata.generation == resource.metadata.generation
            && present.metadata.deletion_timestamp.is_none()
    })
}
