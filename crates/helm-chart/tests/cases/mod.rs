//! Charts made to try Helm's rules, one or a few at a time.

mod chart_files;
mod contexts;
mod dependencies;
mod files;
mod loading;
mod manifests;
mod schemas;
mod values;

use super::oracle::Request;
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::path::Path;

/// Folder of the chart that is rendered.
pub const PARENT: &str = "parent";

/// A chart with what is asked of it.
pub struct Case {
    pub name: &'static str,
    /// Whether it renders at all; else it fails.
    pub renders: bool,
    pub request: Request,
    files: Vec<(String, String)>,
    /// Folders below `charts/` that are packed into archives.
    packed: Vec<&'static str>,
}

/// A chart that prints its values: enough to see most rules.
const DUMP: &str = "kind: ConfigMap\nmetadata:\n  name: {{ .Chart.Name }}-{{ .Release.Name }}\ndata:\n{{ toYaml .Values | indent 2 }}\n";

fn metadata(name: &str, more: &str) -> String {
    format!("apiVersion: v2\nname: {name}\nversion: 1.2.3\n{more}")
}

fn case(name: &'static str, more: &str, files: &[(&str, &str)]) -> Case {
    let mut all = vec![("Chart.yaml".to_owned(), metadata("parent", more))];
    all.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    Case { name, renders: true, request: Request::default(), files: all, packed: Vec::new() }
}

impl Case {
    fn values(mut self, values: &str) -> Self {
        self.request.values.push(values.to_owned());
        self
    }

    fn fails(mut self) -> Self {
        self.renders = false;
        self
    }

    /// A chart within that prints its values.
    fn with(mut self, name: &str, more: &str, values: &str) -> Self {
        let folder = format!("charts/{name}");
        self.files.push((format!("{folder}/Chart.yaml"), metadata(name, more)));
        self.files.push((format!("{folder}/values.yaml"), values.to_owned()));
        self.files.push((format!("{folder}/templates/dump.yaml"), DUMP.to_owned()));
        self
    }

    fn packs(mut self, name: &'static str) -> Self {
        self.packed.push(name);
        self
    }

    fn asks(mut self, change: fn(&mut Request)) -> Self {
        change(&mut self.request);
        self
    }

    pub fn write(&self, folder: &Path) {
        let root = folder.join(PARENT);
        for (path, text) in &self.files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for name in &self.packed {
            let inside = root.join("charts").join(name);
            let archive = fs::File::create(root.join(format!("charts/{name}-1.2.3.tgz"))).unwrap();
            let mut archive = tar::Builder::new(GzEncoder::new(archive, Compression::fast()));
            archive.append_dir_all(name, &inside).unwrap();
            archive.into_inner().unwrap().finish().unwrap();
            fs::remove_dir_all(inside).unwrap();
        }
    }
}

pub fn all() -> Vec<Case> {
    [
        values::all(),
        dependencies::all(),
        manifests::all(),
        files::all(),
        contexts::all(),
        schemas::all(),
        loading::all(),
        chart_files::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
