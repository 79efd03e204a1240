//! The names of values that the charts of a bundle know, and where a name that they do not know may have been meant.
//!
//! A chart silently ignores a value whose name is wrong. What counts as known comes from the charts themselves: their
//! default values, and the names that only their templates mention.

use crate::bundle::{Bundle, BundleError};
use helm_chart::Chart;
use serde_json::Value;
use std::collections::BTreeMap;

/// Istio's charts keep their defaults under this key, so that they can merge a profile between them and the user's.
pub(crate) const DEFAULTS: &str = "_internal_defaults_do_not_set";
/// Maps whose keys the user chooses although the defaults have some, or that other APIs define.
const OPEN: [&str; 5] = ["defaultResources", "meshConfig", "podAnnotations", "resources", "updateStrategy"];
/// Most names that suggestions are made for: each costs a comparison with every known name.
const MAX_SUGGESTIONS: usize = 20;
/// Longest name that suggestions are made for, in bytes.
const MAX_NAME: usize = 100;
/// Least similarity of two names, from 0 to 1, for one to be suggested for the other.
const SIMILAR: f64 = 0.8;

/// Which values a chart reads outside of its own section.
struct Section {
    chart: &'static str,
    /// Where the chart's own values stand; empty if it has no section.
    path: &'static [&'static str],
    /// Names that it reads at the top level all the same.
    shared: &'static [&'static str],
    /// How its templates write a value of that section, apart from `.Values.NAME`.
    variable: Option<&'static str>,
}

const SECTIONS: [Section; 7] = [
    Section { chart: "base", path: &[], shared: &[], variable: None },
    Section { chart: "default", path: &[], shared: &[], variable: None },
    Section {
        chart: "istio-control/istio-discovery",
        path: &["pilot"],
        shared: &[
            "base",
            "compatibilityVersion",
            "defaultRevision",
            "experimental",
            "gatewayClasses",
            "gateways",
            "global",
            "istiodRemote",
            "meshConfig",
            "ownerName",
            "pilot",
            "platform",
            "profile",
            "revision",
            "revisionTags",
            "sidecarInjectorWebhook",
            "telemetry",
        ],
        variable: None,
    },
    Section { chart: "istio-cni", path: &["cni"], shared: &["cni", "global"], variable: None },
    Section { chart: "ztunnel", path: &["ztunnel"], shared: &["global"], variable: None },
    Section {
        chart: "gateways/istio-ingress",
        path: &["gateways", "istio-ingressgateway"],
        shared: &["gateways", "global", "meshConfig", "ownerName", "revision"],
        variable: Some("$gateway."),
    },
    Section {
        chart: "gateways/istio-egress",
        path: &["gateways", "istio-egressgateway"],
        shared: &["gateways", "global", "meshConfig", "ownerName", "revision"],
        variable: Some("$gateway."),
    },
];

/// A name that no chart knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownValue {
    /// Where it stands, with dots, as in `global.proxy.logLevl`.
    pub path: String,
    /// The known name that was probably meant.
    pub suggestion: Option<String>,
}

/// The names of values that the charts of a bundle know.
#[derive(Debug, Clone, Default)]
pub struct ValueNames {
    root: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    children: BTreeMap<String, Node>,
    /// Whether the charts take any name here.
    open: bool,
}

impl ValueNames {
    /// Collects the names from the charts of `bundle`.
    pub fn of(bundle: &Bundle) -> Result<Self, BundleError> {
        let mut names = Self::default();
        for section in &SECTIONS {
            names.add_chart(section, &bundle.chart(section.chart)?);
        }
        Ok(names)
    }

    fn add_chart(&mut self, section: &Section, chart: &Chart) {
        let defaults = chart.values().get(DEFAULTS).unwrap_or(chart.values());
        for (name, value) in defaults.as_object().into_iter().flatten() {
            self.at(section.place(name)).child(name).learn(name, value);
        }
        let texts = chart.templates().map(|(_, text)| text);
        let files = chart.files().filter_map(|(_, data)| std::str::from_utf8(data).ok());
        for text in texts.chain(files) {
            for mention in mentions(text, ".Values.") {
                self.at(section.place(mention[0])).mention(&mention);
            }
            for mention in section.variable.into_iter().flat_map(|variable| mentions(text, variable)) {
                self.at(section.path).mention(&mention);
            }
        }
    }

    fn at(&mut self, path: &[&str]) -> &mut Node {
        path.iter().fold(&mut self.root, |node, name| node.child(name))
    }

    /// Takes all names of a document of values as known.
    pub fn extend(&mut self, values: &Value) {
        self.root.learn("", values);
    }

    /// The names in `values` that are not known.
    #[must_use]
    pub fn unknown(&self, values: &Value) -> Vec<UnknownValue> {
        let mut unknown = Vec::new();
        self.compare(&self.root, values, "", &mut unknown);
        unknown
    }

