//! Renders one chart as Helm's engine does: its context, the order of its templates, and the objects in its output.
//!
//! Pure. See <https://helm.sh/docs/chart_template_guide/builtin_objects/> for what templates see. `.Capabilities` has the
//! server's version only, and no template can look into a cluster.

mod context;
mod output;
mod values;

pub use context::Release;
pub use output::Rendering;

use crate::chart::Chart;
use crate::yaml;
use gotemplate::{Templates, Value as Data};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why a chart does not render.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A template does not parse or fails. The cause has file, line, column and expression.
    #[error("rendering chart '{chart}'")]
    Template {
        /// Name of the chart.
        chart: String,
        /// Cause.
        source: Box<gotemplate::Error>,
    },
    /// A template's output is no YAML.
    #[error("the output of '{file}' from line {line} on is no valid YAML")]
    Output {
        /// Path of the template, with the chart's name before it.
        file: String,
        /// First line of the document in the output.
        line: usize,
        /// Cause, with its position in the document.
        source: yaml::Error,
    },
}

/// Renders `chart` with `values` over its defaults, for a server of version `kubernetes_version` such as `v1.36.3`.
///
/// NOTES.txt is rendered too, so that a chart can refuse values there.
pub fn render(
    chart: &Chart,
    values: &Value,
    release: &Release,
    kubernetes_version: &str,
) -> Result<Rendering, RenderError> {
    let failed = |source| RenderError::Template { chart: chart.name.clone(), source: Box::new(source) };
    let names = execution_order(chart);
    let mut templates = Templates::new();
    for (name, path) in &names {
        templates.parse(name, &chart.templates[*path]).map_err(failed)?;
    }
    let root = context::root(chart, &values::coalesce(&chart.values, values), release, kubernetes_version);
    let dot = Data::Map(root.clone());
    let mut files = BTreeMap::new();
    for (name, path) in names.iter().filter(|(_, path)| !is_partial(path)) {
        root.insert("Template", context::template(chart, name));
        let text = templates.execute(name, &dot).map_err(failed)?;
        // A missing value prints as this; Helm takes it out of every file.
        files.insert((*path).to_owned(), text.replace("<no value>", ""));
    }
    Ok(Rendering::new(chart.name.clone(), files))
}

/// Names of the templates with their paths in the chart, deepest folder first and then from Z to A: the order in which
/// Helm parses and executes. Istio's charts rely on it, their `zzz_profile.yaml` prepares the values for all others.
fn execution_order(chart: &Chart) -> Vec<(String, &str)> {
    let mut names: Vec<_> =
        chart.templates.keys().map(|path| (format!("{}/{path}", chart.name), path.as_str())).collect();
    names.sort_by(|(a, _), (b, _)| (depth(b), b).cmp(&(depth(a), a)));
    names
}

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

/// Partials only define templates for others.
fn is_partial(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with('_'))
}
