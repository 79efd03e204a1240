//! `diff`: what applying a resource would change in the cluster, without changing it.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::StreamExt;
use istio_charts::Bundle;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};

use super::flags::parse_bool;
use super::{identity, render, report};
use crate::api::{Istio, names};
use crate::apply::inventory::Store;
use crate::apply::server_side::passes_by_itself;
use crate::kubernetes::{self, ConnectError};
use crate::observe::cluster::ClusterWatch;
use crate::observe::{self, installed, observe};
use crate::plan::configuration::{self, Images};
use crate::plan::{self, Basis, Desired};
use crate::preview::{self, Change, Style};
use crate::validate::{self, Flavour, Rejection, version};

/// Waits for the API server to serve a new kind.
const DEFINITION_DELAYS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// Why it cannot be told what would change.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The resource cannot be read.
    #[error(transparent)]
    Input(#[from] render::RenderError),
    /// There is no cluster to compare with.
    #[error("there is no connection to a Kubernetes cluster; name one with --kubeconfig")]
    Connect(#[from] ConnectError),
    /// The Istio resources of the cluster cannot be listed, so it is not known which one counts.
    #[error("cannot list the Istio resources of the cluster")]
    Resources(#[source] Box<kube::Error>),
    /// The operator would refuse the resource.
    #[error("the operator would refuse the resource and change nothing")]
    Rejected(#[from] Rejection),
    /// The cluster cannot be read.
    #[error("cannot observe the cluster")]
    Observe(#[from] observe::Error),
    /// It cannot be told which version is installed.
    #[error("cannot tell which Istio is installed")]
    Installed(#[from] installed::Error),
    /// The charts are not there.
    #[error("cannot load Istio's charts")]
    Charts(#[from] istio_charts::BundleError),
    /// The environment names images that cannot be used.
    #[error("cannot use the images that the environment names")]
    Images(#[from] configuration::ImagesError),
    /// There is nothing to compare with.
    #[error("cannot plan the installation")]
    Plan(#[from] plan::Error),
    /// An object cannot be compared.
    #[error("cannot tell what would change")]
    Preview(#[from] preview::Error),
    /// Nothing can run.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// The differences cannot be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

/// When a diff is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless the variable `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What `diff` is told on the command line.
#[derive(Args, Debug)]
pub struct DiffArguments {
    /// File with the Istio resource; - reads standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: PathBuf,

    /// Kubeconfig file; without it: the files named by KUBECONFIG, else the Pod's service account, else
    /// ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Namespace of the operator, which has its inventory; without it: that of the Pod, else kyma-system
    #[arg(long = "operator-namespace", env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    operator_namespace: Option<String>,

    /// Further Istio versions, <DIRECTORY>/<version>/{charts,profiles}, beside the embedded one
    #[arg(long, value_name = "DIRECTORY")]
    charts_dir: Option<PathBuf>,

    /// Istio version to compare with; without it the embedded one
    #[arg(long, env = "ISTIO_VERSION", value_name = "VERSION")]
    istio_version: Option<String>,

    /// Follow spec.patches, as an operator with this flag does
    #[arg(long)]
    allow_patches: bool,

    /// Follow spec.experimental, as an operator with this flag does
    #[arg(long, env = "ALLOW_EXPERIMENTAL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL")]
    allow_experimental: bool,

    /// When to colour the differences
    #[arg(long, visible_alias = "colour", value_enum, default_value = "auto", value_name = "WHEN")]
    color: Colour,
}

/// Prints the differences. Exit codes as `kubectl diff`: 0 without differences, 1 with some, 2 when they cannot be told.
pub fn main(arguments: &DiffArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(DiffError::Runtime).and_then(|runtime| runtime.block_on(diff(arguments)));
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => report::trouble(&error),
    }
}

/// Prints the differences and returns how many objects would change.
async fn diff(arguments: &DiffArguments) -> Result<usize, DiffError> {
    let resource = render::resource(&arguments.filename)?;
    let client = kubernetes::connect(arguments.kubeconfig.as_deref()).await?;
    let resource = in_its_place(&client, resource).await?;
    let spec = validate::validate(&resource.spec, Flavour::of(arguments.allow_experimental))?;
    let bundle = Bundle::select(arguments.charts_dir.as_deref(), arguments.istio_version.as_deref())?;
    let installed = installed::version(&client, Some(&resource)).await?;
    let allowed = resource.annotations().get(names::ALLOW_DOWNGRADE_ANNOTATION);
    version::step(installed.as_deref(), bundle.version(), allowed.map(String::as_str))?;
    let images = Images::from_environment(|name| std::env::var(name).ok(), bundle.version())?;
    let namespace = identity::namespace(arguments.operator_namespace.as_deref());
    let cluster = ClusterWatch::start(client.clone(), &namespace);
    let observed = observe(&client, &Store::new(client.clone(), &namespace), &cluster).await?;
    let verdict = &observed.outlook.verdict;
    for complaint in &verdict.complaints {
        eprintln!("warning: {complaint}");
    }
    let owner = resource.owner_ref(&());
    let basis = Basis {
        bundle: &bundle,
        facts: &verdict.facts,
        images: &images,
        kubernetes_version: &observed.kubernetes_version,
        allow_patches: arguments.allow_patches,
        owner: owner.as_ref(),
    };
    let plan = match plan::desired(&spec, basis)? {
        Desired::Plan(plan) => plan,
        Desired::Rejected(rejection) => return Err(rejection.into()),
    };
    for warning in plan.warnings() {
        eprintln!("warning: {warning}");
    }
    let style = style(arguments.color);
    let mut changes = std::pin::pin!(preview::preview(&client, &plan, &observed.inventory)?);
    let mut summary = Summary::default();
    while let Some(change) = changes.next().await {
        let change = change?;
        summary.count(&change);
        print(&preview::unified(&change, style))?;
    }
    eprintln!("{summary}");
    Ok(summary.total())
}

/// The resource as it would be in the cluster, if it would be in charge there.
async fn in_its_place(client: &Client, mut resource: Istio) -> Result<Istio, DiffError> {
    let all = resources(client).await.map_err(|source| DiffError::Resources(Box::new(source)))?;
    let namespace = resource.namespace().unwrap_or_else(|| names::OPERATOR_NAMESPACE.to_owned());
    let same = |other: &&Istio| {
        other.namespace().as_ref() == Some(&namespace) && other.name_any() == resource.name_any()
    };
    let live = all.iter().find(same).map(|live| live.metadata.clone());
    resource.metadata.namespace = Some(namespace);
    if let Some(live) = live {
        resource.metadata.uid = live.uid;
        resource.metadata.creation_timestamp = live.creation_timestamp;
        // An apply leaves the annotations that are not in the file.
        let own = resource.metadata.annotations.take().unwrap_or_default();
        resource.metadata.annotations = Some(live.annotations.into_iter().flatten().chain(own).collect());
    }
    match validate::eligibility(&all, &resource, names::OPERATOR_NAMESPACE).rejection() {
        Some(rejection) => Err(rejection.into()),
        None => Ok(resource),
    }
}

/// All Istio resources; none where there is no such kind. A kind that was only just defined is waited for.
async fn resources(client: &Client) -> Result<Vec<Istio>, kube::Error> {
    let api: Api<Istio> = Api::all(client.clone());
    for delay in DEFINITION_DELAYS {
        match kubernetes::if_found(api.list(&ListParams::default()).await) {
            Err(error) if passes_by_itself(&error) => tokio::time::sleep(delay).await,
            answer => return Ok(answer?.map(|all| all.items).unwrap_or_default()),
        }
    }
    Ok(api.list(&ListParams::default()).await?.items)
}

fn style(colour: Colour) -> Style {
    let coloured = match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    if coloured { Style::Coloured } else { Style::Plain }
}

fn print(text: &str) -> Result<(), DiffError> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads, such as `head`, has seen enough; the exit code still counts.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(DiffError::Print(error)),
        _ => Ok(()),
    }
}

/// How many objects would change, and how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    created: usize,
    changed: usize,
    deleted: usize,
}

impl Summary {
    fn count(&mut self, change: &Change) {
        match (&change.before, &change.after) {
            _ if change.is_none() => {}
            (None, _) => self.created += 1,
            (_, None) => self.deleted += 1,
            _ => self.changed += 1,
        }
    }

    fn total(&self) -> usize {
        self.created + self.changed + self.deleted
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { created, changed, deleted } = self;
        if self.total() == 0 {
            return f.write_str("nothing would change");
        }
        write!(f, "{created} objects would be created, {changed} changed, {deleted} deleted")
    }
}
