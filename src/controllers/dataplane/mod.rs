//! The controller of the data plane: scans when something changed or time has passed, restarts workloads, reports, and repeats.
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

use crate::api::Istio;
use crate::api::v1alpha2::DataPlaneStatus;
use crate::context::Context;
use crate::dataplane::clock::current_second;
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::discovery::pod_watcher::PodWatcher;
use crate::dataplane::discovery::triggers::{self, Triggers};
use crate::dataplane::model::{MeshRevision, RestartTarget, WorkloadUid};
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
use crate::dataplane::schedule::stale_workload::BlockReason;
use crate::status::{self, StatusWriter};
use crate::telemetry::format_error_chain;
use crate::validate::ValidatedRestarter;

/// The time to the next check after one of Istio's own workloads was restarted.
const COMPONENT_POLL_INTERVAL: Duration = Duration::from_secs(3);
/// The time in which further changes are combined with the first one.
const DEBOUNCE_INTERVAL: Duration = Duration::from_secs(1);
/// The time that istiod usually needs to reload its configuration. An earlier dry run would show the old one and have to be
/// repeated.
const CONFIG_RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A generation of an `Istio` resource that is installed.
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

/// The inputs of the controller.
pub struct DataPlaneInputs {
    /// The app context.
    pub context: Context,
    /// Writes the status.
    pub writer: StatusWriter,
    /// The watched resources.
    pub resources: Resources<Istio>,
    /// Notified of each change of a resource.
    pub changes: watch::Receiver<()>,
    /// The generation that is installed.
    pub installed: watch::Receiver<Option<InstalledGeneration>>,
}

/// Runs until the shutdown.
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

/// What one cycle started with.
struct CycleContext {
    resource: Arc<Istio>,
    reporter: status::Progress,
    mesh: Mesh,
    settings: ValidatedRestarter,
    /// Number of changes of the mesh until then.
    mesh_changes: u64,
}

/// The mesh that was observed last, with times.
struct CachedMesh {
    revision: MeshRevision,
    /// When it was first observed.
    first_seen: Instant,
    /// When the first restart for it was made.
    first_restart: Option<Timestamp>,
}

/// A restart that failed to start or to complete.
struct FailedRestart {
    /// What it was for.
    target: RestartTarget,
    reason: BlockReason,
    failed_at: Instant,
    retry_after: Duration,
}

/// The state between cycles. All of it may be lost.
struct DataPlaneController {
    inputs: DataPlaneInputs,
    triggers: Triggers,
    events: WorkloadEventRecorder,
    metrics: DataPlaneMetrics,
    up_to_date: UpToDateCache,
    /// The present mesh, unless it was fully scanned when it was first observed.
    cached_mesh: Option<CachedMesh>,
    /// Owners that were outdated at the last scan, by hash.
    stale_owners: HashSet<u64>,
    /// Owners that are evaluated already, by hash; their pods trigger no scan.
    evaluated_owners: HashSet<u64>,
    /// When pods without the injection label were scanned last; `None` if that is due.
    unlabelled_scanned_at: Option<Instant>,
    /// Failed restarts. They are retried after a delay.
    failed_restarts: HashMap<WorkloadUid, FailedRestart>,
    /// Blocked workloads with an Event, by UID, target and block reason.
    reported: Option<HashSet<String>>,
    pod_watcher: PodWatcher,
    last_status: DataPlaneStatus,
    /// Restarts of the last wave, if there was one since the start of the process.
    last_wave_done: Option<usize>,
    /// Failed cycles in a row.
    failures: u32,
    /// The shortest time between two scans that pods trigger.
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
        // Changes at the start are combined, too, and the status of the installation is reported first.
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
                // A tenant who keeps creating pods must not trigger scans continuously.
                () = pod_watcher.wait_for_candidate(&self.evaluated_owners) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// The active resource, once it is installed and istiod has had time to reload.
    async fn wait_for_resource(&self) -> Arc<Istio> {
        loop {
            if let Some(resource) = self.installed_resource() {
                return resource;
            }
            self.wait_until_installed().await;
            tokio::time::sleep(CONFIG_RELOAD_INTERVAL).await;
        }
    }

