//! `render`: prints the objects that the operator would apply for a resource, in order, without a cluster.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use gotemplate::yaml;

use super::error::CliError;
use super::input::{read_documents, read_resource};
use super::shared::{self, AllowArguments, VersionArguments};
use crate::api::names;
use crate::plan::configuration::ClusterFacts;
use crate::plan::{self, Plan, PlanInput, PlanOutcome, Stage};
use crate::validate;

/// The version of the API server that is assumed. Every supported version renders the same objects.
const KUBERNETES_VERSION: &str = "v1.36.0";

/// Examples of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  # Print the objects for a resource, in the order in which they are applied
    istio-manager render -f istio.yaml

  # Render for a cluster with the given Nodes and ConfigMaps
    kubectl get nodes -o yaml > cluster.yaml
    istio-manager render -f istio.yaml --cluster cluster.yaml

  # Render another version of Istio, after: mv istio-1.30.3/manifests ./charts/1.30.3
    istio-manager render -f istio.yaml --charts-dir ./charts --istio-version 1.30.3

  # Show the effect of an edit without a cluster
    diff <(istio-manager render -f old.yaml) <(istio-manager render -f new.yaml)

Warnings are printed to standard error. A resource that the operator would reject is rejected with the same message.";

/// Arguments of `render`.
#[derive(Args, Debug)]
pub(crate) struct RenderArguments {
    /// File that contains the Istio resource, or - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: PathBuf,

    /// File that contains the Kubernetes objects (Nodes, ConfigMaps) of the cluster to render for. If not set, a cluster of
    /// production size without a known provider is assumed
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,

    #[command(flatten)]
    version: VersionArguments,

    #[command(flatten)]
    allow: AllowArguments,
}

/// Renders the resource and prints its objects as YAML documents.
pub(super) fn render(arguments: &RenderArguments, output: &mut impl Write) -> Result<(), CliError> {
    let plan = plan_resource(arguments)?;
    for warning in plan.warnings() {
        eprintln!("warning: {warning}");
    }
    for stage in Stage::ALL {
        for object in plan.objects(stage) {
            let (_, object) = object?;
            match writeln!(output, "---\n{}", yaml::json_to_string(&object)) {
                // The reader, such as `head`, has closed the pipe.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => result.map_err(CliError::Print)?,
            }
        }
    }
    Ok(())
}

/// Plans the objects that the operator would apply for the resource.
pub(super) fn plan_resource(arguments: &RenderArguments) -> Result<Plan, CliError> {
    let mut resource = read_resource(&arguments.filename)?;
    resource.metadata.namespace.get_or_insert_with(|| names::OPERATOR_NAMESPACE.to_owned());
    if let Some(rejection) =
        validate::check_active_instance([&resource], &resource, names::OPERATOR_NAMESPACE).rejection()
    {
        return Err(rejection.into());
    }
    let objects = match &arguments.cluster {
        Some(path) => read_documents(path)?,
        None => Vec::new(),
    };
    let bundle = arguments.version.bundle()?;
    let images = shared::images(&bundle)?;
    let administrator_values = arguments.allow.overrides.administrator_values()?;
    let facts = ClusterFacts::from_objects(&objects)?;
    let rules = arguments.allow.overrides.rules(&bundle, &images, &administrator_values);
    let input = PlanInput { rules, facts: &facts, kubernetes_version: KUBERNETES_VERSION, owner: None };
    let spec = plan::check_spec(&resource.spec, arguments.allow.feature_stage(), rules)?;
    match plan::build_plan(&spec, input)? {
        PlanOutcome::Plan(plan) => Ok(plan),
        PlanOutcome::Rejected(rejection) => Err(rejection.into()),
    }
}