    /// Every known name that has no names below it, with dots, as in `global.proxy.logLevel`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.root.collect("", &mut paths);
        paths
    }

    fn compare(&self, node: &Node, values: &Value, path: &str, unknown: &mut Vec<UnknownValue>) {
        if node.open {
            return;
        }
        for (name, value) in values.as_object().into_iter().flatten() {
            let here = join(path, name);
            if let Some(child) = node.children.get(name) {
                self.compare(child, value, &here, unknown);
                continue;
            }
            let is_early = unknown.len() < MAX_SUGGESTIONS && name.len() <= MAX_NAME;
            let suggestion = is_early.then(|| self.suggestion(node, path, name)).flatten();
            unknown.push(UnknownValue { suggestion, path: here });
        }
    }

    /// A name of the same place that looks alike, else a place that has this very name.
    fn suggestion(&self, node: &Node, path: &str, name: &str) -> Option<String> {
        let best = most_alike(name, node.children.keys().map(String::as_str));
        best.map(|known| join(path, known)).or_else(|| self.root.find(name, ""))
    }
}

impl Section {
    /// Where a value that the chart knows by that name stands in the installation's values.
    fn place(&self, name: &str) -> &'static [&'static str] {
        if self.shared.contains(&name) { &[] } else { self.path }
    }
}

impl Node {
    fn child(&mut self, name: &str) -> &mut Self {
        self.children.entry(name.to_owned()).or_default()
    }

    fn learn(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(map) if !map.is_empty() && !OPEN.contains(&name) => {
                for (name, value) in map {
                    self.child(name).learn(name, value);
                }
            }
            _ => self.open = true,
        }
    }

    /// A name that only a template mentions leaves open what may be below it.
    fn mention(&mut self, path: &[&str]) {
        let Some((name, rest)) = path.split_first() else { return };
        let is_new = !self.children.contains_key(*name);
        let child = self.child(name);
        if is_new {
            child.open = true;
        }
        child.mention(rest);
    }

    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        if self.children.is_empty() {
            paths.push(path.to_owned());
        }
        for (name, child) in &self.children {
            child.collect(&join(path, name), paths);
        }
    }

    /// The shortest path to a node of that name.
    fn find(&self, name: &str, path: &str) -> Option<String> {
        if self.children.contains_key(name) {
            return Some(join(path, name));
        }
        let below = self.children.iter().filter_map(|(child, node)| node.find(name, &join(path, child)));
        below.min_by_key(|path| path.matches('.').count())
    }
}

/// The one of the names `known` that was probably meant by `name`; `None` if none looks like it.
#[must_use]
pub fn most_alike<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let likeness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
    let alike = known.into_iter().map(|known| (likeness(known), known));
    let best = alike.filter(|(likeness, _)| *likeness >= SIMILAR).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, known)| known)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The names, split at their dots, that follow `prefix` somewhere in a template.
fn mentions<'t>(text: &'t str, prefix: &'t str) -> impl Iterator<Item = Vec<&'t str>> {
    text.split(prefix).skip(1).filter_map(|rest| {
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        let names: Vec<&str> = rest[..end].split('.').take_while(|name| !name.is_empty()).collect();
        let is_internal = names.first().is_none_or(|name| name.starts_with('_') || *name == "defaults");
        (!is_internal).then_some(names)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unknown(values: &Value) -> Vec<(String, Option<String>)> {
        let names = ValueNames::of(&Bundle::embedded()).unwrap();
        names.unknown(values).into_iter().map(|unknown| (unknown.path, unknown.suggestion)).collect()
    }

    #[test]
    fn values_of_every_chart_are_known() {
        let values = json!({
            "global": {
                "logAsJson": true,
                "networkPolicy": {"enabled": true},
                "proxy": {"logLevel": "debug", "lifecycle": {"preStop": {}}, "resources": {"limits": {"example.com/gpu": 1}}},
            },
            "meshConfig": {"anything": {"at": "all"}},
            "pilot": {"env": {"ANY": "1"}, "autoscaleMin": 2, "traceSampling": 1, "nodeSelector": {"a/b": "c"}},
            "cni": {"cniBinDir": "/opt", "logging": {"level": "info"}, "ambient": {"dnsCapture": true}},
            "ztunnel": {"logLevel": "debug", "terminationGracePeriodSeconds": 5},
            "gateways": {"istio-ingressgateway": {"loadBalancerSourceRanges": ["10.0.0.0/8"], "podAnnotations": {"a": "b"}}},
            "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": false, "injectedAnnotations": {"a": "b"}},
        });
        assert_eq!(unknown(&values), []);
    }

    #[test]
    fn an_unknown_name_is_reported_with_a_suggestion() {
        for (values, path, suggestion) in [
            (
                json!({"global": {"proxy": {"logLevl": "debug"}}}),
                "global.proxy.logLevl",
                Some("global.proxy.logLevel"),
            ),
            (json!({"Pilot": {}}), "Pilot", Some("pilot")),
            (json!({"pilot": {"autoscalemin": 1}}), "pilot.autoscalemin", Some("pilot.autoscaleMin")),
            (
                json!({"holdApplicationUntilProxyStarts": true}),
                "holdApplicationUntilProxyStarts",
                Some("global.proxy.holdApplicationUntilProxyStarts"),
            ),
            (json!({"pilot": {"zzzzzzz": 1}}), "pilot.zzzzzzz", None),
        ] {
            assert_eq!(unknown(&values), [(path.to_owned(), suggestion.map(str::to_owned))]);
        }
    }

    #[test]
    fn the_charts_internal_names_are_not_offered() {
        assert_eq!(unknown(&json!({"_internal_defaults_do_not_set": {"global": {}}})).len(), 1);
        assert_eq!(unknown(&json!({"defaults": {}})).len(), 1);
    }
}
