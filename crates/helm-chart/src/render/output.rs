//! The output of a chart's templates, as text and as objects.

use super::RenderError;
use super::manifests::{documents, sort};
use crate::chart::Chart;
use crate::yaml;
use serde_json::Value;
use std::collections::BTreeMap;

/// The output of the templates of a chart.
#[derive(Debug, Clone)]
pub struct Rendering {
    /// Path of the notes of the chart itself.
    notes: String,
    /// Text by path of the template, the chart's name before it.
    files: BTreeMap<String, String>,
    /// Paths and texts of the definitions in `crds/`.
    definitions: Vec<(String, String)>,
}

impl Rendering {
    pub(super) fn new(chart: &Chart, files: BTreeMap<String, String>) -> Self {
        let mut definitions = Vec::new();
        add_definitions(chart, chart.name(), &mut definitions);
        Self { notes: format!("{}/templates/NOTES.txt", chart.name()), files, definitions }
    }

    /// The text of the chart's NOTES.txt; empty without one.
    #[must_use]
    pub fn notes(&self) -> &str {
        self.files.get(&self.notes).map_or("", String::as_str)
    }

    /// Texts that are manifests: notes are for people.
    fn manifests(&self) -> impl Iterator<Item = (&String, &String)> {
        self.files.iter().filter(|(path, _)| !path.ends_with("NOTES.txt"))
    }

    /// The Kubernetes objects, by file name and then in the order of the file. Documents without a kind, such as those
    /// with nothing but comments, are left out.
    pub fn objects(&self) -> Result<Vec<Value>, RenderError> {
        let mut objects = Vec::new();
        for (file, text) in self.manifests() {
            for (line, document) in documents(text) {
                let object = yaml::parse(document).map_err(|source| RenderError::Output {
                    file: file.clone(),
                    line,
                    source,
                })?;
                if object.get("kind").is_some_and(|kind| kind != "") {
                    objects.push(object);
                }
            }
        }
        Ok(objects)
    }

    /// What `helm template` prints: manifests in the order of their installation, then hooks.
    pub fn print(&self, includes_definitions: bool) -> Result<String, RenderError> {
        let sorted = sort(self.manifests())?;
        let mut manifests = String::new();
        let section = |file: &str, text: &str| format!("---\n# Source: {file}\n{text}\n");
        if includes_definitions {
            for (file, text) in &self.definitions {
                manifests.push_str(&section(file, text));
            }
        }
        for manifest in &sorted.manifests {
            manifests.push_str(&section(manifest.file, manifest.text));
        }
        let mut printed = manifests.trim().to_owned() + "\n";
        for hook in &sorted.hooks {
            printed.push_str(&section(hook.file, hook.text));
        }
        Ok(printed)
    }
}

/// The CustomResourceDefinitions of a chart, then those of its subcharts.
fn add_definitions(chart: &Chart, path: &str, definitions: &mut Vec<(String, String)>) {
    let is_manifest = |path: &str| {
        let extension = path.rsplit('.').next().unwrap_or_default().to_lowercase();
        matches!(extension.as_str(), "yaml" | "yml" | "json")
    };
    for file in chart.files.iter().filter(|file| file.path.starts_with("crds/") && is_manifest(&file.path)) {
        definitions.push((format!("{path}/{}", file.path), String::from_utf8_lossy(&file.data).into_owned()));
    }
    for subchart in &chart.dependencies {
        add_definitions(subchart, &format!("{path}/charts/{}", subchart.name()), definitions);
    }
}
