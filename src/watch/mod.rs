//! Where the operator's work begins: watches `Istio` resources and starts a reconcile for each change that matters.
//!
//! It starts, interrupts and repeats; what a reconcile does is decided in the modules after it.

mod backoff;
mod drift;
mod outcome;
mod reconcile;
mod remark;
mod rendering;

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
use self::drift::Drift;
use self::outcome::Next;
pub use self::outcome::Outcome;
use self::reconcile::Resources;
use self::rendering::Renderer;
use crate::api::conditions::{Reason, State};
use crate::api::{Istio, names};
use crate::apply::pause::PAUSE_ANNOTATION;
use crate::apply::{self, Repairs, inventory};
use crate::context::Context;
use crate::dataplane::{DataPlane, Installed};
use crate::kubernetes::streamed;
use crate::memory;
use crate::observe::cluster::ClusterWatch;
use crate::plan::configuration::Images;
use crate::probes::{End, Reconciles, ResourceGauges};
use crate::remove::DELETION_POLICY_ANNOTATION;
use crate::status::{Condition, Progress, Settled, Writer};
use crate::telemetry::one_line;

/// Reconciles that run at the same time.
///
/// Only one resource stands for the module; the others only get a verdict, and must not wait for its installation.
const CONCURRENCY: u16 = 4;

/// Why the controllers could not start.
#[derive(Debug, Error)]
pub enum Error {
    /// The charts to install are not there.
    #[error("cannot load Istio's charts")]
    Charts {
        /// What is missing.
        #[from]
        source: istio_charts::BundleError,
    },
    /// The environment names images that cannot be used.
    #[error("cannot use the images that the environment names")]
    Images {
        /// What is wrong with them.
        #[from]
        source: crate::plan::configuration::ImagesError,
    },
}

/// What all reconciles share.
pub(crate) struct Operator {
    context: Context,
    bundle: Bundle,
    images: Images,
    writer: Writer,
    /// Tells the data plane which generation of which resource runs as described.
    installed: watch::Sender<Option<Installed>>,
    resources: Store<Istio>,
    changes: watch::Receiver<()>,
    back_off: BackOff,
    drift: Drift,
    memory: apply::Memory,
    cluster: ClusterWatch,
    cluster_memory: memory::Store,
    gauges: ResourceGauges,
    reconciles: Reconciles,
    renderer: Renderer,
}

/// What is watched, as far as reconciles look at it or tell of it.
struct Watched {
    installed: watch::Sender<Option<Installed>>,
    resources: Store<Istio>,
    changes: watch::Receiver<()>,
    drift: Drift,
    cluster: ClusterWatch,
}

/// Runs the controllers until `context.shutdown` is cancelled.
///
/// Charts and images are checked before leadership is waited for, so that a replica which could not work says so at once.
pub async fn run(context: Context) -> Result<(), Error> {
    let settings = &context.settings;
    let bundle = Bundle::select(settings.charts_dir.as_deref(), settings.istio_version.as_deref())?;
    let images = Images::from_environment(|name| std::env::var(name).ok(), bundle.version())?;
    tracing::info!(istio = bundle.version(), hub = %images, "ready to install");
    if !leads(&context).await {
        return Ok(());
    }
    let writer = Writer::start(context.client.clone(), context.identity.clone());
    control(context, bundle, images, writer).await;
    Ok(())
}

/// Waits for leadership; false when the process is told to stop before.
async fn leads(context: &Context) -> bool {
    let mut leadership = context.leadership.clone();
    tokio::select! {
        led = leadership.wait_for(crate::leader::Leadership::is_leading) => led.is_ok(),
        () = context.shutdown.cancelled() => false,
    }
}

async fn control(context: Context, bundle: Bundle, images: Images, writer: Writer) {
    let (resources, store_writer) = reflector::store();
    let (announce_change, changes) = watch::channel(());
    let (announce_loss, losses) = watch::channel(());
    let events = orders(&context.client, store_writer, announce_change, announce_loss);
    let (drift, announced) = Drift::start(context.client.clone());
    let cluster = ClusterWatch::start(context.client.clone(), &context.operator_namespace);
    let (installed, installations) = watch::channel(None);
    let data_plane = crate::dataplane::run(DataPlane {
        context: context.clone(),
        writer: writer.clone(),
        resources: resources.clone(),
        changes: changes.clone(),
        installed: installations,
    });
    let shutdown = context.shutdown.clone();
    let woken_by = [losses, announced.drifted, announced.health, cluster.changes()];
    let watched = Watched { installed, resources: resources.clone(), changes, drift, cluster };
    let operator = Operator::new(context, bundle, images, writer, watched);
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
    // The data plane ends with the shutdown, too; neither waits for the other before.
    futures::future::join(control_plane, data_plane).await;
}

/// The resources, each time that something of one is to be followed. All of them are kept in a store, every event is
/// announced, and so is each that is gone: when the oldest resource goes, the next-oldest stands for the module.
fn orders(
    client: &Client,
    store: reflector::store::Writer<Istio>,
    announce_change: watch::Sender<()>,
    announce_loss: watch::Sender<()>,
) -> impl Stream<Item = Result<Istio, watcher::Error>> + Send + 'static {
    streamed(Api::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(store)
        .inspect(move |event| {
            announce_change.send_replace(());
            if matches!(event, Ok(watcher::Event::Delete(_))) {
                announce_loss.send_replace(());
            }
        })
        .applied_objects()
        .predicate_filter(order, kube::runtime::PredicateConfig::default())
}

