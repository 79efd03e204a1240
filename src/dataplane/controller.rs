//! The controller of the data plane: looks when something changed or time has passed, restarts, reports, and looks again.
//!
//! It follows the installed resource, but shares nothing with its reconcile, so that neither waits for the other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::Store as Resources;
use tokio::sync::watch;
use tokio::time::Instant;

use super::components;
use super::course::{self, INTERVAL, SOON, TAKEN_IN};
use super::events::Announcer;
use super::finding::{Decision, Finding, Hindrance, Method, Weight};
use super::judge::Proven;
use super::memory::{self, Memory, Store};
use super::mesh::Mesh;
use super::metrics::Metrics;
use super::names::RELEASE_ANNOTATION;
use super::newcomers::Newcomers;
use super::report;
use super::settings::Settings;
use super::survey::{self, ControlPlane, Survey, Surveyor};
use super::sweep::Scope;
use super::triggers::{self, Triggers};
use super::wave::{self, Progress, Wave};
use crate::api::Istio;
use crate::api::v1alpha2::DataPlaneStatus;
use crate::context::Context;
use crate::status::{self, Writer};
use crate::telemetry::one_line;

/// Pods without the label of injection, all of the cluster's, are looked at so often.
const UNLABELLED: Duration = Duration::from_secs(6 * 3600);
/// The next look after one of Istio's own workloads was restarted.
const COMPONENT: Duration = Duration::from_secs(3);
/// Changes come in groups.
const GROUP: Duration = Duration::from_secs(1);
/// How far a wave is, is written so often: rollouts take a minute, and each write is a request to an API server that has
/// much to do just then.
const TOLD: Duration = Duration::from_secs(5);

/// A generation of a resource that runs as described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    uid: Option<String>,
    generation: Option<i64>,
}

impl Installed {
    /// The present generation of a resource.
    #[must_use]
    pub fn of(resource: &Istio) -> Self {
        Self { uid: resource.metadata.uid.clone(), generation: resource.metadata.generation }
    }
}

/// What the controller is given.
pub struct DataPlane {
    /// The frame of the process.
    pub context: Context,
    /// Writes the status.
    pub writer: Writer,
    /// The resources, as they are watched.
    pub resources: Resources<Istio>,
    /// Told of each change of a resource.
    pub changes: watch::Receiver<()>,
    /// The generation that runs as described.
    pub installed: watch::Receiver<Option<Installed>>,
}

/// Runs until the shutdown. Ends nothing else when it ends.
pub async fn run(data_plane: DataPlane) {
    let shutdown = data_plane.context.shutdown.clone();
    let (triggers, watching) = triggers::start(&data_plane.context.client);
    let controller = Controller::new(data_plane, triggers);
    tokio::select! {
        () = controller.work() => {}
        () = watching => {}
        () = shutdown.cancelled() => {}
    }
}

/// What lasts from look to look. All of it can be lost.
struct Controller {
    given: DataPlane,
    triggers: Triggers,
    events: Announcer,
    metrics: Metrics,
    proven: Proven,
    /// The mesh as last seen, and since when.
    mesh: Option<(String, Instant)>,
    /// Owners that were outdated at the last look, by hash.
    revisit: HashSet<u64>,
    /// Owners that are judged already, by hash; their pods make no look due.
    judged: HashSet<u64>,
    /// When pods without the label of injection were looked at last; `None` is due.
    unlabelled: Option<Instant>,
    /// Restarts that did not come about, by UID: for what, why and when. They are not tried again at once.
    refused: HashMap<String, (String, Hindrance, Instant)>,
    /// Leftovers that were told, by UID, target and hindrance.
    told: Option<HashSet<String>>,
    newcomers: Newcomers,
    last: DataPlaneStatus,
    /// Restarts of the last wave, if there was one since the start.
    done: Option<usize>,
}

