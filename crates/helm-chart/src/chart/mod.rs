//! A Helm chart in memory: its metadata, default values, templates, files and the charts that it depends on.
//!
//! Loading only, by the rules of Helm's loader, from a folder, an archive or files; see `helm` for rendering.

#[cfg(feature = "archive")]
mod archive;
mod ignore;
mod metadata;
mod pattern;
mod walk;

#[cfg(not(feature = "archive"))]
mod archive {
    use super::{ChartError, File};

    pub(super) fn unpack(_: &[u8]) -> Result<Vec<File>, ChartError> {
        Err(ChartError::FeatureDisabled { feature: "archive" })
    }
}

pub(crate) use metadata::as_text;
pub use metadata::{Dependency, Maintainer, Metadata};
pub(crate) use pattern::Glob;

use crate::yaml;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Deepest nesting of subcharts; deeper ones are a mistake or an attack.
const DEPTH_LIMIT: usize = 20;

/// Why a chart cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// A required file is missing.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// A file is not YAML.
    #[error("'{file}' is not valid YAML")]
    Yaml {
        /// Path in the chart.
        file: String,
        /// Cause, with its position.
        source: yaml::Error,
    },
    /// A file that must be text is not UTF-8.
    #[error("'{0}' is not UTF-8 text")]
    Encoding(String),
    /// A field of Chart.yaml is missing or invalid.
    #[error("Chart.yaml: {0}")]
    Metadata(String),
    /// A lock of dependencies is invalid.
    #[error("{file}: {reason}")]
    Lock {
        /// Path in the chart.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Default values are not a map.
    #[error("'{0}' is not a map")]
    NoMap(String),
    /// A separator of documents has text behind it.
    #[error("'{file}': invalid Yaml document separator: {line}")]
    Separator {
        /// Path in the chart.
        file: String,
        /// The line.
        line: String,
    },
    /// A subchart cannot be loaded.
    #[error("cannot load subchart '{name}' of chart '{parent}'")]
    Subchart {
        /// Folder or archive below `charts/`.
        name: String,
        /// Its parent.
        parent: String,
        /// Cause.
        source: Box<ChartError>,
    },
    /// Charts are nested too deeply.
    #[error("charts are nested more than {DEPTH_LIMIT} levels deep")]
    TooDeep,
    /// An archive is not a chart.
    #[error("the archive is not a chart: {0}")]
    Archive(String),
    /// The chart needs a cargo feature of this crate that the program was built without.
    #[error("the chart is packed, and this program was built without the feature '{feature}' of helm-chart")]
    FeatureDisabled {
        /// The missing feature.
        feature: &'static str,
    },
    /// A line of `.helmignore` is not a pattern.
    #[error(".helmignore: {0}")]
    Ignore(String),
    /// A file could not be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

/// A file of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Path in the chart.
    pub path: String,
    pub data: Vec<u8>,
}

/// A template of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// Path in the chart.
    pub path: String,
    pub text: Arc<str>,
}

/// A chart, as Helm's loader understands it.
#[derive(Debug, Clone)]
pub struct Chart {
    pub(crate) metadata: Metadata,
    /// values.yaml; an empty map without one.
    pub(crate) values: Value,
    /// values.schema.json.
    pub(crate) schema: Option<Vec<u8>>,
    /// Files below `templates/`.
    pub(crate) templates: Vec<Template>,
    /// All other files, which templates read as `.Files`.
    pub(crate) files: Arc<Vec<File>>,
    /// Charts below `charts/`.
    pub(crate) dependencies: Vec<Chart>,
}

impl Chart {
    /// Loads a chart from its folder, or from an archive (`.tgz`).
    pub fn load(path: &Path) -> Result<Self, ChartError> {
        if path.is_dir() {
            return Self::load_without(path, &[]);
        }
        let unreadable = |source| ChartError::Read { path: path.to_owned(), source };
        let packed = std::fs::read(path).map_err(unreadable)?;
        Self::assemble(archive::unpack(&packed)?, 0)
    }

