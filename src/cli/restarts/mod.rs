//! `restarts`: which workloads have outdated sidecars, why, and what would be done; with `--apply`, doing it.

mod apply;
mod show;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use kube::{Api, Client, ResourceExt};

use self::apply::{RestartRun, RestartSummary};
use super::report;
use super::shared::ClusterArguments;
use crate::api::Istio;
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::names::APPROVE_RESTARTS_ANNOTATION;
use crate::dataplane::restart::wave;
use crate::dataplane::restart_ledger::{self, LedgerStore, RestartLedger};
use crate::dataplane::scan::scanner::ScanScope;
use crate::dataplane::scan::{self, ControlPlaneState};
use crate::dataplane::schedule::plan;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::settings::RestartSettings;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision};
use crate::kubernetes::ConnectError;

/// How long a report waits for istiod, and how often it looks meanwhile.
const ISTIOD_TIMEOUT: Duration = Duration::from_secs(30);
const ISTIOD_POLL_INTERVAL: Duration = Duration::from_secs(1);

const HELP: &str = "\
Nothing is changed without --apply. A dry run shows what injection would give each workload now; one is outdated if its
sidecar is something else. With --apply, workloads are restarted as the operator does it: with the limits of
spec.restarter of the Istio resource, only inside a maintenance window where there is one, never an excluded one, none
that was restarted for the same before. That restarts are switched off (spec.restarter.enabled, --report-restarts-only)
does not matter: you say now that they are wanted. Ctrl-C begins no further restart and waits for those under way; a
second one leaves at once.

Exit codes:
  0    the report is printed; with --apply, every restart that was to be made is complete
  1    an error, which says what to do
  2    the command line cannot be understood
  3    with --apply: a restart failed or was refused, or the rest is left to an operator that restarts at the same time
  130  with --apply: interrupted by Ctrl-C

Examples:
  What is outdated, why, and what prevents a restart:
    istio-manager restarts
  Names of what would be restarted:
    istio-manager restarts -o json | jq -r '.workloads[] | select(.restart) | .namespace + \"/\" + .name'
  Restart it at the pace of the operator:
    istio-manager restarts --apply";

/// What `restarts` is told on the command line.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct RestartsArguments {
    #[command(flatten)]
    cluster: ClusterArguments,

    /// Form of the report
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORM")]
    output: ReportFormat,

    /// Restart what can be restarted, paced as the operator does, and wait for it
    #[arg(long)]
    apply: bool,
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// A table for people
    Table,
    /// One JSON object; with --apply it has the outcome, too
    Json,
}

/// Why there is no report, or nothing was restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartsError {
    /// There is no cluster to look at.
    #[error("there is no connection to a Kubernetes cluster; name one with --kubeconfig")]
    Connect(#[from] ConnectError),
    /// The settings of restarts could not be read.
    #[error(
        "cannot read the Istio resources in {namespace}; name the operator's namespace with --operator-namespace, and \
         see with `kubectl auth can-i list istios -n {namespace}` whether you may"
    )]
    Resource {
        /// The namespace.
        namespace: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// What was restarted before could not be read or written.
    #[error("cannot tell what was restarted before, so that nothing may be restarted")]
    Ledger(#[from] restart_ledger::Error),
    /// The data plane could not be looked at.
    #[error("cannot look at the data plane")]
    Scan(#[from] scan::Error),
    /// Injection cannot be asked.
    #[error(
        "it cannot be told what injection gives now: {0}; look with `kubectl get deployment istiod -n istio-system`"
    )]
    NotReady(String),
    /// Somebody else is at it.
    #[error(
        "somebody else, as a rule the operator, restarts workloads now ({0} under way); see `istio-manager restarts`, and \
         try again when these are complete"
    )]
    Busy(usize),
    /// The restarts could not go on.
    #[error("the restarts cannot go on; those that were begun go on by themselves and are remembered")]
    Wave(#[from] wave::Error),
    /// Nothing can run.
    #[error("cannot start")]
    Runtime(#[source] std::io::Error),
    /// The report could not be printed.
    #[error("cannot print the report")]
    Print(#[from] std::io::Error),
}

/// How it ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RestartsExit {
    Done,
    /// Not everything was restarted that was to be.
    Incomplete,
    Interrupted,
}

/// Prints the report and, if told to, restarts. Exits as its help says.
pub fn main(arguments: &RestartsArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report::report_failure(&RestartsError::Runtime(error)),
    };
    let result = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    match result {
        Ok(RestartsExit::Done) => ExitCode::SUCCESS,
        Ok(RestartsExit::Incomplete) => ExitCode::from(3),
        Ok(RestartsExit::Interrupted) => ExitCode::from(130),
        Err(error) => report::report_failure(&error),
    }
}

