//! `diff`: shows what applying a resource would change in the cluster, without changing it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::StreamExt;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};

use super::error::CliError;
use super::input::read_resource;
use super::output;
use super::shared::{self, AllowArguments, ClusterArguments, VersionArguments};
use crate::api::{Istio, names};
use crate::diff::{self, ObjectDiff, Style};
use crate::gather::cluster::ClusterWatch;
use crate::gather::{gather, installed};
use crate::inventory::InventoryStore;
use crate::kubernetes;
use crate::plan::{self, PlanInput, PlanOutcome};
use crate::ssa::apply::is_transient;
use crate::validate::{self, version};

/// Delays between attempts to list a kind that the API server does not serve yet.
const CRD_RETRY_DELAYS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// When a diff is colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColorMode {
    /// On a terminal, unless the environment variable `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Examples of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  # Show what applying a resource would change
    istio-manager diff -f istio.yaml

  # Show what an upgrade would change, with the binary of the new version
    kubectl get istio default -n kyma-system -o yaml | istio-manager diff -f -

  # Test whether the cluster matches a resource
    istio-manager diff -f istio.yaml > /dev/null && echo in sync

Objects are compared with a server-side dry run, and nothing is written. Use the flags and the image variables that the
operator runs with. Differences are printed to standard output; warnings and a summary to standard error.

Exit codes:
  0  no differences
  1  differences found
  2  an error occurred";

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArguments {
    /// File that contains the Istio resource, or - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: PathBuf,

    #[command(flatten)]
    cluster: ClusterArguments,

    #[command(flatten)]
    version: VersionArguments,

    #[command(flatten)]
    allow: AllowArguments,

    /// When to color the differences
    #[arg(long, visible_alias = "colour", value_enum, default_value = "auto", value_name = "WHEN")]
    color: ColorMode,
}

/// Prints the differences. Exits like `kubectl diff`: 0 without differences, 1 with differences, more than 1 after an error.
pub(super) fn main(arguments: &DiffArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(CliError::Runtime).and_then(|runtime| runtime.block_on(diff(arguments)));
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => error.report(2),
    }
}

/// Prints the differences and returns how many objects would change.
async fn diff(arguments: &DiffArguments) -> Result<usize, CliError> {
    let resource = read_resource(&arguments.filename)?;
    let client = arguments.cluster.connect().await?;
    let resource = with_live_metadata(&client, resource).await?;
    let bundle = arguments.version.bundle()?;
    let images = shared::images(&bundle)?;
    let administrator_values = arguments.allow.overrides.administrator_values()?;
    let rules = arguments.allow.overrides.rules(&bundle, &images, &administrator_values);
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
        rules,
        facts: &decision.facts,
        kubernetes_version: &observed.kubernetes_version,
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
        output::print(&diff::unified(&change, style))?;
    }
    eprintln!("{summary}");
    Ok(summary.total())
}

/// The resource with the metadata that it has in the cluster, or a rejection if another resource is active there.
async fn with_live_metadata(client: &Client, mut resource: Istio) -> Result<Istio, CliError> {
    let all = list_resources(client).await.map_err(|source| CliError::ListResources {
        scope: "all namespaces".to_owned(),
        source: Box::new(source),
    })?;
    let namespace = resource.namespace().unwrap_or_else(|| names::OPERATOR_NAMESPACE.to_owned());
    let same = |other: &&Istio| {
        other.namespace().as_ref() == Some(&namespace) && other.name_any() == resource.name_any()
    };
    let live = all.iter().find(same).map(|live| live.metadata.clone());
    resource.metadata.namespace = Some(namespace);
    if let Some(live) = live {
        resource.metadata.uid = live.uid;
        resource.metadata.creation_timestamp = live.creation_timestamp;
        // An apply keeps annotations that are not in the file.
        let own = resource.metadata.annotations.take().unwrap_or_default();
        resource.metadata.annotations = Some(live.annotations.into_iter().flatten().chain(own).collect());
    }
    match validate::check_active_instance(&all, &resource, names::OPERATOR_NAMESPACE).rejection() {
        Some(rejection) => Err(rejection.into()),
        None => Ok(resource),
    }
}

/// Lists all Istio resources; none without the CRD. Retries while the API server does not serve a new CRD yet.
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

fn style(color: ColorMode) -> Style {
    let colored = match color {
        ColorMode::Always => true,
        ColorMode::Never => false,
        ColorMode::Auto => output::is_colored(),
    };
    if colored { Style::Colored } else { Style::Plain }
}

/// Number of objects that would change.
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
            return f.write_str("no changes");
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
        assert_eq!(summary(0, 0, 0), "no changes");
        assert_eq!(summary(1, 2, 0), "1 object would be created, 2 changed, 0 deleted");
        assert_eq!(summary(53, 0, 1), "53 objects would be created, 0 changed, 1 deleted");
    }
}
