//! `run`: builds the parts of the operator's process, runs the controllers, and stops them in order.

use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::bind::BindAddress;
use super::error::CliError;
use super::flags::RunArguments;
use super::identity;
use crate::context::Context;
use crate::fips;
use crate::kubernetes::{self, Limits, RequestMetrics, WriteFence};
use crate::leader::{Election, Leadership, LeadershipLost};
use crate::server::{BindError, MetricsRegistry, Readiness, Server};
use crate::signals;

/// How long the controllers may take to stop after a signal, and how long writes in progress may take after that.
/// Including the release of the Lease, the process exits in less than 5 s.
const CONTROLLERS_STOP_TIMEOUT: Duration = Duration::from_secs(2);
const WRITES_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the operator until a signal stops it.
pub(super) async fn run(arguments: &RunArguments) -> Result<(), CliError> {
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

/// Runs the controllers and the election side by side. The process exits when either ends: the controllers after a signal
/// or an error, the election when the Lease is lost.
async fn supervise(
    context: Context,
    mut election: ElectionTask,
    write_fence: WriteFence,
    shutdown: &CancellationToken,
) -> Result<(), CliError> {
    let controllers = crate::controllers::istio::run(context);
    tokio::pin!(controllers);
    let ended = tokio::select! {
        ended = &mut controllers => ended,
        lost = election.ended() => {
            shutdown.cancel();
            return Err(lost);
        }
        () = shutdown.cancelled() => timeout(CONTROLLERS_STOP_TIMEOUT, &mut controllers).await.unwrap_or_else(|_| {
            warn!("controllers did not stop in time and are aborted");
            Ok(())
        }),
    };
    shutdown.cancel();
    election.resign(&write_fence).await?;
    Ok(ended?)
}

/// The task of the leader election, if it is enabled.
struct ElectionTask {
    task: Option<JoinHandle<Result<(), LeadershipLost>>>,
    resign: CancellationToken,
}

impl ElectionTask {
    /// Starts the election. Without one, this process leads as long as it runs.
    fn start(
        elect: bool,
        (election, leadership): (Election, watch::Receiver<Leadership>),
    ) -> (watch::Receiver<Leadership>, Self) {
        let resign = CancellationToken::new();
        if elect {
            let task = Some(tokio::spawn(election.run(resign.clone())));
            return (leadership, Self { task, resign });
        }
        warn!("leader election is disabled. Make sure that no other operator of Istio runs in this cluster");
        let (_, leads) = watch::channel(Leadership::Leading { until: None });
        (leads, Self { task: None, resign })
    }

    /// Why the election ended. Pending as long as it runs, and without one.
    async fn ended(&mut self) -> CliError {
        match &mut self.task {
            None => std::future::pending().await,
            Some(task) => match task.await {
                Ok(Err(lost)) => lost.into(),
                Err(panic) => panic.into(),
                // Only `resign` ends the election without an error, and it consumes this value.
                Ok(Ok(())) => std::future::pending().await,
            },
        }
    }

    /// Stops writing, then releases the Lease. If a write does not end, the Lease expires instead.
    async fn resign(self, write_fence: &WriteFence) -> Result<(), CliError> {
        let idle = timeout(WRITES_STOP_TIMEOUT, write_fence.close()).await.is_ok();
        let Some(task) = self.task else { return Ok(()) };
        if !idle {
            warn!("a write is still in progress. The leader lease is not released and expires");
            task.abort();
            return Ok(());
        }
        self.resign.cancel();
        Ok(task.await??)
    }
}

/// Runs `task` to its end on a runtime of its own, and prints its error.
pub(super) fn execute(task: impl Future<Output = Result<(), CliError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CliError::Runtime(error).report(1),
    };
    let result = runtime.block_on(task);
    // DNS lookups run on threads that cannot be stopped. The process does not wait for them.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(1),
    }
}
