//! Why a command failed: one error for all commands, so that the same cause has the same text and the same remedy.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::input::InputError;
use super::overrides::ValuesFileError;
use crate::dataplane::{restart, restart_ledger, scan};
use crate::fips::NoFipsModule;
use crate::gather::{self, installed};
use crate::kubernetes::ConnectError;
use crate::leader::{LeadershipLost, TimingError};
use crate::plan::{self, configuration};
use crate::server::BindError;
use crate::signals::ShutdownError;
use crate::telemetry::error_chain;
use crate::validate::Rejection;
use crate::{controllers, diff};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A file that the command line names.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The cluster.
    #[error("failed to connect to a Kubernetes cluster. Select one with --kubeconfig")]
    Connect(#[from] ConnectError),
    /// The API server's answer to a list of `Istio` resources.
    #[error(
        "failed to list Istio resources in {scope}. Check the permissions with `kubectl auth can-i list istios -A`"
    )]
    ListResources {
        /// The namespace, or all of them.
        scope: String,
        /// What the API server answered.
        source: Box<kube::Error>,
    },
    /// The operator would not follow the resource either.
    #[error("the operator rejects this Istio resource")]
    Rejected(Rejection),
    /// The charts.
    #[error("failed to load the Istio charts")]
    Charts(#[from] istio_charts::BundleError),
    /// The file of `--values-file`.
    #[error(transparent)]
    Values(#[from] ValuesFileError),
    /// The variables that name images.
    #[error("invalid image in an environment variable")]
    Images(#[from] configuration::ImagesError),
    /// The file of `--cluster`.
    #[error("failed to read the properties of the cluster from the objects of --cluster")]
    Facts(#[from] configuration::FactsError),
    /// Size, provider and settings of the cluster.
    #[error("failed to read the state of the cluster")]
    Gather(#[from] gather::Error),
    /// Version of the running istiod.
    #[error("failed to determine the installed version of Istio")]
    Installed(#[from] installed::Error),
    /// The objects that should exist.
    #[error("failed to plan the installation")]
    Plan(#[from] plan::Error),
    /// A dry run of an object.
    #[error("failed to compare the planned objects with the cluster")]
    Compare(#[from] diff::Error),
    /// The record of restarts.
    #[error("failed to read or write the record of earlier restarts. Nothing is restarted without it")]
    Ledger(#[from] restart_ledger::Error),
    /// Workloads with a sidecar.
    #[error("failed to scan the workloads of the mesh")]
    Scan(#[from] scan::Error),
    /// istiod.
    #[error("istiod is not ready: {0}. Check it with `kubectl get deployment istiod -n istio-system`")]
    IstiodNotReady(String),
    /// Restarts of another process.
    #[error(
        "cannot restart workloads while restarts are in progress ({0}), usually by the operator. Check them with `istio-manager restarts`, and retry \
         when they are complete"
    )]
    RestartsInProgress(usize),
    /// Restarts of this process.
    #[error("restarts were stopped. Rollouts that have started continue and are recorded")]
    Wave(#[from] restart::wave::Error),
    /// Durations of the leader election.
    #[error("invalid durations of the leader election (--leader-elect-*)")]
    Timing(#[from] TimingError),
    /// A FIPS module is required, and this build has none.
    #[error(transparent)]
    Fips(#[from] NoFipsModule),
    /// Signal handlers.
    #[error("failed to install signal handlers")]
    Signals(#[from] ShutdownError),
    /// A port.
    #[error(
        "failed to serve health probes or metrics. Select another address with --health-probe-bind-address or \
         --metrics-bind-address"
    )]
    Bind(#[from] BindError),
    /// Another process may lead by now.
    #[error("lost the leader lease. Exiting, so that two leaders never write at once")]
    LeadershipLost(#[from] LeadershipLost),
    /// The controllers ended.
    #[error("failed to run the controllers")]
    Controllers(#[from] controllers::istio::Error),
    /// A part of the program panicked.
    #[error("the leader election ended unexpectedly")]
    Election(#[from] tokio::task::JoinError),
    /// The asynchronous runtime.
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    /// Standard output.
    #[error("failed to write to standard output")]
    Print(#[source] io::Error),
}

impl CliError {
    /// Prints the error with its causes to standard error, and returns `code` as the exit code.
    pub(super) fn report(&self, code: u8) -> ExitCode {
        if let Self::Rejected(rejection) = self {
            // One problem per line, each of which is sanitized.
            eprintln!("error: {self}\n  because: {}", rejection.report());
            return ExitCode::from(code);
        }
        let error: &(dyn Error + 'static) = self;
        eprintln!("error: {}", error_chain(error).join("\n  because: "));
        ExitCode::from(code)
    }
}

// Not `#[from]`: the report is printed instead of a source.
impl From<Rejection> for CliError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
