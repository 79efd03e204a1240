//! Renders one chart as Helm's engine does: its context, the order of its templates, and the objects in its output.
//!
//! Pure. See <https://helm.sh/docs/chart_template_guide/builtin_objects/> for what templates see.

mod values;

use crate::chart::Chart;
use serde_json::Value;
use std::collections::BTreeMap;

/// Why a chart does not render.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Templates cannot be evaluated.
    #[error("chart '{chart}': templates cannot be evaluated")]
    Evaluate {
        /// Name of the chart.
        chart: String,
    },
}

/// What templates see as `.Release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Name of the release.
    pub name: String,
    /// Namespace it is installed into.
    pub namespace: String,
}

/// The output of a chart's templates.
#[derive(Debug, Clone)]
pub struct Rendering {
    files: BTreeMap<String, String>,
}

impl Rendering {
    /// The text of NOTES.txt; empty without one.
    #[must_use]
    pub fn notes(&self) -> &str {
        self.files.iter().find(|(path, _)| path.ends_with("NOTES.txt")).map_or("", |(_, text)| text)
    }

    /// The Kubernetes objects, by file name and then in the order of the file.
    pub fn objects(&self) -> Result<Vec<Value>, RenderError> {
        Ok(Vec::new())
    }
}

/// Renders `chart` with `values` over its defaults, for a server of version `kubernetes_version`.
pub fn render(
    chart: &Chart,
    _values: &Value,
    _release: &Release,
    _kubernetes_version: &str,
) -> Result<Rendering, RenderError> {
    Err(RenderError::Evaluate { chart: chart.name().to_owned() })
}
