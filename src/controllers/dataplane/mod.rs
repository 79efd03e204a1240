//! The controller of the data plane: looks when something changed or time has passed, restarts, reports, and looks again.
//!
//! It follows the installed resource, but shares nothing with its reconcile, so that neither waits for the other.

mod cycle;
mod reporting;
mod restart;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::Store as Resources;
use tokio::sync::watch;
use tokio::time::Instant;

use self::cycle::save_convergence;
use crate::api::Istio;
use crate::api::v1alpha2::DataPlaneStatus;
use crate::context::Context;
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::discovery::pod_watcher::PodWatcher;
use crate::dataplane::discovery::triggers::{self, Triggers};
use crate::dataplane::names::APPROVE_RESTARTS_ANNOTATION;
use crate::dataplane::report::events::WorkloadEventRecorder;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::report::summary;
use crate::dataplane::restart::component_restarts;
use crate::dataplane::restart::wave;
use crate::dataplane::restart_ledger::{self, LedgerStore, RestartLedger};
use crate::dataplane::scan::evaluator::UpToDateCache;
use crate::dataplane::scan::{self, ControlPlaneState};
use crate::dataplane::schedule::plan::{self, RETRY_INTERVAL};
use crate::dataplane::schedule::settings::RestartSettings;
use crate::dataplane::schedule::stale_workload::BlockReason;
use crate::status::{self, StatusWriter};
use crate::telemetry::format_error_chain;
use crate::validate::ValidatedRestarter;

/// The next look after one of Istio's own workloads was restarted.
const COMPONENT_POLL_INTERVAL: Duration = Duration::from_secs(3);
/// Changes come in groups.
const DEBOUNCE_INTERVAL: Duration = Duration::from_secs(1);
/// istiod takes a new configuration in a moment after it was written. Asked before, it tells of the old one and has to be
/// asked again.
const CONFIG_RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A generation of a resource that runs as described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledGeneration {
    uid: Option<String>,
    generation: Option<i64>,
}

impl InstalledGeneration {
    /// The present generation of a resource.
    #[must_use]
    pub fn from_resource(resource: &Istio) -> Self {
        Self { uid: resource.metadata.uid.clone(), generation: resource.metadata.generation }
    }
}

/// What the controller is given.
pub struct DataPlaneInputs {
    /// The frame of the process.
    pub context: Context,
    /// Writes the status.
    pub writer: StatusWriter,
    /// The resources, as they are watched.
    pub resources: Resources<Istio>,
    /// Told of each change of a resource.
    pub changes: watch::Receiver<()>,
    /// The generation that runs as described.
    pub installed: watch::Receiver<Option<InstalledGeneration>>,
}

/// Runs until the shutdown. Ends nothing else when it ends.
pub async fn run(data_plane: DataPlaneInputs) {
    let shutdown = data_plane.context.shutdown.clone();
    let (triggers, watches) = triggers::start(&data_plane.context.client);
    let controller = DataPlaneController::new(data_plane, triggers);
    tokio::select! {
        () = controller.run_loop() => {}
        () = watches => {}
        () = shutdown.cancelled() => {}
    }
}

/// What a look began with.
struct CycleContext {
    resource: Arc<Istio>,
    reporter: status::Progress,
    mesh: Mesh,
    settings: RestartSettings,
    /// Changes of the mesh until then.
    mesh_changes: u64,
}

/// A mesh that is known.
struct CachedMesh {
    hash: String,
    /// When it was first seen.
    first_seen: Instant,
    /// When the first restart was made for it, in seconds since the epoch.
    first_restart: Option<i64>,
}

/// A restart that did not come about.
struct FailedRestart {
    /// What it was for.
    target: String,
    reason: BlockReason,
    failed_at: Instant,
    retry_after: Duration,
}

/// What lasts from look to look. All of it can be lost.
struct DataPlaneController {
    inputs: DataPlaneInputs,
    triggers: Triggers,
    events: WorkloadEventRecorder,
    metrics: DataPlaneMetrics,
    up_to_date: UpToDateCache,
    /// The mesh that was not settled when it was seen.
    cached_mesh: Option<CachedMesh>,
    /// Owners that were outdated at the last look, by hash.
    stale_owners: HashSet<u64>,
    /// Owners that are judged already, by hash; their pods make no look due.
    evaluated_owners: HashSet<u64>,
    /// When pods without the label of injection were looked at last; `None` is due.
    unlabelled_scanned_at: Option<Instant>,
    /// Restarts that did not come about, by UID. They are not tried again at once.
    failed_restarts: HashMap<String, FailedRestart>,
    /// Leftovers that were told, by UID, target and hindrance.
    reported: Option<HashSet<String>>,
    pod_watcher: PodWatcher,
    last_status: DataPlaneStatus,
    /// Restarts of the last wave, if there was one since the start.
    last_wave_done: Option<usize>,
    /// Looks in a row that failed.
    failures: u32,
    /// What a look costs, as the time between two of them.
    scan_cost: Duration,
}

