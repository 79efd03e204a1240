//! What templates see as their dot: `.Values`, `.Release`, `.Chart`, `.Capabilities`, `.Files` and `.Template`.
//!
//! Builds data; executes nothing.

use crate::chart::Chart;
use gotemplate::{Map, Object, Value as Data};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What templates see as `.Release`: an installation by `helm template`, neither an install nor an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Name of the release.
    pub name: String,
    /// Namespace it is installed into.
    pub namespace: String,
}

/// The root map, one for all templates of a chart: what one of them sets, the later ones see.
pub(super) fn root(chart: &Chart, values: &Value, release: &Release, kubernetes_version: &str) -> Map {
    let root = Map::new();
    root.insert("Values", Data::from_json(values));
    root.insert("Chart", Data::from_json(&metadata(chart)));
    root.insert("Files", Data::Object(Rc::new(Files(chart.files.clone()))));
    root.insert("Subcharts", Data::Map(Map::new()));
    let release = Data::from_json(&json!({
        "Name": release.name,
        "Namespace": release.namespace,
        "Service": "Helm",
        "IsUpgrade": false,
        "IsInstall": false,
        "Revision": 0,
    }));
    root.insert("Release", release);
    let version = version(kubernetes_version);
    root.insert("Capabilities", Data::from_json(&json!({"KubeVersion": version})));
    root
}

/// `.Template` of the template of that name.
pub(super) fn template(chart: &Chart, name: &str) -> Data {
    Data::from_json(&json!({"Name": name, "BasePath": format!("{}/templates", chart.name)}))
}

/// Chart.yaml with its keys as Go's struct fields are spelled.
fn metadata(chart: &Chart) -> Value {
    let mut fields: serde_json::Map<String, Value> = chart
        .metadata
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (field_name(key), value.clone()))
        .collect();
    fields.insert("IsRoot".to_owned(), Value::Bool(true));
    Value::Object(fields)
}

fn field_name(key: &str) -> String {
    match key.split_at_checked(1) {
        _ if key == "apiVersion" => "APIVersion".to_owned(),
        Some((first, rest)) => first.to_uppercase() + rest,
        None => String::new(),
    }
}

fn version(kubernetes: &str) -> Value {
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    json!({"Version": kubernetes, "GitVersion": kubernetes, "Major": major, "Minor": minor})
}

/// `.Files`: the chart's files that are no templates. A file that does not exist reads as empty, as with Helm.
struct Files(BTreeMap<String, Vec<u8>>);

impl Object for Files {
    fn field(&self, _name: &str) -> Option<Data> {
        None
    }

    fn call(&self, method: &str, arguments: &[Data]) -> Option<Result<Data, String>> {
        let path = match arguments {
            [path] => path.as_str().unwrap_or_default(),
            _ => return Some(Err(format!("{method} takes one argument, not {}", arguments.len()))),
        };
        let text = String::from_utf8_lossy(self.0.get(path).map_or(&[][..], Vec::as_slice));
        match method {
            "Get" => Some(Ok(Data::string(text))),
            "Lines" => Some(Ok(Data::list(
                text.strip_suffix('\n').unwrap_or(&text).split('\n').map(Data::string).collect(),
            ))),
            _ => None,
        }
    }

    fn type_name(&self) -> &'static str {
        "engine.files"
    }
}

#[cfg(test)]
mod tests {
    use super::{Files, Object, version};
    use gotemplate::Value as Data;
    use serde_json::json;

    #[test]
    fn files_read_as_text_or_lines_and_missing_ones_as_empty() {
        let files = Files([("a.txt".to_owned(), b"one\ntwo\n".to_vec())].into());
        let call =
            |method, path| files.call(method, &[Data::string(path)]).unwrap().unwrap().to_json().unwrap();
        assert_eq!(call("Get", "a.txt"), json!("one\ntwo\n"));
        assert_eq!(call("Get", "b.txt"), json!(""));
        assert_eq!(call("Lines", "a.txt"), json!(["one", "two"]));
        assert!(
            files.call("Get", &[]).unwrap().is_err() && files.call("Nope", &[Data::string("a")]).is_none()
        );
    }

    #[test]
    fn versions_are_split_into_their_numbers() {
        let expected = json!({"Version": "v1.36.3", "GitVersion": "v1.36.3", "Major": "1", "Minor": "36"});
        assert_eq!(version("v1.36.3"), expected);
    }
}
