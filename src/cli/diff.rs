//! `diff`: what applying a resource would change in the cluster, without changing it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::StreamExt;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};

use super::overrides::ValuesFileError;
use super::shared::{self, AllowArguments, ClusterArguments, VersionArguments};
use super::{render, report};
use crate::api::{Istio, names};
use crate::diff::{self, ObjectDiff, Style};
use crate::gather::cluster::ClusterWatch;
use crate::gather::{self, gather, installed};
use crate::inventory::InventoryStore;
use crate::kubernetes::{self, ConnectError};
use crate::plan::configuration;
use crate::plan::{self, OverrideRules, PlanInput, PlanOutcome};
use crate::ssa::apply::is_transient;
use crate::validate::{self, Rejection, version};

/// Waits for the API server to serve a new kind.
const CRD_RETRY_DELAYS: [Duration; 3] =
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
    #[error("the operator would refuse the resource and change nothing\n  because: {}", .0.report())]
    Rejected(Rejection),
    /// The cluster cannot be read.
    #[error("cannot observe the cluster")]
    Gather(#[from] gather::Error),
    /// It cannot be told which version is installed.
    #[error("cannot tell which Istio is installed")]
    Installed(#[from] installed::Error),
    /// The charts are not there.
    #[error("cannot load Istio's charts")]
    Charts(#[from] istio_charts::BundleError),
    /// The administrator's values cannot be used.
    #[error(transparent)]
    Values(#[from] ValuesFileError),
    /// The environment names images that cannot be used.
    #[error("cannot use the images that the environment names")]
    Images(#[from] configuration::ImagesError),
    /// There is nothing to compare with.
    #[error("cannot plan the installation")]
    Plan(#[from] plan::Error),
    /// An object cannot be compared.
    #[error("cannot tell what would change")]
    Compare(#[from] diff::Error),
    /// Nothing can run.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// The differences cannot be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

impl From<Rejection> for DiffError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
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

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  What applying the resource would change:
    istio-manager diff -f istio.yaml
  What an upgrade would change, with the program of the new version:
    kubectl get istio default -n kyma-system -o yaml | istio-manager diff -f -
  Whether the cluster is as the resource says:
    istio-manager diff -f istio.yaml > /dev/null && echo nothing would change

Nothing is written: the API server is asked by dry run. Give this command the flags and image variables that the operator
runs with. Exit codes: 0 without differences, 1 with some, 2 after an error. Differences go to standard output, a summary
and warnings to standard error.";

/// What `diff` is told on the command line.
#[derive(Args, Debug)]
pub struct DiffArguments {
    /// File with the Istio resource; - reads standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: PathBuf,

    #[command(flatten)]
    cluster: ClusterArguments,

    #[command(flatten)]
    version: VersionArguments,

    #[command(flatten)]
    allow: AllowArguments,

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
        Err(error) => report::report_trouble(&error),
    }
}

/// Prints the differences and returns how many objects would change.
async fn diff(arguments: &DiffArguments) -> Result<usize, DiffError> {
    let resource = render::read_resource(&arguments.filename)?;
    let client = arguments.cluster.connect().await?;
    let resource = with_live_metadata(&client, resource).await?;
    let bundle = arguments.version.bundle()?;
    let images = shared::images(&bundle)?;
    let administrator_values = arguments.allow.overrides.administrator_values()?;
    let rules = OverrideRules {
        bundle: &bundle,
        images: &images,
        allow_patches: arguments.allow.overrides.allow_patches,
        override_mode: arguments.allow.overrides.overrides,
        administrator_values: &administrator_values,
    };
    let spec = plan::check_spec(&resource.spec, arguments.allow.feature_stage(), rules)?;
    let installed = installed::version(&client, Some(&resource)).await?;
    let allowed = resource.annotations().get(names::ALLOW_DOWNGRADE_ANNOTATION);
    version::check_version_step(installed.as_deref(), bundle.version(), allowed.map(String::as_str))?;
    let namespace = arguments.cluster.namespace();
    let cluster = ClusterWatch::start(client.clone(), &namespace);
    let observed = gather(&client, &InventoryStore::new(client.clone(), &namespace), &cluster).await?;
    let decision = &observed.cluster_view.decision;
    for error in &decision.errors {
        eprintln!("warning: {error}");
    }
    let owner = resource.owner_ref(&());
    let input = PlanInput {
        bundle: &bundle,
        facts: &decision.facts,
        images: &images,
        kubernetes_version: &observed.kubernetes_version,
        allow_patches: arguments.allow.overrides.allow_patches,
        override_mode: arguments.allow.overrides.overrides,
        administrator_values: &administrator_values,
        owner: owner.as_ref(),
    };
    let plan = match plan::build_plan(&spec, input)? {
        PlanOutcome::Plan(plan) => plan,
        PlanOutcome::Rejected(rejection) => return Err(rejection.into()),
    };
    for warning in plan.warnings() {
        eprintln!("warning: {warning}");
    }
    let style = style(arguments.color);
    let mut changes = std::pin::pin!(diff::diff(&client, &plan, &observed.inventory)?);
    let mut summary = Summary::default();
    while let Some(change) = changes.next().await {
        let change = change?;
        summary.count(&change);
        print(&diff::unified(&change, style))?;
    }
    eprintln!("{summary}");
    Ok(summary.total())
}

/// The resource as it would be in the cluster, if it would be in charge there.
async fn with_live_metadata(client: &Client, mut resource: Istio) -> Result<Istio, DiffError> {
    let all = list_resources(client).await.map_err(|source| DiffError::Resources(Box::new(source)))?;
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
    match validate::check_active_instance(&all, &resource, names::OPERATOR_NAMESPACE).rejection() {
        Some(rejection) => Err(rejection.into()),
        None => Ok(resource),
    }
}

/// All Istio resources; none where there is no such kind. A kind that was only just defined is waited for.
async fn list_resources(client: &Client) -> Result<Vec<Istio>, kube::Error> {
    let api: Api<Istio> = Api::all(client.clone());
    for delay in CRD_RETRY_DELAYS {
        match kubernetes::ok_if_not_found(api.list(&ListParams::default()).await) {
            Err(error) if is_transient(&error) => tokio::time::sleep(delay).await,
            result => return Ok(result?.map(|all| all.items).unwrap_or_default()),
        }
    }
    Ok(api.list(&ListParams::default()).await?.items)
}

fn style(colour: Colour) -> Style {
    let coloured = match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => shared::is_coloured(),
    };
    if coloured { Style::Colored } else { Style::Plain }
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
    fn count(&mut self, change: &ObjectDiff) {
        match (&change.before, &change.after) {
            _ if change.is_unchanged() => {}
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
        let objects = if *created == 1 { "object" } else { "objects" };
        write!(f, "{created} {objects} would be created, {changed} changed, {deleted} deleted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_the_changes() {
        let summary = |created, changed, deleted| Summary { created, changed, deleted }.to_string();
        assert_eq!(summary(0, 0, 0), "nothing would change");
        assert_eq!(summary(1, 2, 0), "1 object would be created, 2 changed, 0 deleted");
        assert_eq!(summary(53, 0, 1), "53 objects would be created, 0 changed, 1 deleted");
    }
}
