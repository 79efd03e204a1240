//! The controller of the `Istio` resource: watches, starts and interrupts reconciles, and schedules the next one.
//!
//! Start reading at `reconcile`. What a reconcile does is decided there and in the modules that it calls.

mod advisories;
mod backoff;
mod cluster_state;
mod metadata;
mod outcome;
mod planner;
mod rate_limiter;
mod reconcile;
mod rendering;
mod uninstall;

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use istio_charts::Bundle;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use thiserror::Error;
use tokio::sync::watch;

use self::backoff::BackOff;
use self::outcome::{ReconcileOutcome, Requeue};
use self::planner::Planner;
use self::rate_limiter::RateLimiter;
use self::reconcile::IstioResources;
use self::rendering::Renderer;
use crate::api::conditions::{Reason, State};
use crate::api::{Istio, names};
use crate::apply::{self, RevertMetrics};
use crate::context::Context;
use crate::controllers::dataplane::{DataPlaneInputs, InstalledGeneration};
use crate::drift::pause::PAUSE_ANNOTATION;
use crate::drift::watcher::DriftWatcher;
use crate::gather::cluster::ClusterWatch;
use crate::gather::remembered_facts;
use crate::inventory;
use crate::kubernetes::streaming_watcher;
use crate::plan::configuration::Images;
use crate::server::{ReconcileMetrics, ReconcileResult, ResourceMetrics};
use crate::status::{ConditionUpdate, ControlPlaneReport, Progress, StatusWriter};
use crate::telemetry::format_error_chain;
use crate::uninstall::DELETION_POLICY_ANNOTATION;

/// Reconciles that run at the same time.
///
/// Only one resource is active. The others are rejected, which must not wait for the installation.
const CONCURRENCY: u16 = 4;

/// Why the controllers could not start.
#[derive(Debug, Error)]
pub enum Error {
    /// The charts.
    #[error("failed to load the Istio charts")]
    Charts {
        /// Cause.
        #[from]
        source: istio_charts::BundleError,
    },
    /// The variables that name images.
    #[error("invalid image in an environment variable")]
    Images {
        /// Cause.
        #[from]
        source: crate::plan::configuration::ImagesError,
    },
}

/// The state that all reconciles share. Steps of a reconcile get the parts that they need.
pub(crate) struct Operator {
    context: Context,
    planner: Planner,
    writer: StatusWriter,
    /// The generation that is installed, for the controller of the data plane.
    installed: watch::Sender<Option<InstalledGeneration>>,
    resources: Store<Istio>,
    changes: watch::Receiver<()>,
    back_off: BackOff,
    rate_limiter: RateLimiter,
    drift: DriftWatcher,
    apply_state: apply::ApplyState,
    cluster: ClusterWatch,
    remembered_facts: remembered_facts::RememberedFactsStore,
    gauges: ResourceMetrics,
    reconciles: ReconcileMetrics,
}

/// The watches that reconciles read from and publish to.
struct ControllerInputs {
    installed: watch::Sender<Option<InstalledGeneration>>,
    resources: Store<Istio>,
    changes: watch::Receiver<()>,
    drift: DriftWatcher,
    cluster: ClusterWatch,
}

/// Runs the controllers until `context.shutdown` is cancelled.
///
/// Charts and images are checked before the process waits for leadership, so that a misconfigured replica fails immediately.
pub async fn run(context: Context) -> Result<(), Error> {
    let settings = &context.settings;
    let bundle = Bundle::select(settings.charts_dir.as_deref(), settings.istio_version.as_deref())?;
    let images = Images::from_environment(|name| std::env::var(name).ok(), bundle.version())?;
    tracing::info!(istio = bundle.version(), hub = %images, "ready to install");
    if !context.wait_for_leadership().await {
        return Ok(());
    }
    let writer = StatusWriter::start(context.client.clone(), context.identity.clone());
    run_controllers(context, bundle, images, writer).await;
    Ok(())
}

