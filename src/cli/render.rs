//! `render`: every object that the operator would apply for a resource, in order, without a cluster.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use gotemplate::yaml;
use serde_json::Value;

use super::overrides::ValuesFileError;
use super::shared::{self, AllowArguments, VersionArguments};
use crate::api::{Istio, check_schema, names};
use crate::plan::configuration::{self, ClusterFacts};
use crate::plan::{self, OverrideRules, Plan, PlanInput, PlanOutcome, Stage};
use crate::validate::{self, Rejection};

/// The API server that is assumed where there is none; any supported version renders the same.
const KUBERNETES_VERSION: &str = "v1.36.0";

const API_VERSION: &str = "operator.kyma-project.io/v1alpha2";

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  Every object, in the order of its writing:
    istio-manager render -f istio.yaml
  For the kind of cluster that a file describes by its Nodes and ConfigMaps:
    kubectl get nodes -o yaml > cluster.yaml
    istio-manager render -f istio.yaml --cluster cluster.yaml
  Of another version of Istio, whose release is unpacked (mv istio-1.30.3/manifests ./charts/1.30.3):
    istio-manager render -f istio.yaml --charts-dir ./charts --istio-version 1.30.3
  What an edit changes, without a cluster:
    diff <(istio-manager render -f old.yaml) <(istio-manager render -f new.yaml)

Warnings go to standard error. A resource that the operator would refuse is refused here with the same words.";

/// Why nothing was rendered, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A file cannot be read.
    #[error("cannot read {}", display_name(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file is no YAML.
    #[error("{} is no YAML", display_name(path))]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Place and cause.
        source: yaml::Error,
    },
    /// A file has no resource to render.
    #[error("{} holds no resource of kind Istio ({API_VERSION}), but {found}", display_name(path))]
    NoResource {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        found: String,
    },
    /// A file has several resources, of which only one can be in charge.
    #[error("{} holds several resources of kind Istio ({}), give one of them", display_name(path), names.join(", "))]
    SeveralResources {
        /// The file.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// The resource has fields of a wrong type or value.
    #[error("the Istio resource in {} does not fit its definition: {}", display_name(path), problems.join("; "))]
    InvalidResource {
        /// The file.
        path: PathBuf,
        /// The fields, and what is wrong with them.
        problems: Vec<String>,
    },
    /// The resource does not fit its definition in another way.
    #[error("the Istio resource in {} does not fit its definition", display_name(path))]
    Decode {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The operator would refuse the resource.
    #[error("{}", .0.report())]
    Rejected(Rejection),
    /// The charts are not there.
    #[error("cannot load Istio's charts")]
    Charts(#[from] istio_charts::BundleError),
    /// The administrator's values cannot be used.
    #[error(transparent)]
    Values(#[from] ValuesFileError),
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

impl From<Rejection> for RenderError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
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

    #[command(flatten)]
    version: VersionArguments,

    #[command(flatten)]
    allow: AllowArguments,
}

/// Renders the resource and prints its objects as YAML documents.
pub fn render(arguments: &RenderArguments, output: &mut impl Write) -> Result<(), RenderError> {
    let plan = plan_resource(arguments)?;
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
pub(super) fn plan_resource(arguments: &RenderArguments) -> Result<Plan, RenderError> {
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
    let rules = OverrideRules {
        bundle: &bundle,
        images: &images,
        allow_patches: arguments.allow.overrides.allow_patches,
        override_mode: arguments.allow.overrides.overrides,
        administrator_values: &administrator_values,
    };
    let spec = plan::check_spec(&resource.spec, arguments.allow.feature_stage(), rules)?;
    let input = PlanInput {
        bundle: &bundle,
        facts: &ClusterFacts::from_objects(&objects)?,
        images: &images,
        kubernetes_version: KUBERNETES_VERSION,
        allow_patches: arguments.allow.overrides.allow_patches,
        override_mode: arguments.allow.overrides.overrides,
        administrator_values: &administrator_values,
        owner: None,
    };
    match plan::build_plan(&spec, input)? {
        PlanOutcome::Plan(plan) => Ok(plan),
        PlanOutcome::Rejected(rejection) => Err(rejection.into()),
    }
}

/// The one `Istio` resource of a file. Fields that it cannot have are told on standard error.
pub(super) fn read_resource(path: &Path) -> Result<Istio, RenderError> {
    let (mut resources, others): (Vec<Value>, Vec<Value>) =
        read_documents(path)?.into_iter().partition(is_istio);
    let path = || path.to_owned();
    if resources.len() > 1 {
        let names = resources.iter().map(name).collect();
        return Err(RenderError::SeveralResources { path: path(), names });
    }
    let Some(resource) = resources.pop() else {
        return Err(RenderError::NoResource { path: path(), found: describe_kinds(&others) });
    };
    let violations =
        check_schema(&resource["spec"]).map_err(|source| RenderError::Decode { path: path(), source })?;
    for unknown in &violations.unknown {
        eprintln!("warning: {unknown}; the API server drops it, and kubectl refuses it");
    }
    if !violations.invalid.is_empty() {
        return Err(RenderError::InvalidResource { path: path(), problems: violations.invalid });
    }
    serde_json::from_value(resource).map_err(|source| RenderError::Decode { path: path(), source })
}

fn is_istio(object: &Value) -> bool {
    object["kind"] == "Istio" && object["apiVersion"] == API_VERSION
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or("without a name").to_owned()
}

/// What objects are, for a person who took the wrong file.
fn describe_kinds(objects: &[Value]) -> String {
    let kind =
        |object: &Value| Some(format!("{} ({})", object["kind"].as_str()?, object["apiVersion"].as_str()?));
    let kinds: BTreeSet<String> = objects.iter().filter_map(kind).collect();
    if kinds.is_empty() {
        "nothing of Kubernetes".to_owned()
    } else {
        kinds.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// A file as it is called in messages.
fn display_name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn read_documents(path: &Path) -> Result<Vec<Value>, RenderError> {
    let failed = |source| RenderError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    let documents = yaml::parse_json_documents(&text);
    let documents = documents.map_err(|source| RenderError::Yaml { path: path.to_owned(), source })?;
    Ok(documents.into_iter().flat_map(items).collect())
}

/// The objects of a `List`, as `kubectl get` prints several, or the object itself.
fn items(mut document: Value) -> Vec<Value> {
    if document["kind"] != "List" {
        return vec![document];
    }
    match document["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_kubectl_are_split_into_objects() {
        let node = |name: &str| json!({"kind": "Node", "metadata": {"name": name}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [node("a"), node("b")]});
        assert_eq!(items(list), [node("a"), node("b")]);
        assert_eq!(items(node("a")), [node("a")]);
        assert_eq!(items(Value::Null), [Value::Null]);
    }
}
