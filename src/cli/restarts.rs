//! `restarts`: which workloads have outdated sidecars, why, and what would be done; with `--apply`, doing it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use clap::{Args, ValueEnum};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::api::Istio;
use crate::dataplane::events::Announcer;
use crate::dataplane::finding::{Decision, Finding, Method};
use crate::dataplane::judge::Proven;
use crate::dataplane::memory::{self, Store};
use crate::dataplane::metrics::Metrics;
use crate::dataplane::reason::sentence;
use crate::dataplane::settings::Settings;
use crate::dataplane::survey::{self, ControlPlane, Survey, Surveyor};
use crate::dataplane::sweep::Scope;
use crate::dataplane::wave::{self, Outcome, Progress, Wave};
use crate::kubernetes::{self, ConnectError};

/// What `restarts` is told on the command line.
#[derive(Args, Debug)]
pub struct RestartsArguments {
    /// Kubeconfig file; without it: the files named by KUBECONFIG, else the Pod's service account, else
    /// ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Namespace of the operator, where restarts are remembered; without it: kyma-system
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    operator_namespace: Option<String>,

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
    /// One JSON object
    Json,
}

/// Why there is no report, or not everything was restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartsError {
    /// There is no cluster to look at.
    #[error("there is no connection to a Kubernetes cluster; name one with --kubeconfig")]
    Connect(#[from] ConnectError),
    /// The settings of restarts could not be read.
    #[error("cannot read the Istio resources in {namespace}")]
    Resource {
        /// The namespace.
        namespace: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// What was restarted before could not be read.
    #[error("cannot tell what was restarted before")]
    Memory(#[from] memory::Error),
    /// The data plane could not be looked at.
    #[error("cannot look at the data plane")]
    Survey(#[from] survey::Error),
    /// Injection cannot be asked.
    #[error("it cannot be told what injection gives now: {0}")]
    NotReady(String),
    /// The restarts could not go on.
    #[error("the restarts cannot go on")]
    Wave(#[from] wave::Error),
    /// The report could not be printed.
    #[error("cannot print the report")]
    Print(#[from] std::io::Error),
    /// Some rollouts failed.
    #[error("{0} rollouts failed")]
    Failed(usize),
}

/// Prints the report and, if told to, restarts.
pub async fn run(arguments: &RestartsArguments) -> Result<(), RestartsError> {
    let client = kubernetes::connect(arguments.kubeconfig.as_deref()).await?;
    let namespace = super::identity::namespace(arguments.operator_namespace.as_deref());
    let settings = settings(&client, &namespace, arguments.apply).await?;
    let mesh = match survey::control_plane(&client).await? {
        ControlPlane::Serves(mesh) => mesh,
        ControlPlane::NotReady(why) => return Err(RestartsError::NotReady(why)),
    };
    let mut store = Store::new(client.clone(), &namespace);
    let mut memory = store.load().await?;
    let surveyor = Surveyor {
        client: &client,
        mesh: &mesh,
        scope: Scope::All,
        settings: &settings,
        memory: &memory,
        proven: &Proven::default(),
        unlabelled: true,
        revisit: &std::collections::HashSet::new(),
        settled: true,
        now: k8s_openapi::jiff::Timestamp::now().as_second(),
    };
    let survey = surveyor.survey().await?;
    print(arguments.output, &survey)?;
    let plan = plan(&survey);
    if !arguments.apply || plan.is_empty() {
        return Ok(());
    }
    let outcome = apply(&client, &mut store, &mut memory, &settings, plan).await?;
    conclude(&outcome)
}

/// The settings of the oldest resource. A report is one of what a run would do; that restarts are switched off then is
/// no hindrance to a person who says `--apply`.
async fn settings(client: &Client, namespace: &str, apply: bool) -> Result<Settings, RestartsError> {
    let api: Api<Istio> = Api::namespaced(client.clone(), namespace);
    let failed =
        |source| RestartsError::Resource { namespace: namespace.to_owned(), source: Box::new(source) };
    let mut resources = api.list(&kube::api::ListParams::default()).await.map_err(failed)?.items;
    resources.sort_by_key(|resource| (resource.creation_timestamp(), resource.uid()));
    let restarter = resources.first().and_then(|resource| resource.spec.restarter.as_ref());
    let settings = Settings::of(restarter, false);
    Ok(Settings { enabled: settings.enabled || apply, ..settings })
}

fn plan(survey: &Survey) -> Vec<(Finding, Method)> {
    let restart = |(finding, decision): &(Finding, Decision)| match decision {
        Decision::Restart(method) => Some((finding.clone(), *method)),
        Decision::Hold(_) => None,
    };
    survey.decisions.iter().filter_map(restart).collect()
}

async fn apply(
    client: &Client,
    store: &mut Store,
    memory: &mut memory::Memory,
    settings: &Settings,
    plan: Vec<(Finding, Method)>,
) -> Result<Outcome, RestartsError> {
    let total = plan.len();
    let progress = Mutex::new(move |progress: Progress| bar(total, &progress));
    let mut wave = Wave {
        client,
        store,
        memory,
        settings,
        events: &Announcer::new(client.clone(), super::identity::identity()),
        metrics: &Metrics::default(),
        superseded: &|| false,
        progress: &progress,
    };
    let outcome = wave.run(plan).await;
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    Ok(outcome?)
}

/// One line that is written over on a terminal, and a line for each step elsewhere.
fn bar(total: usize, progress: &Progress) {
    const WIDTH: usize = 40;
    let ended = progress.done + progress.failed;
    let filled = WIDTH * ended / total.max(1);
    let text = format!(
        "[{}{}] {} of {total} restarted, {} under way, {} failed",
        "#".repeat(filled),
        "-".repeat(WIDTH - filled),
        progress.done,
        progress.running,
        progress.failed
    );
    if std::io::stderr().is_terminal() {
        eprint!("\r{text}");
    } else {
        eprintln!("{text}");
    }
}

fn conclude(outcome: &Outcome) -> Result<(), RestartsError> {
    for (finding, why) in &outcome.left {
        eprintln!("{}: {why}", finding.workload);
    }
    if outcome.failed > 0 { Err(RestartsError::Failed(outcome.failed)) } else { Ok(()) }
}

fn print(form: Form, survey: &Survey) -> Result<(), RestartsError> {
    let text = match form {
        Form::Table => table(survey),
        Form::Json => serde_json::to_string_pretty(&report(survey)).map_err(std::io::Error::from)?,
    };
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn report(survey: &Survey) -> Value {
    let workload = |(finding, decision): &(Finding, Decision)| {
        let id = &finding.workload;
        let reasons: Vec<Value> = finding
            .reasons
            .iter()
            .map(|reason| json!({"reason": reason.name(), "message": reason.to_string()}))
            .collect();
        let (action, prevented) = match decision {
            Decision::Restart(method) => (json!(format!("{method:?}")), Value::Null),
            Decision::Hold(why) => (Value::Null, json!({"reason": why.name(), "message": why.to_string()})),
        };
        json!({"kind": id.kind, "namespace": id.namespace, "name": id.name, "outdated": reasons,
            "restart": action, "prevented": prevented})
    };
    let unproven: Vec<Value> = survey
        .found
        .unproven
        .iter()
        .map(|(id, why)| json!({"kind": id.kind, "namespace": id.namespace, "name": id.name, "error": why}))
        .collect();
    json!({
        "total": survey.found.total,
        "stale": survey.decisions.len() + survey.found.more,
        "workloads": survey.decisions.iter().map(workload).collect::<Vec<_>>(),
        "unknown": unproven,
    })
}

fn table(survey: &Survey) -> String {
    let mut rows = vec![["KIND", "NAMESPACE", "NAME", "RESTART", "OUTDATED"].map(str::to_owned)];
    for (finding, decision) in &survey.decisions {
        let id = &finding.workload;
        let restart = match decision {
            Decision::Restart(Method::Evict) => "yes, by evicting its pods".to_owned(),
            Decision::Restart(_) => "yes".to_owned(),
            Decision::Hold(why) => format!("no, {why}"),
        };
        let namespace = id.namespace.clone().unwrap_or_default();
        rows.push([id.kind.clone(), namespace, id.name.clone(), restart, sentence(&finding.reasons)]);
    }
    for (id, why) in &survey.found.unproven {
        let namespace = id.namespace.clone().unwrap_or_default();
        rows.push([id.kind.clone(), namespace, id.name.clone(), "unknown".to_owned(), why.clone()]);
    }
    let stale = survey.decisions.len() + survey.found.more;
    let summary = format!("{} workloads with a sidecar, {stale} of them outdated", survey.found.total);
    if rows.len() == 1 {
        return summary;
    }
    format!("{}\n\n{summary}", aligned(&rows))
}

fn aligned(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let line = |row: &[String; 5]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