async fn run_controllers(context: Context, bundle: Bundle, images: Images, writer: StatusWriter) {
    let (resources, store_writer) = reflector::store();
    let (notify_change, changes) = watch::channel(());
    let (notify_deletion, deletions) = watch::channel(());
    let events = resource_events(&context.client, store_writer, notify_change, notify_deletion);
    let (drift, signals) = DriftWatcher::start(context.client.clone());
    let cluster = ClusterWatch::start(context.client.clone(), &context.operator_namespace);
    let (installed, installations) = watch::channel(None);
    let data_plane = crate::controllers::dataplane::run(DataPlaneInputs {
        context: context.clone(),
        writer: writer.clone(),
        resources: resources.clone(),
        changes: changes.clone(),
        installed: installations,
    });
    let shutdown = context.shutdown.clone();
    let woken_by = [deletions, signals.drifted, signals.health, cluster.changes()];
    let inputs = ControllerInputs { installed, resources: resources.clone(), changes, drift, cluster };
    let operator = Operator::new(context, bundle, images, writer, inputs);
    let control_plane = Controller::for_stream(events, resources)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(stream::select_all(woken_by.map(|changes| each_change(changes).boxed())))
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(
            |resource, operator| async move { run_once(&operator, &resource).await },
            never_fails,
            Arc::new(operator),
        )
        .for_each(|_| std::future::ready(()));
    // Both end with the shutdown.
    futures::future::join(control_plane, data_plane).await;
}

/// The resources whose changes need a reconcile. All resources are kept in a store, and every event is announced. So is every
/// deletion: when the active resource is deleted, the next-oldest one becomes active.
fn resource_events(
    client: &Client,
    store: reflector::store::Writer<Istio>,
    notify_change: watch::Sender<()>,
    notify_deletion: watch::Sender<()>,
) -> impl Stream<Item = Result<Istio, watcher::Error>> + Send + 'static {
    streaming_watcher(Api::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(store)
        .inspect(move |event| {
            notify_change.send_replace(());
            if matches!(event, Ok(watcher::Event::Delete(_))) {
                notify_deletion.send_replace(());
            }
        })
        .applied_objects()
        .predicate_filter(reconcile_hash, kube::runtime::PredicateConfig::default())
}

fn each_change(receiver: watch::Receiver<()>) -> impl Stream<Item = ()> + Send {
    stream::unfold(
        receiver,
        |mut receiver| async move { receiver.changed().await.ok().map(|()| ((), receiver)) },
    )
}

/// A hash of what starts a reconcile when it changes: the generation, and annotations that control the reconcile.
#[expect(clippy::unnecessary_wraps, reason = "the signature is the predicate's")]
fn reconcile_hash(resource: &Istio) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    resource.metadata.generation.hash(&mut hasher);
    for annotation in [PAUSE_ANNOTATION, DELETION_POLICY_ANNOTATION, names::ALLOW_DOWNGRADE_ANNOTATION] {
        resource.annotations().get(annotation).hash(&mut hasher);
    }
    Some(hasher.finish())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is the controller's")]
fn never_fails(_: Arc<Istio>, error: &Infallible, _: Arc<Operator>) -> Action {
    match *error {}
}

/// Reconciles once, reports, and schedules the next reconcile.
async fn run_once(operator: &Operator, resource: &Istio) -> Result<Action, Infallible> {
    let running = operator.reconciles.begin();
    let (action, end) = reconcile_and_report(operator, resource).await;
    running.finish(end);
    Ok(action)
}

async fn reconcile_and_report(operator: &Operator, resource: &Istio) -> (Action, ReconcileResult) {
    let progress = operator.writer.report_on(resource);
    let result = tokio::select! {
        result = reconcile_when_allowed(operator, resource, &progress) => result,
        // The queue has the newer state: an edit must not wait for the installation that it replaces.
        () = operator.wait_until_superseded(resource) => return (Action::await_change(), ReconcileResult::Requeue),
        () = operator.context.shutdown.cancelled() => return (Action::await_change(), ReconcileResult::Requeue),
    };
    match result {
        Ok(outcome) => (operator.finish(resource, &outcome, &progress), ReconcileResult::Success),
        Err(error) => (operator.fail(resource, &error, &progress), ReconcileResult::Error),
    }
}

/// Reconciles within the rate limit.
async fn reconcile_when_allowed(
    operator: &Operator,
    resource: &Istio,
    progress: &Progress,
) -> Result<ReconcileOutcome, reconcile::Error> {
    operator.rate_limiter.acquire().await;
    reconcile::reconcile(operator, resource, progress).await
}

