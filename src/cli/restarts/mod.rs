//! `restarts`: which workloads have outdated sidecars, why, and what would be done; with `--apply`, doing it.

mod apply;
mod show;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use kube::{Api, Client, ResourceExt};

use self::apply::{Applied, Apply};
use super::report;
use super::shared::ClusterArguments;
use crate::api::Istio;
use crate::dataplane::act::wave;
use crate::dataplane::decide::course;
use crate::dataplane::decide::finding::{Decision, Hindrance};
use crate::dataplane::decide::found::Survey;
use crate::dataplane::decide::settings::Settings;
use crate::dataplane::look::mesh::Mesh;
use crate::dataplane::memory::{self, Memory, Store};
use crate::dataplane::names::RELEASE_ANNOTATION;
use crate::dataplane::survey::sweep::Scope;
use crate::dataplane::survey::{self, ControlPlane};
use crate::kubernetes::ConnectError;

/// How long a report waits for istiod, and how often it looks meanwhile.
const ISTIOD: Duration = Duration::from_secs(30);
const ISTIOD_AGAIN: Duration = Duration::from_secs(1);

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
    output: Form,

    /// Restart what can be restarted, paced as the operator does, and wait for it
    #[arg(long)]
    apply: bool,
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
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
    Memory(#[from] memory::Error),
    /// The data plane could not be looked at.
    #[error("cannot look at the data plane")]
    Survey(#[from] survey::Error),
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
enum Ending {
    Done,
    /// Not everything was restarted that was to be.
    Incomplete,
    Interrupted,
}

/// Prints the report and, if told to, restarts. Exits as its help says.
pub fn main(arguments: &RestartsArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report::failure(&RestartsError::Runtime(error)),
    };
    let result = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    match result {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Incomplete) => ExitCode::from(3),
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Err(error) => report::failure(&error),
    }
}

async fn run(arguments: &RestartsArguments) -> Result<Ending, RestartsError> {
    let client = arguments.cluster.connect().await?;
    let namespace = arguments.cluster.namespace();
    let resource = resource(&client, &namespace).await?;
    let settings = settings(resource.as_ref(), arguments.apply);
    let mesh = served(&client).await?;
    let mut store = Store::new(client.clone(), &namespace);
    let mut memory = store.load().await?;
    memory.saw(&mesh.hash);
    let mut survey = survey::look_once(&client, &mesh, Scope::All, &settings, &memory).await?;
    let released = resource.as_ref().and_then(|resource| resource.annotations().get(RELEASE_ANNOTATION));
    let held = course::hold(&mut survey, &mut memory, &settings, &mesh.hash, released.map(String::as_str));
    if !arguments.apply {
        match arguments.output {
            Form::Table => print(&show::table(&survey, held.as_deref()))?,
            Form::Json => print_json(&show::json(&survey, held.as_deref()))?,
        }
        return Ok(Ending::Done);
    }
    let busy = under_way(&survey, &memory);
    if busy > 0 {
        return Err(RestartsError::Busy(busy));
    }
    if arguments.output == Form::Table {
        print(&show::table(&survey, held.as_deref()))?;
    }
    let apply = Apply { client: &client, store: &mut store, memory: &mut memory, settings: &settings };
    let applied = apply.run(&mesh.hash, course::plan(&survey)).await?;
    if arguments.output == Form::Json {
        let mut report = show::json(&survey, held.as_deref());
        report["outcome"] = show::outcome(&applied);
        print_json(&report)?;
    }
    Ok(ending(&applied))
}

/// What injection gives, once istiod is ready: it is not for a moment whenever an autoscaler gives it another pod.
async fn served(client: &Client) -> Result<Box<Mesh>, RestartsError> {
    let deadline = Instant::now() + ISTIOD;
    loop {
        match survey::control_plane(client).await? {
            ControlPlane::Serves(mesh) => return Ok(mesh),
            ControlPlane::NotReady(why) if Instant::now() >= deadline => {
                return Err(RestartsError::NotReady(why));
            }
            ControlPlane::NotReady(_) => tokio::time::sleep(ISTIOD_AGAIN).await,
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
fn settings(resource: Option<&Istio>, apply: bool) -> Settings {
    let settings = Settings::of(resource.and_then(|resource| resource.spec.restarter.as_ref()), false);
    Settings { enabled: settings.enabled || apply, ..settings }
}

/// Restarts that somebody else began for what is outdated now. Two that restart would exceed the limits together.
fn under_way(survey: &Survey, memory: &Memory) -> usize {
    let is_under_way =
        |decision: &Decision| matches!(decision, Decision::Hold(Hindrance::RolloutUnderWay(_)));
    let decisions = survey.decisions.iter().filter(|(_, decision)| is_under_way(decision));
    decisions.filter(|(found, _)| memory.tried(&found.uid, &found.target, found.generation)).count()
}

fn ending(applied: &Applied) -> Ending {
    if applied.interrupted {
        return Ending::Interrupted;
    }
    let complete = applied.failed == 0 && applied.left.is_empty() && !applied.yielded;
    if complete { Ending::Done } else { Ending::Incomplete }
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
    use crate::dataplane::fixtures::survey;
    use crate::dataplane::memory::Attempt;

    #[test]
    fn restarts_of_somebody_else_are_those_that_are_remembered_and_under_way() {
        let attempt = |target: &str| Attempt { target: target.to_owned(), generation: 0, at: 0 };
        for (hold, target, busy) in [
            (Hindrance::RolloutUnderWay(String::new()), "t", 1),
            // Its owner rolls it out for something else.
            (Hindrance::RolloutUnderWay(String::new()), "another", 0),
            (Hindrance::AlreadyTried, "t", 0),
        ] {
            let mut memory = Memory::default();
            memory.remember("w1", attempt(target));
            assert_eq!(under_way(&survey(&[hold]), &memory), busy, "{target}");
        }
    }

    #[test]
    fn the_exit_code_tells_whether_everything_was_restarted() {
        let done = || Applied { done: 3, ..Applied::default() };
        for (applied, expected) in [
            (done(), Ending::Done),
            (Applied { failed: 1, ..done() }, Ending::Incomplete),
            (Applied { yielded: true, ..done() }, Ending::Incomplete),
            (Applied { interrupted: true, failed: 1, ..done() }, Ending::Interrupted),
        ] {
            assert_eq!(ending(&applied), expected, "{applied:?}");
        }
    }
}
