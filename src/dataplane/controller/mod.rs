//! The controller of the data plane: looks when something changed or time has passed, restarts, reports, and looks again.
//!
//! It follows the installed resource, but shares nothing with its reconcile, so that neither waits for the other.

mod look;
mod restart;
mod tell;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::Store as Resources;
use tokio::sync::watch;
use tokio::time::Instant;

use self::look::settle;
use super::act::components;
use super::act::wave;
use super::decide::course::{self, SOON};
use super::decide::finding::Hindrance;
use super::decide::settings::Settings;
use super::look::mesh::Mesh;
use super::look::newcomers::Newcomers;
use super::look::triggers::{self, Triggers};
use super::memory::{self, Memory, Store};
use super::names::RELEASE_ANNOTATION;
use super::survey::judge::Proven;
use super::survey::{self, ControlPlane};
use super::tell::events::Announcer;
use super::tell::metrics::Metrics;
use super::tell::report;
use crate::api::Istio;
use crate::api::v1alpha2::DataPlaneStatus;
use crate::context::Context;
use crate::status::{self, Writer};
use crate::telemetry::one_line;

/// The next look after one of Istio's own workloads was restarted.
const COMPONENT: Duration = Duration::from_secs(3);
/// Changes come in groups.
const GROUP: Duration = Duration::from_secs(1);
/// istiod takes a new configuration in a moment after it was written. Asked before, it tells of the old one and has to be
/// asked again.
const TAKING_IN: Duration = Duration::from_secs(2);

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

/// What a look began with.
struct Ground {
    resource: Arc<Istio>,
    reporter: status::Progress,
    mesh: Mesh,
    settings: Settings,
    /// Changes of the mesh until then.
    changes: u64,
}

/// A mesh that is known.
struct Known {
    hash: String,
    /// When it was first seen.
    since: Instant,
    /// When the first restart was made for it, in seconds since the epoch.
    restarted: Option<i64>,
}

/// A restart that did not come about.
struct Missed {
    /// What it was for.
    target: String,
    why: Hindrance,
    since: Instant,
    pause: Duration,
}