    /// Loads a chart from its folder without the files at the paths `left_out`, which are not read.
    pub fn load_without(directory: &Path, left_out: &[&str]) -> Result<Self, ChartError> {
        Self::assemble(walk::files(directory, left_out)?, 0)
    }

    /// Creates a chart from its files by their paths in the chart.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Result<Self, ChartError> {
        Self::assemble(files.into_iter().map(|(path, data)| File { path, data }).collect(), 0)
    }

    /// The name in Chart.yaml, or the alias under which another chart has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The contents of Chart.yaml.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The default values: values.yaml, or an empty map.
    #[must_use]
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// The templates of the chart itself: their paths in the chart and their texts.
    pub fn templates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.templates.iter().map(|template| (template.path.as_str(), &*template.text))
    }

    /// The files that templates read as `.Files`: their paths in the chart and their contents.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|file| (file.path.as_str(), file.data.as_slice()))
    }

    /// The charts below `charts/`.
    #[must_use]
    pub fn subcharts(&self) -> &[Self] {
        &self.dependencies
    }

    /// The default values, to change them before rendering.
    pub fn values_mut(&mut self) -> &mut Value {
        &mut self.values
    }

    /// Replaces the files other than templates for which `rewrite`, given path and content, returns a new content.
    pub fn rewrite_files(&mut self, mut rewrite: impl FnMut(&str, &[u8]) -> Option<Vec<u8>>) {
        let rewritten: Vec<(usize, Vec<u8>)> = (self.files.iter().enumerate())
            .filter_map(|(index, file)| Some((index, rewrite(&file.path, &file.data)?)))
            .collect();
        // Charts share their files; only a changed chart gets a copy.
        if !rewritten.is_empty() {
            let files = Arc::make_mut(&mut self.files);
            for (index, data) in rewritten {
                files[index].data = data;
            }
        }
    }

    fn assemble(files: Vec<File>, depth: usize) -> Result<Self, ChartError> {
        if depth > DEPTH_LIMIT {
            return Err(ChartError::TooDeep);
        }
        let metadata = read_metadata(&files)?;
        let is_first_version = metadata.api_version == "v1";
        let mut chart = Self {
            metadata,
            values: json!({}),
            schema: None,
            templates: Vec::new(),
            files: Arc::new(Vec::new()),
            dependencies: Vec::new(),
        };
        let (mut others, mut below): (Vec<File>, BTreeMap<String, Vec<File>>) = Default::default();
        for file in files {
            if matches!(file.path.as_str(), "Chart.lock" | "requirements.lock") {
                check_lock(&file)?;
            }
            match file.path.as_str() {
                "Chart.yaml" | "Chart.lock" => {}
                "values.yaml" => chart.values = read_values(&file)?,
                "values.schema.json" => chart.schema = Some(file.data),
                "requirements.yaml" | "requirements.lock" if !is_first_version => {}
                path if path.starts_with("templates/") => chart.templates.push(template(file)?),
                path if path.starts_with("charts/") && !has_extension(path, "prov") => {
                    let path = path.strip_prefix("charts/").unwrap_or_default().to_owned();
                    let name = path.split('/').next().unwrap_or_default().to_owned();
                    below.entry(name).or_default().push(File { path, data: file.data });
                }
                _ => others.push(file),
            }
        }
        chart.files = Arc::new(others);
        for (name, files) in below {
            if !name.starts_with(['_', '.']) {
                let subchart = subchart(&name, files, depth).map_err(|source| ChartError::Subchart {
                    name: name.clone(),
                    parent: chart.name().to_owned(),
                    source: Box::new(source),
                })?;
                chart.dependencies.push(subchart);
            }
        }
        Ok(chart)
    }
}

/// Extensions count in lower case only, as in Helm.
fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

