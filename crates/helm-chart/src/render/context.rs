//! The dot of templates, for a chart and for each of its subcharts.
//!
//! Builds data; executes nothing.

use super::capabilities::Capabilities;
use super::files::Files;
use crate::chart::{Chart, Metadata};
use gotemplate::{Map, MapType, Value as Data};
use serde_json::json;
use std::rc::Rc;

/// The object `.Release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Name of the release.
    pub name: String,
    /// Namespace it is installed into.
    pub namespace: String,
    /// The operation.
    pub operation: Operation,
}

/// The operation on a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Neither an install nor an upgrade, as Istio's installer renders.
    Render,
    /// `helm install`, and `helm template`.
    Install,
    /// `helm upgrade`, and `helm template --is-upgrade`.
    Upgrade,
}

impl Release {
    fn value(&self) -> Data {
        let root = Data::from_json(&json!({
            "Name": self.name,
            "Namespace": self.namespace,
            "Service": "Helm",
            "IsUpgrade": self.operation == Operation::Upgrade,
            "IsInstall": self.operation == Operation::Install,
        }));
        if let Data::Map(map) = &root {
            map.insert("Revision", Data::Int(i64::from(self.operation != Operation::Render)));
        }
        root
    }
}

/// The templates of one chart with their dot. They share it: a value that one of them sets is visible to later ones.
pub(super) struct Scope<'c> {
    pub chart: &'c Chart,
    /// The chart's path: its name, below those of its parents.
    pub path: String,
    pub dot: Map,
}

/// The scopes of a chart and of all its subcharts.
pub(super) fn scopes<'c>(
    chart: &'c Chart,
    values: &Map,
    release: &Release,
    capabilities: &Capabilities,
) -> Vec<Scope<'c>> {
    let mut builder =
        Builder { release: release.value(), capabilities: capabilities.value(), scopes: Vec::new() };
    builder.chart(chart, "", values);
    builder.scopes
}

struct Builder<'c> {
    release: Data,
    capabilities: Data,
    scopes: Vec<Scope<'c>>,
}

impl<'c> Builder<'c> {
    /// Adds a chart with its subcharts; returns its dot.
    fn chart(&mut self, chart: &'c Chart, above: &str, values: &Map) -> Map {
        let is_root = above.is_empty();
        let path = if is_root { chart.name().to_owned() } else { format!("{above}/charts/{}", chart.name()) };
        let dot = Map::of(MapType::Values, []);
        let subcharts = Map::new();
        dot.insert("Chart", metadata(&chart.metadata, is_root));
        dot.insert("Files", Data::Object(Rc::new(Files::new(chart.files.clone()))));
        dot.insert("Release", self.release.clone());
        dot.insert("Capabilities", self.capabilities.clone());
        dot.insert("Values", Data::Map(values.with_map_type(MapType::Values)));
        dot.insert("Subcharts", Data::Map(subcharts.clone()));
        for subchart in &chart.dependencies {
            let own =
                values.get(subchart.name()).and_then(|values| values.as_map().cloned()).unwrap_or_default();
            let inner = self.chart(subchart, &path, &own);
            subcharts.insert(subchart.name(), Data::Map(inner.with_map_type(MapType::Any)));
        }
        self.scopes.push(Scope { chart, path, dot: dot.clone() });
        dot
    }
}

/// `.Chart`.
fn metadata(metadata: &Metadata, is_root: bool) -> Data {
    let fields = Data::from_json(&metadata.template_fields(is_root));
    let annotations = match &metadata.annotations {
        None => Map::nil(MapType::String),
        Some(texts) => {
            let entries = texts.iter().map(|(key, text)| (Rc::from(key.as_str()), Data::string(text)));
            Map::of(MapType::String, entries)
        }
    };
    if let Data::Map(fields) = &fields {
        fields.insert("Annotations", Data::Map(annotations));
    }
    fields
}

/// `.Template` of a template of a chart.
pub(super) fn template(chart_path: &str, name: &str) -> Data {
    let fields = [("Name", name.to_owned()), ("BasePath", format!("{chart_path}/templates"))];
    Data::Map(Map::of(MapType::Values, fields.map(|(key, text)| (Rc::from(key), Data::string(text)))))
}
