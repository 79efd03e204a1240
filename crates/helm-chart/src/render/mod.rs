//! Renders a chart as Helm does: its dependencies, values and context, the order of its templates, and the objects in its
//! output.
//!
//! Pure. See <https://helm.sh/docs/chart_template_guide/builtin_objects/> for the objects that templates see. Templates have no
//! access to a cluster, and to a clock or randomness only through the [`Environment`].

mod capabilities;
mod context;
mod dependencies;
mod files;
mod manifests;
mod output;
mod values;

pub use capabilities::{Capabilities, DEFAULT_KUBERNETES_VERSION};
pub use context::{Operation, Release};
pub use output::Rendering;

use crate::chart::Chart;
use crate::yaml;
use gotemplate::{Environment, Limits, Map, Templates, Value as Data};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why a chart does not render.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A template does not parse or fails. The cause has file, line, column and expression.
    #[error("cannot render chart '{chart}'")]
    Template {
        /// Name of the chart.
        chart: String,
        /// Cause.
        source: Box<gotemplate::Error>,
    },
    /// The output of a template is not YAML.
    #[error("the output of '{file}' is not valid YAML from line {line} on")]
    Output {
        /// Path of the template, with the chart's name before it.
        file: String,
        /// First line of the document in the output.
        line: usize,
        /// Cause, with its position in the document.
        source: yaml::Error,
    },
    /// The output of a template is YAML, but not an object that Helm accepts.
    #[error("the output of '{file}' is not a Kubernetes object from line {line} on: {reason}")]
    NoObject {
        /// Path of the template, with the chart's name before it.
        file: String,
        /// First line of the document in the output.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The subcharts of a chart do not match Chart.yaml and values.
    #[error("chart '{chart}': {reason}")]
    Dependencies {
        /// Name of the chart.
        chart: String,
        /// What is wrong.
        reason: String,
    },
    /// A library defines templates for others and renders nothing itself.
    #[error("chart '{0}' is a library and cannot be installed")]
    Library(String),
    /// The chart does not support this version of Kubernetes.
    #[error(
        "chart '{chart}' requires kubeVersion {constraint}, which is incompatible with Kubernetes {version}"
    )]
    KubernetesVersion {
        /// Name of the chart.
        chart: String,
        /// Constraint in Chart.yaml.
        constraint: String,
        /// Version of the cluster.
        version: String,
    },
    /// The chart needs a cargo feature of this crate that the program was built without.
    #[error(
        "cannot check the values of chart '{chart}': this program was built without the feature '{feature}' of helm-chart"
    )]
    FeatureDisabled {
        /// Name of the chart.
        chart: String,
        /// The missing feature.
        feature: &'static str,
    },
    /// Values do not match a chart's schema; one line each.
    #[error("the values do not match the schema of chart '{chart}':\n{}", violations.join("\n"))]
    Schema {
        /// Name of the chart.
        chart: String,
        /// Path and problem of each violation.
        violations: Vec<String>,
    },
}

/// How a chart is rendered. Start with [`Options::install`] and set the fields that differ:
///
/// ```
/// use helm_chart::{Capabilities, Operation, Options};
///
/// let mut options = Options::install("demo", "default");
/// options.release.operation = Operation::Upgrade;
/// options.capabilities = Capabilities::of_version("v1.34.0");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Name, namespace and operation.
    pub release: Release,
    /// The cluster it is for.
    pub capabilities: Capabilities,
    /// Whether values are checked against `values.schema.json`.
    pub checks_schema: bool,
    /// What templates see besides values.
    pub environment: Environment,
    /// What templates may use up.
    pub limits: Limits,
    /// Whether templates see the integers of the values as such. To Helm every number of a values file is a float, which
    /// prints a large one as `8.388608e+06`.
    pub keeps_integers: bool,
}

impl Options {
    /// An installation, as `helm template` renders it, for the cluster that Helm assumes.
    #[must_use]
    pub fn install(name: &str, namespace: &str) -> Self {
        Self {
            release: Release {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                operation: Operation::Install,
            },
            capabilities: Capabilities::default(),
            checks_schema: true,
            environment: Environment::default(),
            limits: Limits::default(),
            keeps_integers: false,
        }
    }
}