impl DataPlaneController {
    fn new(inputs: DataPlaneInputs, triggers: Triggers) -> Self {
        let client = inputs.context.client.clone();
        Self {
            events: WorkloadEventRecorder::new(client.clone(), inputs.context.identity.clone()),
            metrics: DataPlaneMetrics::register(&inputs.context.metrics),
            pod_watcher: PodWatcher::new(client),
            inputs,
            triggers,
            up_to_date: UpToDateCache::default(),
            cached_mesh: None,
            stale_owners: HashSet::new(),
            evaluated_owners: HashSet::new(),
            unlabelled_scanned_at: None,
            failed_restarts: HashMap::new(),
            reported: None,
            last_status: DataPlaneStatus::default(),
            last_wave_done: None,
            failures: 0,
            scan_cost: Duration::ZERO,
        }
    }

    async fn run_loop(mut self) {
        self.wait_for_resource().await;
        // Changes at a start come in groups, too, and the status of the installation is to be told first.
        tokio::time::sleep(DEBOUNCE_INTERVAL).await;
        loop {
            let resource = self.wait_for_resource().await;
            let next = self.run_cycle(&resource).await;
            if next.is_zero() {
                continue;
            }
            let pause = self.scan_cost;
            let (triggers, pod_watcher) = (&self.triggers, &mut self.pod_watcher);
            let mut installed = self.inputs.installed.clone();
            installed.mark_unchanged();
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = triggers.scan.notified() => tokio::time::sleep(DEBOUNCE_INTERVAL).await,
                _ = installed.changed() => {}
                () = resource_changed(&self.inputs, &resource) => {}
                // Whoever creates pods all the time must not have all others looked at as often.
                () = pod_watcher.wait_for_candidate(&self.evaluated_owners) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// The resource in charge, once it runs as described and istiod may know.
    async fn wait_for_resource(&self) -> Arc<Istio> {
        loop {
            if let Some(resource) = self.installed_resource() {
                return resource;
            }
            self.wait_until_installed().await;
            tokio::time::sleep(CONFIG_RELOAD_INTERVAL).await;
        }
    }

    /// Waits until a resource runs as described.
    async fn wait_until_installed(&self) {
        let mut changes = self.inputs.changes.clone();
        let mut installed = self.inputs.installed.clone();
        while self.installed_resource().is_none() {
            let ended = tokio::select! {
                change = changes.changed() => change.is_err(),
                change = installed.changed() => change.is_err(),
            };
            if ended {
                std::future::pending::<()>().await;
            }
        }
    }

    fn installed_resource(&self) -> Option<Arc<Istio>> {
        let installed = self.inputs.installed.borrow().clone()?;
        let is_installed = |resource: &Arc<Istio>| {
            InstalledGeneration::from_resource(resource) == installed
                && resource.metadata.deletion_timestamp.is_none()
        };
        self.inputs.resources.state().into_iter().find(is_installed)
    }

    /// One look with what follows from it; returns when to look again.
    async fn run_cycle(&mut self, resource: &Arc<Istio>) -> Duration {
        let reporter = self.inputs.writer.report_on(resource);
        match self.try_run_cycle(resource, &reporter).await {
            Ok(next) => {
                self.failures = 0;
                next
            }
            Err(error) => {
                self.failures += 1;
                let text = format_error_chain(&error);
                tracing::error!(error = text, "cannot bring the data plane up to date");
                // Somebody else's restarts are no failure; they show at the next look.
                let is_conflict = match &error {
                    Error::Ledger { source } | Error::Wave { source: wave::Error::Ledger { source } } => {
                        matches!(source, restart_ledger::Error::Conflict)
                    }
                    Error::Scan { .. } | Error::Components { .. } => false,
                };
                if !is_conflict {
                    reporter.report_data_plane(summary::failure_report(text, self.last_status.clone()));
                }
                plan::retry_delay(self.failures)
            }
        }
    }

    async fn try_run_cycle(
        &mut self,
        resource: &Arc<Istio>,
        reporter: &status::Progress,
    ) -> Result<Duration, Error> {
        // Before the mesh is read: what changes meanwhile puts the wave out of date.
        let changes = *self.triggers.mesh_changes.borrow();
        let client = self.inputs.context.client.clone();
        let mesh = match scan::read_control_plane(&client).await? {
            ControlPlaneState::Ready(mesh) => *mesh,
            ControlPlaneState::NotReady(why) => {
                tracing::debug!(why, "the data plane waits for the control plane");
                return Ok(RETRY_INTERVAL);
            }
        };
        let report_only = self.inputs.context.settings.report_restarts_only;
        // The control plane has validated this generation, otherwise it would not be installed.
        let restarter = ValidatedRestarter::clamped(resource.spec.restarter.as_ref());
        let settings = RestartSettings::new(restarter, report_only);
        let context = CycleContext {
            resource: resource.clone(),
            reporter: reporter.clone(),
            mesh,
            settings,
            mesh_changes: changes,
        };
        let mut store = LedgerStore::new(client.clone(), &self.inputs.context.operator_namespace);
        let mut ledger = store.load().await?;
        if context.settings.enabled
            && let Some(component) =
                component_restarts::restart_one(&client, &context.mesh, &mut store, &mut ledger).await?
        {
            tracing::debug!(%component, "the data plane waits for its rollout");
            return Ok(COMPONENT_POLL_INTERVAL);
        }
        self.scan_and_restart(&context, &mut store, &mut ledger).await
    }

    async fn scan_and_restart(
        &mut self,
        context: &CycleContext,
        store: &mut LedgerStore,
        ledger: &mut RestartLedger,
    ) -> Result<Duration, Error> {
        let mesh = &context.mesh;
        let before = ledger.clone();
        let config_propagated = self.has_config_propagated(mesh, ledger);
        // At the same time as that: a look that takes long must not take a mesh for older than it was judged to be.
        let cached = self.cached_mesh.as_ref().filter(|known| known.hash == mesh.hash);
        let age = cached.map(|known| known.first_seen.elapsed());
        let mut assessment = self.scan(context, ledger, config_propagated).await?;
        self.pod_watcher.watch_from(mesh, std::mem::take(&mut assessment.scan.resource_version));
        self.stale_owners.clone_from(&assessment.scan.stale_owners);
        self.scan_cost = plan::scan_cost(&assessment);
        self.evaluated_owners = &assessment.scan.stale_owners | &assessment.scan.candidate_owners;
        self.block_failed_restarts(&mut assessment);
        let annotations = context.resource.metadata.annotations.as_ref();
        let approved = annotations.and_then(|all| all.get(APPROVE_RESTARTS_ANNOTATION)).map(String::as_str);
        let suspended =
            plan::suspend_restarts(&mut assessment, ledger, &context.settings, &mesh.hash, approved);
        self.metrics.set_istio_version(mesh.version().unwrap_or_default());
        self.metrics.record_scan(assessment.scan.total, &assessment.decisions, assessment.scan.more_stale);
        self.metrics.set_window_open(assessment.scan.window_open);
        self.report_events(context, &assessment, ledger.converged_mesh.as_deref() == Some(&mesh.hash)).await;
        let plan = plan::plan_restarts(&assessment);
        if !plan.is_empty() {
            // Waves are rare, and what one needs is not to be kept ready for it.
            Box::pin(self.restart_workloads(context, (store, ledger), assessment, plan, suspended)).await?;
            return Ok(Duration::ZERO);
        }
        save_convergence(mesh, config_propagated, (store, ledger, &before), &assessment).await?;
        self.report_status(context, &assessment, suspended.as_deref());
        tracing::info!(
            total = assessment.scan.total,
            outdated = assessment.decisions.len() + assessment.scan.more_stale,
            unknown = assessment.scan.unknown.len() + assessment.scan.more_unknown,
            skipped = assessment.scan.skipped_pods,
            "looked at the data plane"
        );
        Ok(plan::next_scan_delay(&assessment, age, Timestamp::now().as_second()))
    }
}

/// Ends when the resource changed in a way that matters here: its spec, its end, its annotations.
async fn resource_changed(inputs: &DataPlaneInputs, resource: &Istio) {
    let mut changes = inputs.changes.clone();
    while changes.changed().await.is_ok() {
        let present = inputs
            .resources
            .state()
            .into_iter()
            .find(|present| present.metadata.uid == resource.metadata.uid);
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
    Scan {
        /// What happened.
        #[from]
        source: scan::Error,
    },
    /// Remembering.
    #[error("cannot tell what was restarted before")]
    Ledger {
        /// What happened.
        #[from]
        source: restart_ledger::Error,
    },
    /// Restarting Istio's own workloads.
    #[error("cannot bring Istio's own workloads up to date")]
    Components {
        /// What happened.
        #[from]
        source: component_restarts::Error,
    },
    /// Restarting.
    #[error("cannot restart workloads")]
    Wave {
        /// What happened.
        #[from]
        source: wave::Error,
    },
}
