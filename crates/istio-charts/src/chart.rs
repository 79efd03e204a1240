//! A Helm chart in memory: its metadata, default values, templates and files.
//!
//! Loading only, by the rules of Helm's loader; see `helm` for rendering. Charts with subcharts are refused.

use crate::yaml;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Why files do not make a chart.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// A file every chart has is missing.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// A file is not what it should be.
    #[error("'{file}' is no valid YAML")]
    Yaml {
        /// Path in the chart.
        file: String,
        /// Cause, with its position.
        source: yaml::Error,
    },
    /// A file has to be text and is not.
    #[error("'{0}' is not UTF-8 text")]
    Encoding(String),
    /// A field of Chart.yaml is missing or of another type.
    #[error("Chart.yaml has no {0}")]
    Metadata(&'static str),
    /// The chart has dependencies.
    #[error("subcharts are not supported, and '{0}' belongs to one")]
    Subchart(String),
    /// A file could not be read.
    #[error("reading '{}'", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

/// A chart, as Helm's loader understands it.
#[derive(Debug, Clone)]
pub struct Chart {
    pub(crate) name: String,
    /// Chart.yaml.
    pub(crate) metadata: Value,
    /// values.yaml; an empty map without one.
    pub(crate) values: Value,
    /// Files below `templates/`, by path in the chart.
    pub(crate) templates: BTreeMap<String, String>,
    /// All other files, which templates read as `.Files`.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Chart {
    /// Loads a chart from its folder.
    pub fn load(directory: &Path) -> Result<Self, ChartError> {
        Self::load_without(directory, &[])
    }

    /// Loads a chart from its folder and leaves out the files of those paths.
    pub(crate) fn load_without(directory: &Path, left_out: &[&str]) -> Result<Self, ChartError> {
        let mut files = BTreeMap::new();
        collect(directory, "", left_out, &mut files)?;
        Self::from_files(files)
    }

    /// Makes a chart of files by their path in it.
    pub fn from_files(mut files: BTreeMap<String, Vec<u8>>) -> Result<Self, ChartError> {
        let metadata = document(&mut files, "Chart.yaml")?.ok_or(ChartError::Missing("Chart.yaml"))?;
        let values = document(&mut files, "values.yaml")?
            .filter(|values| !values.is_null())
            .unwrap_or_else(|| serde_json::json!({}));
        let name =
            metadata.get("name").and_then(Value::as_str).ok_or(ChartError::Metadata("name"))?.to_owned();
        if let Some(path) = files.keys().find(|path| path.starts_with("charts/")) {
            return Err(ChartError::Subchart(path.clone()));
        }
        // Helm checks values against the schema; values of an IstioOperator are checked before they get here.
        for kept_from_templates in ["values.schema.json", "Chart.lock"] {
            files.remove(kept_from_templates);
        }
        let (templates, files): (BTreeMap<_, _>, BTreeMap<_, _>) =
            files.into_iter().partition(|(path, _)| path.starts_with("templates/"));
        let templates = templates
            .into_iter()
            .map(|(path, bytes)| Ok((path.clone(), text(path, bytes)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { name, metadata, values, templates, files })
    }

    /// The name in Chart.yaml.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn document(files: &mut BTreeMap<String, Vec<u8>>, file: &str) -> Result<Option<Value>, ChartError> {
    let Some(bytes) = files.remove(file) else { return Ok(None) };
    let text = text(file.to_owned(), bytes)?;
    yaml::parse(&text).map(Some).map_err(|source| ChartError::Yaml { file: file.to_owned(), source })
}

fn text(file: String, bytes: Vec<u8>) -> Result<String, ChartError> {
    String::from_utf8(bytes).map_err(|_| ChartError::Encoding(file))
}

fn collect(
    directory: &Path,
    prefix: &str,
    left_out: &[&str],
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), ChartError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| ChartError::Read { path, source }
    };
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let entry = entry.map_err(unreadable(directory))?;
        let path = entry.path();
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| ChartError::Encoding(name.to_string_lossy().into_owned()))?;
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), left_out, files)?;
        } else if !left_out.contains(&name.as_str()) {
            files.insert(name, std::fs::read(&path).map_err(unreadable(&path))?);
        }
    }
    Ok(())
}