impl Operator {
    fn new(
        context: Context,
        bundle: Bundle,
        images: Images,
        writer: StatusWriter,
        inputs: ControllerInputs,
    ) -> Self {
        let ControllerInputs { installed, resources, changes, drift, cluster } = inputs;
        let settings = &context.settings;
        Self {
            back_off: BackOff::new(settings.failure_base_delay, settings.failure_max_delay),
            rate_limiter: RateLimiter::new(settings.rate_limiter_frequency, settings.rate_limiter_burst),
            apply_state: apply::ApplyState {
                revert_metrics: RevertMetrics::new(&context.metrics),
                ..apply::ApplyState::default()
            },
            remembered_facts: remembered_facts::RememberedFactsStore::new(
                context.client.clone(),
                &context.operator_namespace,
            ),
            gauges: ResourceMetrics::register(&context.metrics),
            reconciles: ReconcileMetrics::register(&context.metrics, CONCURRENCY),
            planner: Planner {
                bundle,
                images,
                settings: settings.clone(),
                account: context.account.clone(),
                renderer: Renderer::default(),
            },
            context,
            writer,
            installed,
            resources,
            changes,
            drift,
            cluster,
        }
    }

    fn inventory(&self) -> inventory::InventoryStore {
        inventory::InventoryStore::new(self.context.client.clone(), &self.context.operator_namespace)
    }

    fn resources(&self) -> IstioResources {
        self.resources.state()
    }

    /// Ends when the resource has changed since the reconcile began.
    async fn wait_until_superseded(&self, resource: &Istio) {
        let mut changes = self.changes.clone();
        let reference = ObjectRef::from_obj(resource);
        while changes.changed().await.is_ok() {
            let current = self.resources.get(&reference);
            if current.is_none_or(|current| reconcile_hash(&current) != reconcile_hash(resource)) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    fn finish(&self, resource: &Istio, outcome: &ReconcileOutcome, progress: &Progress) -> Action {
        tracing::info!(resource = %ObjectRef::from_obj(resource), %outcome, "reconciled");
        if let Some(control_plane) = outcome.control_plane_report() {
            progress.finish(control_plane);
        }
        let uid = resource.metadata.uid.as_deref().unwrap_or_default();
        if outcome.requeue() != Requeue::BackOff {
            self.back_off.reset(uid);
        }
        match outcome.requeue() {
            Requeue::Interval => Action::requeue(self.context.settings.reconciliation_interval),
            Requeue::After(delay) => Action::requeue(delay),
            Requeue::OnChange => Action::await_change(),
            Requeue::BackOff => Action::requeue(self.next_backoff_delay(uid)),
        }
    }

    /// Tells the controller of the data plane which generation is installed. The same generation starts no scan.
    fn notify_data_plane(&self, resource: &Istio) {
        let now = Some(InstalledGeneration::from_resource(resource));
        self.installed.send_if_modified(|current| std::mem::replace(current, now.clone()) != now);
    }

    /// The delay after one more failure.
    fn next_backoff_delay(&self, uid: &str) -> Duration {
        self.reconciles.retry();
        self.back_off.record_failure(uid)
    }

    fn fail(&self, resource: &Istio, error: &reconcile::Error, progress: &Progress) -> Action {
        let delay = self.next_backoff_delay(resource.metadata.uid.as_deref().unwrap_or_default());
        let text = format_error_chain(error);
        let resource = ObjectRef::from_obj(resource);
        tracing::error!(%resource, error = text, retry_in = ?delay, "reconcile failed");
        let condition = ConditionUpdate { reason: reason_of(error), message: Some(text.clone()) };
        progress.finish(ControlPlaneReport {
            state: State::Error,
            description: text,
            conditions: vec![condition],
        });
        Action::requeue(delay)
    }
}

fn reason_of(error: &reconcile::Error) -> Reason {
    match error {
        reconcile::Error::Gather(_)
        | reconcile::Error::Plan(planner::Error::Rendering(_))
        | reconcile::Error::RememberFacts(_)
        | reconcile::Error::Metadata(_) => Reason::ReconcileFailed,
        reconcile::Error::Plan(planner::Error::Plan(_)) => Reason::IstioCustomResourceMisconfigured,
        reconcile::Error::Apply { .. } | reconcile::Error::Uninstall(_) => {
            Reason::IstioInstallUninstallFailed
        }
    }
}
