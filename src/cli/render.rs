//! `render`: every object that the operator would apply for a resource, in order, without a cluster.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use gotemplate::yaml;
use istio_charts::Bundle;
use serde_json::Value;

use super::flags::parse_bool;
use crate::api::{Istio, names};
use crate::plan::configuration::{self, ClusterFacts, Images};
use crate::plan::{self, Basis, Desired, Plan, Stage};
use crate::validate::{self, Flavour, Rejection};

/// The API server that is assumed where there is none; any supported version renders the same.
const KUBERNETES_VERSION: &str = "v1.36.0";

/// Why nothing was rendered, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file is no YAML.
    #[error("{} is no YAML", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Place and cause.
        source: yaml::Error,
    },
    /// A file has no resource to render.
    #[error("{} holds no resource of kind Istio ({})", path.display(), "operator.kyma-project.io/v1alpha2")]
    NoResource {
        /// The file.
        path: PathBuf,
    },
    /// The resource has a field of a wrong type or value.
    #[error("the Istio resource in {} does not fit its definition", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The field and cause.
        source: serde_json::Error,
    },
    /// The operator would refuse the resource.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The charts are not there.
    #[error("cannot load Istio's charts")]
    Charts(#[from] istio_charts::BundleError),
    /// The environment names images that cannot be used.
    #[error("cannot use the images that the environment names")]
    Images(#[from] configuration::ImagesError),
    /// The objects that stand for the cluster make no sense.
    #[error("cannot derive the facts of the cluster")]
    Facts(#[from] configuration::FactsError),
    /// The resource gives no configuration, or the charts do not render.
    #[error("cannot plan the installation")]
    Plan(#[from] plan::Error),
    /// The objects cannot be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

/// What `render` is told on the command line.
#[derive(Args, Debug)]
pub struct RenderArguments {
    /// File with the Istio resource; - reads standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub filename: PathBuf,

    /// File with the Kubernetes objects (Nodes, ConfigMaps, ...) that stand for the cluster; without it: a cluster
    /// of production size at an unknown provider
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,

    /// Further Istio versions, <DIRECTORY>/<version>/{charts,profiles}, beside the embedded one
    #[arg(long, value_name = "DIRECTORY")]
    pub charts_dir: Option<PathBuf>,

    /// Istio version to render; without it the embedded one
    #[arg(long, env = "ISTIO_VERSION", value_name = "VERSION")]
    pub istio_version: Option<String>,

    /// Follow spec.patches, as an operator with this flag does
    #[arg(long)]
    pub allow_patches: bool,
    /// Follow spec.experimental, which is refused otherwise
    #[arg(long, env = "ALLOW_EXPERIMENTAL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = parse_bool, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub allow_experimental: bool,
}

/// Renders the resource and prints its objects as YAML documents.
pub fn render(arguments: &RenderArguments, output: &mut impl Write) -> Result<(), RenderError> {
    let plan = planned(arguments)?;
    for warning in plan.warnings() {
        eprintln!("warning: {warning}");
    }
    for stage in Stage::ALL {
        for object in plan.objects(stage) {
            let (_, object) = object?;
            match writeln!(output, "---\n{}", yaml::json_to_string(&object)) {
                // Whoever reads, such as `head`, has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => result.map_err(RenderError::Print)?,
            }
        }
    }
    Ok(())
}

/// What the operator would apply for the resource.
pub(super) fn planned(arguments: &RenderArguments) -> Result<Plan, RenderError> {
    let mut resource = resource(&arguments.filename)?;
    resource.metadata.namespace.get_or_insert_with(|| names::OPERATOR_NAMESPACE.to_owned());
    if let Some(rejection) =
        validate::eligibility([&resource], &resource, names::OPERATOR_NAMESPACE).rejection()
    {
        return Err(rejection.into());
    }
    let spec = validate::validate(&resource.spec, Flavour::of(arguments.allow_experimental))?;
    let objects = match &arguments.cluster {
        Some(path) => documents(path)?,
        None => Vec::new(),
    };
    let bundle = Bundle::select(arguments.charts_dir.as_deref(), arguments.istio_version.as_deref())?;
    let images = Images::from_environment(|name| std::env::var(name).ok(), bundle.version())?;
    let basis = Basis {
        bundle: &bundle,
        facts: &ClusterFacts::from_objects(&objects)?,
        images: &images,
        kubernetes_version: KUBERNETES_VERSION,
        allow_patches: arguments.allow_patches,
        owner: None,
    };
    match plan::desired(&spec, basis)? {
        Desired::Plan(plan) => Ok(plan),
        Desired::Rejected(rejection) => Err(rejection.into()),
    }
}

pub(super) fn resource(path: &Path) -> Result<Istio, RenderError> {
    let is_istio = |object: &Value| {
        object["kind"] == "Istio" && object["apiVersion"] == "operator.kyma-project.io/v1alpha2"
    };
    let found = documents(path)?.into_iter().find(is_istio);
    let resource = found.ok_or_else(|| RenderError::NoResource { path: path.to_owned() })?;
    serde_json::from_value(resource).map_err(|source| RenderError::Schema { path: path.to_owned(), source })
}

fn documents(path: &Path) -> Result<Vec<Value>, RenderError> {
    let failed = |source| RenderError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    yaml::parse_json_documents(&text).map_err(|source| RenderError::Yaml { path: path.to_owned(), source })
}
