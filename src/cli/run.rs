//! The life of the operator's process: build the parts, run the controllers, stop in order.

use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::bind::BindAddress;
use super::flags::RunArguments;
use super::identity;
use super::overrides::ValuesFileError;
use crate::context::Context;
use crate::fips::{self, NoFipsModule};
use crate::kubernetes::{self, ConnectError, Limits, RequestMetrics, WriteFence};
use crate::leader::{Election, Leadership, LeadershipLost, TimingError};
use crate::server::{BindError, MetricsRegistry, Readiness, Server};
use crate::signals::{self, ShutdownError};

/// The controllers have this long to end their work after the signal, and writes under way this long after that.
/// With the release of the Lease the process is gone in less than 5 s.
const CONTROLLERS_STOP_TIMEOUT: Duration = Duration::from_secs(2);
const WRITES_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the operator did not start, or ended without having been told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The durations of the leader election contradict each other.
    #[error("leader election cannot work with the given durations (--leader-elect-*)")]
    Timing(#[from] TimingError),
    /// The administrator's values cannot be used.
    #[error("the operator cannot start without its administrator's values")]
    Values(#[from] ValuesFileError),
    /// A FIPS module is required, and this build has none.
    #[error(transparent)]
    Fips(#[from] NoFipsModule),
    /// Signals cannot be received.
    #[error("the process cannot be told to stop")]
    Signals(#[from] ShutdownError),
    /// A port is taken or not allowed.
    #[error(
        "probes or metrics cannot be served; choose another address with --health-probe-bind-address or --metrics-bind-address"
    )]
    Bind(#[from] BindError),
    /// There is no cluster to work on.
    #[error("there is no connection to a Kubernetes cluster; name one with --kubeconfig")]
    Connect(#[from] ConnectError),
    /// Another process may be at work by now.
    #[error("leadership was lost; exiting so that nothing more is written")]
    LeadershipLost(#[from] LeadershipLost),
    /// The controllers ended.
    #[error("the controllers ended")]
    Controllers(#[from] crate::controllers::istio::Error),
    /// A part of the program panicked.
    #[error("the leader election ended unexpectedly")]
    Election(#[from] tokio::task::JoinError),
}

/// Runs the operator until it is told to stop.
pub async fn run(arguments: &RunArguments) -> Result<(), RunError> {
    let module = fips::Module::installed();
    fips::coverage(fips::mode(|name| std::env::var(name).ok()), arguments.fips_policy(), module)?.log();
    let timing = arguments.timing()?;
    let settings = arguments.settings()?;
    let shutdown = signals::on_signal()?;
    let requests = RequestMetrics::default();
    let (connections, account) = kubernetes::connections(arguments.kubeconfig.as_deref(), &requests).await?;
    let operator_namespace = identity::namespace(arguments.operator_namespace.as_deref());
    let identity = identity::identity();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = operator_namespace,
        identity,
        "istio-manager starting"
    );
    arguments.overrides.log_overrides();

    let candidate =
        Election::new(connections.requests.clone(), &operator_namespace, identity.clone(), timing);
    let (leadership, election) = ElectionTask::start(arguments.leader_elect, candidate);
    let readiness = Readiness::default();
    let metrics = MetricsRegistry::new(leadership.clone());
    metrics.with_registry(|registry| requests.register(registry));
    metrics.with_registry(|registry| module.register(registry));
    serve(arguments, &readiness, &metrics, &shutdown)?;

    let (client, write_fence) = kubernetes::fenced_client(connections, leadership.clone(), Limits::default());
    let context = Context {
        client,
        account,
        operator_namespace,
        leadership,
        shutdown: shutdown.clone(),
        readiness,
        metrics,
        settings,
        identity,
    };
    supervise(context, election, write_fence, &shutdown).await
}

fn serve(
    arguments: &RunArguments,
    readiness: &Readiness,
    metrics: &MetricsRegistry,
    shutdown: &CancellationToken,
) -> Result<(), BindError> {
    if let BindAddress::At(address) = arguments.health_probe_bind_address {
        Server::health(address, readiness.clone(), shutdown.clone())?.spawn();
    }
    if let BindAddress::At(address) = arguments.metrics_bind_address {
        Server::metrics(address, metrics.clone())?.spawn();
    }
    Ok(())
}

/// Runs the controllers beside the election. Whichever ends first ends the process: the controllers when told to
/// stop or by an error, the election by losing.
async fn supervise(
    context: Context,
    mut election: ElectionTask,
    write_fence: WriteFence,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let controllers = crate::controllers::istio::run(context);
    tokio::pin!(controllers);
    let ended = tokio::select! {
        ended = &mut controllers => ended,
        lost = election.ended() => {
            shutdown.cancel();
            return Err(lost);
        }
        () = shutdown.cancelled() => timeout(CONTROLLERS_STOP_TIMEOUT, &mut controllers).await.unwrap_or_else(|_| {
            warn!("the controllers did not stop in time and are left behind");
            Ok(())
        }),
    };
    shutdown.cancel();
    election.resign(&write_fence).await?;
    Ok(ended?)
}

/// This process's part in the election, if there is one.
struct ElectionTask {
    task: Option<JoinHandle<Result<(), LeadershipLost>>>,
    resign: CancellationToken,
}

impl ElectionTask {
    /// Starts the election, or, with election off, says that this process leads for ever.
    fn start(
        elect: bool,
        (election, leadership): (Election, watch::Receiver<Leadership>),
    ) -> (watch::Receiver<Leadership>, Self) {
        let resign = CancellationToken::new();
        if elect {
            let task = Some(tokio::spawn(election.run(resign.clone())));
            return (leadership, Self { task, resign });
        }
        warn!("leader election is off: make sure that no other operator for Istio runs on this cluster");
        let (_, leads) = watch::channel(Leadership::Leading { until: None });
        (leads, Self { task: None, resign })
    }

    /// Why this process is no longer a candidate; never, if there is no election.
    async fn ended(&mut self) -> RunError {
        match &mut self.task {
            None => std::future::pending().await,
            Some(task) => match task.await {
                Ok(Err(lost)) => lost.into(),
                Err(panic) => panic.into(),
                // Only `resign` makes the election end well, and it consumes this value.
                Ok(Ok(())) => std::future::pending().await,
            },
        }
    }

    /// Ends writing, then gives the Lease up. If a write does not end, the Lease is left to expire instead.
    async fn resign(self, write_fence: &WriteFence) -> Result<(), RunError> {
        let idle = timeout(WRITES_STOP_TIMEOUT, write_fence.close()).await.is_ok();
        let Some(task) = self.task else { return Ok(()) };
        if !idle {
            warn!("a write has not ended; the Lease is not released and will expire");
            task.abort();
            return Ok(());
        }
        self.resign.cancel();
        Ok(task.await??)
    }
}

/// Runs `task` to its end on a runtime of its own and prints its error.
pub fn execute<E>(task: impl Future<Output = Result<(), E>>) -> ExitCode
where
    E: std::error::Error + 'static,
{
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::report::report_failure(&error),
    };
    let result = runtime.block_on(task);
    // Name look-ups run on threads that cannot be stopped; the process does not wait for them.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::report::report_failure(&error),
    }
}