    /// Waits until a resource is installed.
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

    /// One scan with what follows from it. Returns the time to the next cycle.
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
                tracing::error!(error = text, "failed to update the data plane");
                // Restarts by another process are not a failure; the next scan shows them.
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
        // Before the mesh is read, so that a change meanwhile supersedes the wave.
        let changes = *self.triggers.mesh_changes.borrow();
        let client = self.inputs.context.client.clone();
        let mesh = match scan::read_control_plane(&client).await? {
            ControlPlaneState::Ready(mesh) => *mesh,
            ControlPlaneState::NotReady(why) => {
                tracing::debug!(why, "waiting for the control plane before the data plane is scanned");
                return Ok(RETRY_INTERVAL);
            }
        };
        let report_only = self.inputs.context.settings.report_restarts_only;
        // The control plane has validated this generation, otherwise it would not be installed.
        let restarter = ValidatedRestarter::clamped(resource.spec.restarter.as_ref());
        let settings = restarter.with_report_only(report_only);
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
            tracing::debug!(%component, "waiting for the rollout of an Istio component");
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
        // Determined together with that: a long scan must not make the mesh seem older than it was.
        let cached = self.cached_mesh.as_ref().filter(|cached| cached.revision == mesh.revision);
        let age = cached.map(|cached| cached.first_seen.elapsed());
        let mut assessment = self.scan(context, ledger, config_propagated).await?;
        self.pod_watcher.watch_from(mesh, std::mem::take(&mut assessment.scan.resource_version));
        self.stale_owners.clone_from(&assessment.scan.stale_owners);
        self.scan_cost = plan::scan_cost(&assessment);
        self.evaluated_owners = &assessment.scan.stale_owners | &assessment.scan.candidate_owners;
        self.block_failed_restarts(&mut assessment);
        let annotations = context.resource.metadata.annotations.as_ref();
        let approved = annotations.and_then(|all| all.get(APPROVE_RESTARTS_ANNOTATION)).map(String::as_str);
        let suspended =
            plan::suspend_restarts(&mut assessment, ledger, &context.settings, &mesh.revision, approved);
        self.metrics.set_istio_version(mesh.version().unwrap_or_default());
        self.metrics.record_scan(assessment.scan.total, &assessment.decisions, assessment.scan.more_stale);
        self.metrics.set_window_open(assessment.scan.window_open);
        self.report_events(context, &assessment, ledger.converged_mesh.is_at(&mesh.revision)).await;
        let plan = plan::plan_restarts(&assessment);
        if !plan.is_empty() {
            // Boxed, because waves are rare and their state is large.
            Box::pin(self.restart_workloads(context, store, ledger, assessment, plan, suspended)).await?;
            return Ok(Duration::ZERO);
        }
        plan::record_convergence(ledger, &mesh.revision, config_propagated, &assessment);
        if *ledger != before {
            store.save(ledger).await?;
        }
        self.report_status(context, &assessment, suspended.as_deref());
        tracing::info!(
            total = assessment.scan.total,
            outdated = assessment.decisions.len() + assessment.scan.more_stale,
            unknown = assessment.scan.unknown.len() + assessment.scan.more_unknown,
            skipped = assessment.scan.skipped_pods,
            "scanned the data plane"
        );
        Ok(plan::next_scan_delay(&assessment, age, current_second()))
    }
}

/// Waits for a change of the resource that matters here: of its spec, its annotations, or its deletion.
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

/// Why a cycle failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scan failed.
    #[error("failed to determine which sidecars are outdated")]
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
    /// Istio's own workloads could not be restarted.
    #[error("failed to restart Istio's own workloads")]
    Components {
        /// The cause.
        #[from]
        source: component_restarts::Error,
    },
    /// The restart wave failed.
    #[error("failed to restart workloads")]
    Wave {
        /// The cause.
        #[from]
        source: wave::Error,
    },
}