/// Renders a chart with values over its defaults.
///
/// NOTES.txt is rendered too, so that a chart can refuse values there.
pub fn render(chart: &Chart, user: &Value, options: &Options) -> Result<Rendering, RenderError> {
    if chart.metadata.is_library() {
        return Err(RenderError::Library(chart.name().to_owned()));
    }
    let failed = |reason: String| RenderError::Dependencies { chart: chart.name().to_owned(), reason };
    let prepared;
    let chart = if chart.dependencies.is_empty() && chart.metadata.dependencies.is_none() {
        chart
    } else {
        let mut copy = chart.clone();
        dependencies::process(&mut copy, user).map_err(failed)?;
        prepared = copy;
        &prepared
    };
    let table = if options.keeps_integers { values::table_with_integers } else { values::table };
    let values = values::coalesce_table(chart, table(user), values::Nulls::Coalesce).map_err(failed)?;
    if options.checks_schema && has_schema(chart) {
        check_schema(chart, &values::to_json(&values).map_err(failed)?)?;
    }
    check_kubernetes_version(chart, &options.capabilities)?;
    let files = execute(chart, &values, options)?;
    Ok(Rendering::new(chart, files))
}

/// Whether a chart or one of its subcharts has a schema.
fn has_schema(chart: &Chart) -> bool {
    chart.schema.is_some() || chart.dependencies.iter().any(has_schema)
}

#[cfg(feature = "schema")]
fn check_schema(chart: &Chart, values: &Value) -> Result<(), RenderError> {
    crate::schema::check(chart, values)
}

/// Unchecked values must not pass as checked.
#[cfg(not(feature = "schema"))]
fn check_schema(chart: &Chart, _: &Value) -> Result<(), RenderError> {
    Err(RenderError::FeatureDisabled { chart: chart.name().to_owned(), feature: "schema" })
}

fn check_kubernetes_version(chart: &Chart, capabilities: &Capabilities) -> Result<(), RenderError> {
    let constraint = &chart.metadata.kube_version;
    if constraint.is_empty() || dependencies::is_compatible(constraint, &capabilities.normal_version()) {
        return Ok(());
    }
    Err(RenderError::KubernetesVersion {
        chart: chart.name().to_owned(),
        constraint: constraint.clone(),
        version: capabilities.kubernetes_version.clone(),
    })
}

/// The output of every template that is not a partial, by its path.
fn execute(chart: &Chart, values: &Map, options: &Options) -> Result<BTreeMap<String, String>, RenderError> {
    let failed = |source| RenderError::Template { chart: chart.name().to_owned(), source: Box::new(source) };
    let scopes = context::scopes(chart, values, &options.release, &options.capabilities);
    let mut names = Vec::new();
    for scope in &scopes {
        for template in &scope.chart.templates {
            if !scope.chart.metadata.is_library() || is_partial(&template.path) {
                names.push((format!("{}/{}", scope.path, template.path), scope, &template.text));
            }
        }
    }
    // The deepest folder first and then from Z to A: the order in which Helm parses and executes. Istio's charts rely on
    // it, their `zzz_profile.yaml` prepares the values for all others.
    names.sort_by(|(a, ..), (b, ..)| (depth(b), b).cmp(&(depth(a), a)));
    let mut templates = Templates::with_environment(options.environment.clone());
    templates.set_limits(options.limits);
    for (name, _, text) in &names {
        templates.parse(name, text).map_err(failed)?;
    }
    let mut files = BTreeMap::new();
    for (name, scope, _) in names.iter().filter(|(name, ..)| !is_partial(name)) {
        scope.dot.insert("Template", context::template(&scope.path, name));
        let text = templates.execute(name, &Data::Map(scope.dot.clone())).map_err(failed)?;
        // Helm removes what Go prints for a missing value.
        let text = if text.contains("<no value>") { text.replace("<no value>", "") } else { text };
        files.insert(name.clone(), text);
    }
    Ok(files)
}

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

/// Partials only define templates for others.
fn is_partial(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with('_'))
}