/// A chart below `charts/`: an archive, or a folder with its name before every path.
fn subchart(name: &str, mut files: Vec<File>, depth: usize) -> Result<Chart, ChartError> {
    if has_extension(name, "tgz") {
        let packed = files.pop().filter(|file| file.path == name && files.is_empty());
        let packed = packed.ok_or_else(|| ChartError::Archive(format!("'{name}' is a folder")))?;
        return Chart::assemble(archive::unpack(&packed.data)?, depth + 1);
    }
    let inside = files.into_iter().filter_map(|file| {
        let path = file.path.split_once('/')?.1.to_owned();
        Some(File { path, data: file.data })
    });
    Chart::assemble(inside.collect(), depth + 1)
}

/// Chart.yaml, and for charts of the first version the dependencies in requirements.yaml.
fn read_metadata(files: &[File]) -> Result<Metadata, ChartError> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let file = find("Chart.yaml").ok_or(ChartError::Missing("Chart.yaml"))?;
    let mut document = document(file)?;
    if let Some(file) = find("requirements.yaml") {
        match self::document(file)? {
            Value::Null => {}
            later => metadata::read_over(&mut document, later),
        }
    }
    Metadata::read(&document).map_err(ChartError::Metadata)
}

/// The lock has no effect here, but Helm refuses a chart whose lock it cannot read.
fn check_lock(file: &File) -> Result<(), ChartError> {
    let lock = document(file)?;
    metadata::check_lock(&lock).map_err(|reason| ChartError::Lock { file: file.path.clone(), reason })
}

fn text(file: &File) -> Result<&str, ChartError> {
    std::str::from_utf8(&file.data).map_err(|_| ChartError::Encoding(file.path.clone()))
}

fn document(file: &File) -> Result<Value, ChartError> {
    let unreadable = |source| ChartError::Yaml { file: file.path.clone(), source };
    yaml::parse(text(file)?).map_err(unreadable)
}

fn template(file: File) -> Result<Template, ChartError> {
    let text = String::from_utf8(file.data).map_err(|_| ChartError::Encoding(file.path.clone()))?;
    Ok(Template { path: file.path, text: Arc::from(text) })
}

/// The default values; several documents are merged.
fn read_values(file: &File) -> Result<Value, ChartError> {
    let unreadable = |source| ChartError::Yaml { file: file.path.clone(), source };
    let mut values = json!({});
    for document in value_documents(file)? {
        match yaml::parse(&document).map_err(unreadable)? {
            Value::Null => {}
            document @ Value::Object(_) => merge_maps(&mut values, document),
            _ => return Err(ChartError::NoMap(file.path.clone())),
        }
    }
    Ok(values)
}

/// The documents of a file with values. Helm finds them before YAML is read: lines that start with `---` separate them
/// wherever they stand, and nothing but a comment may follow. A last line without an end gets one.
fn value_documents(file: &File) -> Result<Vec<String>, ChartError> {
    let mut documents = vec![String::new()];
    for line in text(file)?.lines() {
        match (line.strip_prefix("---").map(|rest| rest.trim().as_bytes()), documents.last_mut()) {
            (None, Some(document)) => *document += &format!("{line}\n"),
            (Some([] | [b'#', ..]), _) => documents.push(String::new()),
            _ => return Err(ChartError::Separator { file: file.path.clone(), line: line.to_owned() }),
        }
    }
    Ok(documents)
}

/// Merges values over others, as Helm does with several files: maps are merged, any other value replaces, null too.
pub(crate) fn merge_maps(target: &mut Value, over: Value) {
    match (target, over) {
        (Value::Object(target), Value::Object(over)) => merge_entries(target, over),
        (target, over) => *target = over,
    }
}

fn merge_entries(target: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match target.get_mut(&key) {
            Some(known) if known.is_object() && value.is_object() => merge_maps(known, value),
            _ => drop(target.insert(key, value)),
        }
    }
}

/// Reads the text of a file with values, as `helm template -f` does.
pub fn parse_values(text: &str) -> Result<Value, ChartError> {
    read_values(&File { path: "values".to_owned(), data: text.as_bytes().to_vec() })
}

/// Merges values of a later file over those of the earlier ones.
pub fn merge_values(target: &mut Value, over: Value) {
    merge_maps(target, over);
}