fn each_change(receiver: watch::Receiver<()>) -> impl Stream<Item = ()> + Send {
    stream::unfold(
        receiver,
        |mut receiver| async move { receiver.changed().await.ok().map(|()| ((), receiver)) },
    )
}

/// What of a resource starts a reconcile when it changes: what is described, and the annotations that say how to follow it.
#[expect(clippy::unnecessary_wraps, reason = "the signature is the predicate's")]
fn order(resource: &Istio) -> Option<u64> {
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

/// Reconciles once, reports, and tells when to look again.
async fn run_once(operator: &Operator, resource: &Istio) -> Result<Action, Infallible> {
    let running = operator.reconciles.begin();
    let (action, end) = reconciled(operator, resource).await;
    running.end(end);
    Ok(action)
}

async fn reconciled(operator: &Operator, resource: &Istio) -> (Action, End) {
    let progress = operator.writer.report_on(resource);
    let result = tokio::select! {
        result = reconcile::reconcile(operator, resource, &progress) => result,
        // The queue holds the newer state already; an installation that waits must not keep an edit waiting.
        () = operator.superseded(resource) => return (Action::await_change(), End::Requeue),
        () = operator.context.shutdown.cancelled() => return (Action::await_change(), End::Requeue),
    };
    match result {
        Ok(outcome) => (operator.settle(resource, &outcome, &progress), End::Success),
        Err(error) => (operator.fail(resource, &error, &progress), End::Error),
    }
}

impl Operator {
    fn new(context: Context, bundle: Bundle, images: Images, writer: Writer, watched: Watched) -> Self {
        let Watched { installed, resources, changes, drift, cluster } = watched;
        let settings = &context.settings;
        Self {
            back_off: BackOff::new(settings.failure_base_delay, settings.failure_max_delay),
            memory: apply::Memory { repairs: Repairs::new(&context.metrics), ..apply::Memory::default() },
            cluster_memory: memory::Store::new(context.client.clone(), &context.operator_namespace),
            gauges: ResourceGauges::register(&context.metrics),
            reconciles: Reconciles::register(&context.metrics, CONCURRENCY),
            context,
            bundle,
            images,
            writer,
            installed,
            resources,
            changes,
            drift,
            cluster,
            renderer: Renderer::default(),
        }
    }

    fn inventory(&self) -> inventory::Store {
        inventory::Store::new(self.context.client.clone(), &self.context.operator_namespace)
    }

    fn resources(&self) -> Resources {
        self.resources.state()
    }

    /// Ends when the resource is not the one any more that the reconcile began with.
    async fn superseded(&self, resource: &Istio) {
        let mut changes = self.changes.clone();
        let reference = ObjectRef::from_obj(resource);
        while changes.changed().await.is_ok() {
            let current = self.resources.get(&reference);
            if current.is_none_or(|current| order(&current) != order(resource)) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    fn settle(&self, resource: &Istio, outcome: &Outcome, progress: &Progress) -> Action {
        tracing::info!(resource = resource.name_any(), %outcome, "reconciled");
        if let Some(settled) = outcome.settled() {
            progress.settle(settled);
        }
        let uid = resource.metadata.uid.as_deref().unwrap_or_default();
        if matches!(outcome, Outcome::Ready { .. }) {
            let now = Some(Installed::of(resource));
            // The data plane looks again when it is told; that nothing changed is no reason to.
            self.installed.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        }
        if outcome.next() != Next::BackOff {
            self.back_off.succeeded(uid);
        }
        match outcome.next() {
            Next::Interval => Action::requeue(self.context.settings.reconciliation_interval),
            Next::After(delay) => Action::requeue(delay),
            Next::OnChange => Action::await_change(),
            Next::BackOff => Action::requeue(self.put_off(uid)),
        }
    }

    /// How long to wait after one more failure.
    fn put_off(&self, uid: &str) -> Duration {
        self.reconciles.retry();
        self.back_off.failed(uid)
    }

    fn fail(&self, resource: &Istio, error: &reconcile::Error, progress: &Progress) -> Action {
        let delay = self.put_off(resource.metadata.uid.as_deref().unwrap_or_default());
        let text = one_line(error);
        tracing::error!(resource = resource.name_any(), error = text, retry_in = ?delay, "reconcile failed");
        let condition = Condition { reason: reason_of(error), message: Some(text.clone()) };
        progress.settle(Settled { state: State::Error, description: text, conditions: vec![condition] });
        Action::requeue(delay)
    }
}

fn reason_of(error: &reconcile::Error) -> Reason {
    match error {
        reconcile::Error::Observe { .. }
        | reconcile::Error::Rendering { .. }
        | reconcile::Error::Memory { .. }
        | reconcile::Error::Watch { .. }
        | reconcile::Error::Installed { .. }
        | reconcile::Error::Leftovers { .. }
        | reconcile::Error::LastApplied { .. }
        | reconcile::Error::Finalizer { .. } => Reason::ReconcileFailed,
        reconcile::Error::Plan { .. } => Reason::IstioCustomResourceMisconfigured,
        reconcile::Error::Apply { .. } | reconcile::Error::Remove { .. } => {
            Reason::IstioInstallUninstallFailed
        }
    }
}