impl Controller {
    fn new(given: DataPlane, triggers: Triggers) -> Self {
        let client = given.context.client.clone();
        Self {
            events: Announcer::new(client.clone(), given.context.identity.clone()),
            metrics: Metrics::register(&given.context.metrics),
            newcomers: Newcomers::new(client),
            given,
            triggers,
            proven: Proven::default(),
            mesh: None,
            revisit: HashSet::new(),
            judged: HashSet::new(),
            unlabelled: None,
            refused: HashMap::new(),
            told: None,
            last: DataPlaneStatus::default(),
            done: None,
        }
    }

    async fn work(mut self) {
        loop {
            let resource = self.installed().await;
            let next = self.cycle(&resource).await;
            if next.is_zero() {
                continue;
            }
            let (triggers, newcomers) = (&self.triggers, &mut self.newcomers);
            let mut installed = self.given.installed.clone();
            installed.mark_unchanged();
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = triggers.look.notified() => tokio::time::sleep(GROUP).await,
                _ = installed.changed() => {}
                () = changed(&self.given, &resource) => {}
                () = newcomers.suspicious(&self.judged) => {}
            }
        }
    }

    /// The resource in charge, once it runs as described.
    async fn installed(&self) -> Arc<Istio> {
        let mut changes = self.given.changes.clone();
        let mut installed = self.given.installed.clone();
        loop {
            if let Some(resource) = self.current() {
                return resource;
            }
            let ended = tokio::select! {
                told = changes.changed() => told.is_err(),
                told = installed.changed() => told.is_err(),
            };
            if ended {
                std::future::pending::<()>().await;
            }
        }
    }

    fn current(&self) -> Option<Arc<Istio>> {
        let installed = self.given.installed.borrow().clone()?;
        let runs = |resource: &Arc<Istio>| {
            Installed::of(resource) == installed && resource.metadata.deletion_timestamp.is_none()
        };
        self.given.resources.state().into_iter().find(runs)
    }

    /// One look with what follows from it; returns when to look again.
    async fn cycle(&mut self, resource: &Arc<Istio>) -> Duration {
        let reporter = self.given.writer.report_on(resource);
        match self.try_cycle(resource, &reporter).await {
            Ok(next) => next,
            Err(error) => {
                let text = one_line(&error);
                tracing::error!(error = text, "cannot bring the data plane up to date");
                // Somebody else's restarts are no failure; they show at the next look.
                if !matches!(
                    error,
                    Error::Wave { source: wave::Error::Memory { source: memory::Error::Conflict } }
                ) {
                    reporter.data_plane(report::failure(text, self.last.clone()));
                }
                SOON
            }
        }
    }

    async fn try_cycle(
        &mut self,
        resource: &Arc<Istio>,
        reporter: &status::Progress,
    ) -> Result<Duration, Error> {
        let client = self.given.context.client.clone();
        let mesh = match survey::control_plane(&client).await? {
            ControlPlane::Serves(mesh) => mesh,
            ControlPlane::NotReady(why) => {
                tracing::debug!(why, "the data plane waits for the control plane");
                return Ok(SOON);
            }
        };
        let settings =
            Settings::of(resource.spec.restarter.as_ref(), self.given.context.settings.report_restarts_only);
        let mut store = Store::new(client.clone(), &self.given.context.operator_namespace);
        let mut memory = store.load().await?;
        if settings.enabled
            && let Some(component) = components::restart_one(&client, &mesh, &mut store, &mut memory).await?
        {
            tracing::debug!(%component, "the data plane waits for its rollout");
            return Ok(COMPONENT);
        }
        let settled = self.taken_in(&mesh, &memory);
        let mut survey = self.survey(&mesh, &settings, &memory, settled).await?;
        self.newcomers.follow(&mesh, std::mem::take(&mut survey.found.version));
        self.revisit.clone_from(&survey.found.stale);
        self.judged = &survey.found.stale | &survey.found.suspects;
        self.wait_after_refusal(&mut survey);
        let released = resource.metadata.annotations.as_ref().and_then(|all| all.get(RELEASE_ANNOTATION));
        let held =
            course::hold(&mut survey, &mut memory, &settings, &mesh.hash, released.map(String::as_str));
        self.metrics.serves(mesh.version().unwrap_or_default());
        self.metrics.found(survey.found.total, &survey.decisions, survey.found.more);
        self.metrics.window(survey.found.window_open);
        self.announce(&survey, memory.settled.as_deref() == Some(&mesh.hash)).await;
        let plan = course::plan(&survey);
        if plan.is_empty() {
            self.settle(&mesh, settled, &mut store, &mut memory, &survey).await?;
            self.tell(resource, reporter, &survey, held.as_deref());
            tracing::info!(
                total = survey.found.total,
                outdated = survey.decisions.len() + survey.found.more,
                unknown = survey.found.unproven.len(),
                "looked at the data plane"
            );
            let known = self.mesh.as_ref().filter(|(hash, _)| *hash == mesh.hash);
            let age = known.map(|(_, since)| since.elapsed());
            return Ok(course::next_look(&survey, age, Timestamp::now().as_second()));
        }
        self.restart(resource, reporter, &mesh, &settings, (&mut store, &mut memory), survey, plan).await?;
        Ok(Duration::ZERO)
    }

    async fn survey(
        &mut self,
        mesh: &Mesh,
        settings: &Settings,
        memory: &Memory,
        settled: bool,
    ) -> Result<Survey, Error> {
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
            now: Timestamp::now().as_second(),
        };
        let survey = surveyor.survey().await?;
        if unlabelled && survey.found.missing == 0 {
            self.unlabelled = Some(Instant::now());
        }
        Ok(survey)
    }

    /// Whether istiod has had the time to take the present configuration in.
    fn taken_in(&mut self, mesh: &Mesh, memory: &Memory) -> bool {
        if memory.asked.as_deref() == Some(&mesh.hash) {
            return true;
        }
        match &self.mesh {
            Some((hash, since)) if *hash == mesh.hash => since.elapsed() >= TAKEN_IN,
            _ => {
                self.mesh = Some((mesh.hash.clone(), Instant::now()));
                false
            }
        }
    }

    /// Leaves alone for a while what could not be restarted.
    fn wait_after_refusal(&mut self, survey: &mut Survey) {
        self.refused.retain(|_, (_, _, since)| since.elapsed() < INTERVAL);
        for (finding, decision) in &mut survey.decisions {
            let refused = self.refused.get(&finding.uid).filter(|(target, _, _)| *target == finding.target);
            if let (Some((_, why, _)), Decision::Restart(_)) = (refused, &decision) {
                *decision = Decision::Hold(why.clone());
            }
        }
    }

    /// Tells owners what they have to do. Not right after a start on a settled mesh: it was told then.
    async fn announce(&mut self, survey: &Survey, settled: bool) {
        const AT_ONCE: usize = 50;
        let manual = |(finding, decision): &(Finding, Decision)| match decision {
            Decision::Hold(why) if why.weight() == Weight::Manual && *why != Hindrance::WaveHeld => Some((
                format!("{} {} {}", finding.uid, finding.target, why.name()),
                finding.clone(),
                why.clone(),
            )),
            _ => None,
        };
        let all: Vec<_> = survey.decisions.iter().filter_map(manual).collect();
        let keys: HashSet<String> = all.iter().map(|(key, _, _)| key.clone()).collect();
        let known = self.told.take();
        if known.is_some() || !settled {
            let known = known.unwrap_or_default();
            for (_, finding, why) in all.iter().filter(|(key, _, _)| !known.contains(key)).take(AT_ONCE) {
                self.events.required(finding, why).await;
            }
        }
        self.told = Some(keys);
    }

    /// Remembers that the mesh is settled, once nothing is left to restart.
    async fn settle(
        &self,
        mesh: &Mesh,
        taken_in: bool,
        store: &mut Store,
        memory: &mut Memory,
        survey: &Survey,
    ) -> Result<(), Error> {
        let before = memory.clone();
        if !survey.decisions.iter().any(|(_, decision)| course::is_to_come(decision)) {
            memory.settled = Some(mesh.hash.clone());
        }
        // What the pods do not show would be overlooked after a start, so that all are asked then.
        let shown = survey.found.stale.is_subset(&survey.found.suspects);
        if taken_in && shown && survey.found.unproven.is_empty() {
            memory.asked = Some(mesh.hash.clone());
        }
        if *memory != before {
            store.save(memory).await?;
        }
        Ok(())
    }

    fn tell(&mut self, resource: &Istio, reporter: &status::Progress, survey: &Survey, held: Option<&str>) {
        let mut part = report::report(survey, &Progress::default(), held);
        let before = resource.status.as_ref().and_then(|status| status.data_plane.as_ref());
        part.status.done = match self.done {
            Some(done) => i64::try_from(done).unwrap_or(i64::MAX),
            // The last wave was that of a process before this one.
            None => before.map_or(0, |before| before.done),
        };
        self.last = part.status.clone();
        reporter.data_plane(part);
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one cycle, taken apart for the wave")]
    async fn restart(
        &mut self,
        resource: &Arc<Istio>,
        reporter: &status::Progress,
        mesh: &Mesh,
        settings: &Settings,
        (store, memory): (&mut Store, &mut Memory),
        survey: Survey,
        plan: Vec<(Finding, Method)>,
    ) -> Result<(), Error> {
        tracing::info!(workloads = plan.len(), total = survey.found.total, "restarting outdated workloads");
        let seen = *self.triggers.mesh.borrow();
        let (triggers, given) = (&self.triggers, &self.given);
        let superseded = || *triggers.mesh.borrow() != seen || !is_current(given, resource);
        let told = reporter.clone();
        let mut next = Instant::now();
        let progress = Mutex::new(move |progress: Progress| {
            let is_over = progress.waiting + progress.running == 0;
            if is_over || Instant::now() >= next {
                next = Instant::now() + TOLD;
                told.data_plane(report::report(&survey, &progress, None));
            }
        });
        let mut wave = Wave {
            client: &self.given.context.client,
            store,
            memory,
            settings,
            events: &self.events,
            metrics: &self.metrics,
            superseded: &superseded,
            progress: &progress,
        };
        let outcome = wave.run(plan).await?;
        self.done = Some(outcome.done);
        let now = Instant::now();
        let left = outcome.left.iter().filter(|(_, why)| *why != Hindrance::WaveHeld);
        self.refused.extend(
            left.map(|(finding, why)| (finding.uid.clone(), (finding.target.clone(), why.clone(), now))),
        );
        tracing::info!(
            done = outcome.done,
            failed = outcome.failed,
            left = outcome.left.len(),
            interrupted = outcome.interrupted,
            stopped = outcome.stopped,
            "restarts ended"
        );
        if outcome.stopped {
            memory.stop(&mesh.hash, Timestamp::now().as_second());
            store.save(memory).await?;
        }
        Ok(())
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

/// Ends when the resource changed in a way that matters here: its spec, its end, its annotations.
async fn changed(given: &DataPlane, resource: &Istio) {
    let mut changes = given.changes.clone();
    while changes.changed().await.is_ok() {
        let present =
            given.resources.state().into_iter().find(|present| present.metadata.uid == resource.metadata.uid);
        let same = present.is_some_and(|present| {
            present.metadata.generation == resource.metadata.generation
                && present.metadata.annotations == resource.metadata.annotations
                && present.metadata.deletion_timestamp == resource.metadata.deletion_timestamp
        });
        if !same {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Why a look did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Looking.
    #[error("cannot tell which sidecars are outdated")]
    Survey {
        /// What happened.
        #[from]
        source: survey::Error,
    },
    /// Remembering.
    #[error("cannot tell what was restarted before")]
    Memory {
        /// What happened.
        #[from]
        source: memory::Error,
    },
    /// Restarting Istio's own workloads.
    #[error("cannot bring Istio's own workloads up to date")]
    Components {
        /// What happened.
        #[from]
        source: components::Error,
    },
    /// Restarting.
    #[error("cannot restart workloads")]
    Wave {
        /// What happened.
        #[from]
        source: wave::Error,
    },
}