/// What lasts from look to look. All of it can be lost.
struct Controller {
    given: DataPlane,
    triggers: Triggers,
    events: Announcer,
    metrics: Metrics,
    proven: Proven,
    /// The mesh that was not settled when it was seen.
    mesh: Option<Known>,
    /// Owners that were outdated at the last look, by hash.
    revisit: HashSet<u64>,
    /// Owners that are judged already, by hash; their pods make no look due.
    judged: HashSet<u64>,
    /// When pods without the label of injection were looked at last; `None` is due.
    unlabelled: Option<Instant>,
    /// Restarts that did not come about, by UID. They are not tried again at once.
    missed: HashMap<String, Missed>,
    /// Leftovers that were told, by UID, target and hindrance.
    told: Option<HashSet<String>>,
    newcomers: Newcomers,
    last: DataPlaneStatus,
    /// Restarts of the last wave, if there was one since the start.
    done: Option<usize>,
    /// Looks in a row that failed.
    failures: u32,
    /// What a look costs, as the time between two of them.
    cost: Duration,
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
            missed: HashMap::new(),
            told: None,
            last: DataPlaneStatus::default(),
            done: None,
            failures: 0,
            cost: Duration::ZERO,
        }
    }

    async fn work(mut self) {
        self.installed().await;
        // Changes at a start come in groups, too, and the status of the installation is to be told first.
        tokio::time::sleep(GROUP).await;
        loop {
            let resource = self.installed().await;
            let next = self.cycle(&resource).await;
            if next.is_zero() {
                continue;
            }
            let pause = self.cost;
            let (triggers, newcomers) = (&self.triggers, &mut self.newcomers);
            let mut installed = self.given.installed.clone();
            installed.mark_unchanged();
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = triggers.look.notified() => tokio::time::sleep(GROUP).await,
                _ = installed.changed() => {}
                () = changed(&self.given, &resource) => {}
                // Whoever creates pods all the time must not have all others looked at as often.
                () = newcomers.suspicious(&self.judged) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// The resource in charge, once it runs as described and istiod may know.
    async fn installed(&self) -> Arc<Istio> {
        loop {
            if let Some(resource) = self.current() {
                return resource;
            }
            self.runs().await;
            tokio::time::sleep(TAKING_IN).await;
        }
    }

    /// Waits until a resource runs as described.
    async fn runs(&self) {
        let mut changes = self.given.changes.clone();
        let mut installed = self.given.installed.clone();
        while self.current().is_none() {
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
            Ok(next) => {
                self.failures = 0;
                next
            }
            Err(error) => {
                self.failures += 1;
                let text = one_line(&error);
                tracing::error!(error = text, "cannot bring the data plane up to date");
                // Somebody else's restarts are no failure; they show at the next look.
                let is_theirs = match &error {
                    Error::Memory { source } | Error::Wave { source: wave::Error::Memory { source } } => {
                        matches!(source, memory::Error::Conflict)
                    }
                    Error::Survey { .. } | Error::Components { .. } => false,
                };
                if !is_theirs {
                    reporter.data_plane(report::failure(text, self.last.clone()));
                }
                course::after_failure(self.failures)
            }
        }
    }

    async fn try_cycle(
        &mut self,
        resource: &Arc<Istio>,
        reporter: &status::Progress,
    ) -> Result<Duration, Error> {
        // Before the mesh is read: what changes meanwhile puts the wave out of date.
        let changes = *self.triggers.mesh.borrow();
        let client = self.given.context.client.clone();
        let mesh = match survey::control_plane(&client).await? {
            ControlPlane::Serves(mesh) => *mesh,
            ControlPlane::NotReady(why) => {
                tracing::debug!(why, "the data plane waits for the control plane");
                return Ok(SOON);
            }
        };
        let report_only = self.given.context.settings.report_restarts_only;
        let settings = Settings::of(resource.spec.restarter.as_ref(), report_only);
        let ground =
            Ground { resource: resource.clone(), reporter: reporter.clone(), mesh, settings, changes };
        let mut store = Store::new(client.clone(), &self.given.context.operator_namespace);
        let mut memory = store.load().await?;
        if ground.settings.enabled
            && let Some(component) =
                components::restart_one(&client, &ground.mesh, &mut store, &mut memory).await?
        {
            tracing::debug!(%component, "the data plane waits for its rollout");
            return Ok(COMPONENT);
        }
        self.look_and_act(&ground, &mut store, &mut memory).await
    }

    async fn look_and_act(
        &mut self,
        ground: &Ground,
        store: &mut Store,
        memory: &mut Memory,
    ) -> Result<Duration, Error> {
        let mesh = &ground.mesh;
        let before = memory.clone();
        let taken_in = self.taken_in(mesh, memory);
        // At the same time as that: a look that takes long must not take a mesh for older than it was judged to be.
        let known = self.mesh.as_ref().filter(|known| known.hash == mesh.hash);
        let age = known.map(|known| known.since.elapsed());
        let mut survey = self.survey(ground, memory, taken_in).await?;
        self.newcomers.follow(mesh, std::mem::take(&mut survey.found.version));
        self.revisit.clone_from(&survey.found.stale);
        self.cost = course::cost(&survey);
        self.judged = &survey.found.stale | &survey.found.suspects;
        self.leave_missed(&mut survey);
        let annotations = ground.resource.metadata.annotations.as_ref();
        let released = annotations.and_then(|all| all.get(RELEASE_ANNOTATION)).map(String::as_str);
        let held = course::hold(&mut survey, memory, &ground.settings, &mesh.hash, released);
        self.metrics.serves(mesh.version().unwrap_or_default());
        self.metrics.found(survey.found.total, &survey.decisions, survey.found.more);
        self.metrics.window(survey.found.window_open);
        self.announce(ground, &survey, memory.settled.as_deref() == Some(&mesh.hash)).await;
        let plan = course::plan(&survey);
        if !plan.is_empty() {
            // Waves are rare, and what one needs is not to be kept ready for it.
            Box::pin(self.restart(ground, (store, memory), survey, plan, held)).await?;
            return Ok(Duration::ZERO);
        }
        settle(mesh, taken_in, (store, memory, &before), &survey).await?;
        self.tell(ground, &survey, held.as_deref());
        tracing::info!(
            total = survey.found.total,
            outdated = survey.decisions.len() + survey.found.more,
            unknown = survey.found.unproven.len() + survey.found.more_unproven,
            skipped = survey.found.skipped,
            "looked at the data plane"
        );
        Ok(course::next_look(&survey, age, Timestamp::now().as_second()))
    }
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
