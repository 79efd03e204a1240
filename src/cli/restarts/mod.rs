//! `restarts`: shows which workloads have outdated sidecars and why; with `--apply`, restarts them.

mod apply;
mod show;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use kube::{Api, Client, ResourceExt};

use self::apply::{RestartRun, RestartSummary};
use super::error::CliError;
use super::output;
use super::shared::ClusterArguments;
use crate::api::Istio;
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::names::APPROVE_RESTARTS_ANNOTATION;
use crate::dataplane::restart_ledger::{LedgerStore, RestartLedger};
use crate::dataplane::scan::scanner::ScanScope;
use crate::dataplane::scan::{self, ControlPlaneState};
use crate::dataplane::schedule::plan;
use crate::dataplane::schedule::scan_result::Assessment;
use crate::dataplane::schedule::stale_workload::{BlockReason, Decision};
use crate::validate::ValidatedRestarter;
use crate::validate::{Rejection, validate_restarter};

/// How long to wait for istiod, and how often to check it.
const ISTIOD_TIMEOUT: Duration = Duration::from_secs(30);
const ISTIOD_POLL_INTERVAL: Duration = Duration::from_secs(1);

const HELP: &str = "\
Each workload is compared with what injection gives now, in a dry run. A workload is outdated if its sidecar differs.
Nothing is changed without --apply.

With --apply, workloads are restarted with the limits of spec.restarter of the Istio resource and inside their
maintenance windows. Excluded workloads are never restarted, nor is a workload restarted twice for the same change.
--apply takes precedence over spec.restarter.enabled and over --report-restarts-only of the operator. Press Ctrl-C to
start no further restart and wait for those in progress; press it again to exit immediately.

Exit codes:
  0    the report was printed; with --apply, all restarts are complete
  1    an error occurred
  2    the command line is invalid
  3    with --apply: a restart failed or was rejected, or the operator has started to restart workloads, too
  130  with --apply: interrupted by Ctrl-C

Examples:
  # Show outdated workloads, why they are outdated, and what blocks their restarts
    istio-manager restarts

  # List the workloads that would be restarted
    istio-manager restarts -o json | jq -r '.workloads[] | select(.restart) | .namespace + \"/\" + .name'

  # Restart outdated workloads
    istio-manager restarts --apply";

/// Arguments of `restarts`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct RestartsArguments {
    #[command(flatten)]
    cluster: ClusterArguments,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: ReportFormat,

    /// Restart the workloads at the pace of the operator, and wait until the restarts are complete
    #[arg(long)]
    apply: bool,
}

/// Output format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// A table
    Table,
    /// One JSON object; includes the outcome with --apply
    Json,
}

/// How the command ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RestartsExit {
    Done,
    /// Some restarts are not complete.
    Incomplete,
    Interrupted,
}

/// Prints the report and, with `--apply`, restarts workloads. The help documents the exit codes.
pub(super) fn main(arguments: &RestartsArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CliError::Runtime(error).report(1),
    };
    let result = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    match result {
        Ok(RestartsExit::Done) => ExitCode::SUCCESS,
        Ok(RestartsExit::Incomplete) => ExitCode::from(3),
        Ok(RestartsExit::Interrupted) => ExitCode::from(130),
        Err(error) => error.report(1),
    }
}

async fn run(arguments: &RestartsArguments) -> Result<RestartsExit, CliError> {
    let client = arguments.cluster.connect().await?;
    let namespace = arguments.cluster.namespace();
    let resource = resource(&client, &namespace).await?;
    let settings = settings(resource.as_ref(), arguments.apply)?;
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
            ReportFormat::Table => output::print_line(&show::table(&scan, on_hold.as_deref()))?,
            ReportFormat::Json => print_json(&show::json(&scan, on_hold.as_deref()))?,
        }
        return Ok(RestartsExit::Done);
    }
    let running_elsewhere = count_foreign_restarts(&scan, &ledger);
    if running_elsewhere > 0 {
        return Err(CliError::RestartsInProgress(running_elsewhere));
    }
    if arguments.output == ReportFormat::Table {
        output::print_line(&show::table(&scan, on_hold.as_deref()))?;
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

/// What injection gives, once istiod is ready. istiod is unready for a moment whenever an autoscaler adds a pod.
async fn wait_for_mesh(client: &Client) -> Result<Box<Mesh>, CliError> {
    let deadline = Instant::now() + ISTIOD_TIMEOUT;
    loop {
        match scan::read_control_plane(client).await? {
            ControlPlaneState::Ready(mesh) => return Ok(mesh),
            ControlPlaneState::NotReady(why) if Instant::now() >= deadline => {
                return Err(CliError::IstiodNotReady(why));
            }
            ControlPlaneState::NotReady(_) => tokio::time::sleep(ISTIOD_POLL_INTERVAL).await,
        }
    }
}

/// The active resource, which is the oldest one.
async fn resource(client: &Client, namespace: &str) -> Result<Option<Istio>, CliError> {
    let api: Api<Istio> = Api::namespaced(client.clone(), namespace);
    let failed = |source| CliError::ListResources {
        scope: format!("namespace {namespace}"),
        source: Box::new(source),
    };
    let resources = api.list(&kube::api::ListParams::default()).await.map_err(failed)?.items;
    Ok(resources.into_iter().min_by_key(|resource| (resource.creation_timestamp(), resource.uid())))
}

/// The settings of restarts. `--apply` takes precedence over `spec.restarter.enabled`.
fn settings(resource: Option<&Istio>, apply: bool) -> Result<ValidatedRestarter, Rejection> {
    let settings = validate_restarter(resource.and_then(|resource| resource.spec.restarter.as_ref()))?;
    Ok(ValidatedRestarter { enabled: settings.enabled || apply, ..settings })
}

/// Number of restarts that another process has started for the current state of the mesh. Two processes that restart at once
/// would exceed the limits together.
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

fn print_json(report: &serde_json::Value) -> Result<(), CliError> {
    output::print_line(&format!("{report:#}"))
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