async fn run(arguments: &RestartsArguments) -> Result<RestartsExit, RestartsError> {
    let client = arguments.cluster.connect().await?;
    let namespace = arguments.cluster.namespace();
    let resource = resource(&client, &namespace).await?;
    let settings = settings(resource.as_ref(), arguments.apply);
    let mesh = wait_for_mesh(&client).await?;
    let mut store = LedgerStore::new(client.clone(), &namespace);
    let mut ledger = store.load().await?;
    ledger.observe_mesh(&mesh.revision);
    let mut scan = scan::scan_once(&client, &mesh, ScanScope::All, &settings, &ledger).await?;
    let approved =
        resource.as_ref().and_then(|resource| resource.annotations().get(APPROVE_RESTARTS_ANNOTATION));
    let on_hold = plan::suspend_restarts(
        &mut scan,
        &mut ledger,
        &settings,
        &mesh.revision,
        approved.map(String::as_str),
    );
    if !arguments.apply {
        match arguments.output {
            ReportFormat::Table => print(&show::table(&scan, on_hold.as_deref()))?,
            ReportFormat::Json => print_json(&show::json(&scan, on_hold.as_deref()))?,
        }
        return Ok(RestartsExit::Done);
    }
    let running_elsewhere = count_foreign_restarts(&scan, &ledger);
    if running_elsewhere > 0 {
        return Err(RestartsError::Busy(running_elsewhere));
    }
    if arguments.output == ReportFormat::Table {
        print(&show::table(&scan, on_hold.as_deref()))?;
    }
    let apply = RestartRun { client: &client, store: &mut store, ledger: &mut ledger, settings: &settings };
    let summary = apply.run(&mesh.revision, plan::plan_restarts(&scan)).await?;
    if arguments.output == ReportFormat::Json {
        let mut report = show::json(&scan, on_hold.as_deref());
        report["outcome"] = show::outcome(&summary);
        print_json(&report)?;
    }
    Ok(exit_for(&summary))
}

/// What injection gives, once istiod is ready: it is not for a moment whenever an autoscaler gives it another pod.
async fn wait_for_mesh(client: &Client) -> Result<Box<Mesh>, RestartsError> {
    let deadline = Instant::now() + ISTIOD_TIMEOUT;
    loop {
        match scan::read_control_plane(client).await? {
            ControlPlaneState::Ready(mesh) => return Ok(mesh),
            ControlPlaneState::NotReady(why) if Instant::now() >= deadline => {
                return Err(RestartsError::NotReady(why));
            }
            ControlPlaneState::NotReady(_) => tokio::time::sleep(ISTIOD_POLL_INTERVAL).await,
        }
    }
}

/// The oldest resource: the one that is in charge.
async fn resource(client: &Client, namespace: &str) -> Result<Option<Istio>, RestartsError> {
    let api: Api<Istio> = Api::namespaced(client.clone(), namespace);
    let failed =
        |source| RestartsError::Resource { namespace: namespace.to_owned(), source: Box::new(source) };
    let resources = api.list(&kube::api::ListParams::default()).await.map_err(failed)?.items;
    Ok(resources.into_iter().min_by_key(|resource| (resource.creation_timestamp(), resource.uid())))
}

/// A report is one of what a run would do; that restarts are switched off then is no hindrance to a person who says
/// `--apply`.
fn settings(resource: Option<&Istio>, apply: bool) -> RestartSettings {
    let settings =
        RestartSettings::from_spec(resource.and_then(|resource| resource.spec.restarter.as_ref()), false);
    RestartSettings { enabled: settings.enabled || apply, ..settings }
}

/// Restarts that somebody else began for what is outdated now. Two that restart would exceed the limits together.
fn count_foreign_restarts(scan: &Assessment, ledger: &RestartLedger) -> usize {
    let is_rolling_out =
        |decision: &Decision| matches!(decision, Decision::Blocked(BlockReason::RolloutInProgress(_)));
    let decisions = scan.decisions.iter().filter(|(_, decision)| is_rolling_out(decision));
    decisions.filter(|(found, _)| ledger.was_restarted(&found.uid, &found.target, found.generation)).count()
}

fn exit_for(summary: &RestartSummary) -> RestartsExit {
    if summary.interrupted {
        return RestartsExit::Interrupted;
    }
    let complete = summary.failed == 0 && summary.remaining.is_empty() && !summary.yielded;
    if complete { RestartsExit::Done } else { RestartsExit::Incomplete }
}

fn print_json(report: &serde_json::Value) -> Result<(), RestartsError> {
    print(&format!("{report:#}"))
}

/// Prints to standard output. That its reader has gone, as `head` does, is no error.
fn print(text: &str) -> Result<(), RestartsError> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fixtures::assessment;
    use crate::dataplane::restart_ledger::RestartAttempt;

    #[test]
    fn recorded_rollouts_in_progress_count_as_restarts_of_others() {
        let attempt = |target: &str| RestartAttempt {
            target: target.into(),
            generation: 0,
            at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        };
        for (block_reason, target, busy) in [
            (BlockReason::RolloutInProgress(String::new()), "t", 1),
            // Its owner rolls it out for something else.
            (BlockReason::RolloutInProgress(String::new()), "another", 0),
            (BlockReason::AlreadyRestarted, "t", 0),
        ] {
            let mut ledger = RestartLedger::default();
            ledger.record_attempt(&"w1".into(), attempt(target));
            assert_eq!(count_foreign_restarts(&assessment(&[block_reason]), &ledger), busy, "{target}");
        }
    }

    #[test]
    fn the_exit_code_shows_whether_all_restarts_completed() {
        let done = || RestartSummary { done: 3, ..RestartSummary::default() };
        for (applied, expected) in [
            (done(), RestartsExit::Done),
            (RestartSummary { failed: 1, ..done() }, RestartsExit::Incomplete),
            (RestartSummary { yielded: true, ..done() }, RestartsExit::Incomplete),
            (RestartSummary { interrupted: true, failed: 1, ..done() }, RestartsExit::Interrupted),
        ] {
            assert_eq!(exit_for(&applied), expected, "{applied:?}");
        }
    }
}
