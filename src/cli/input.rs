//! Files with Kubernetes objects that a command line names; `-` is standard input.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gotemplate::yaml;
use serde_json::Value;

use crate::api::{Istio, check_schema};

const API_VERSION: &str = "operator.kyma-project.io/v1alpha2";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The file cannot be read.
    #[error("failed to read {}", display_name(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file is not valid YAML.
    #[error("{} is not valid YAML", display_name(path))]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Place and cause.
        source: yaml::Error,
    },
    /// The file has no `Istio` resource.
    #[error("no resource of kind Istio ({API_VERSION}) in {}: found {found}", display_name(path))]
    NoResource {
        /// The file.
        path: PathBuf,
        /// The kinds that it has instead.
        found: String,
    },
    /// The file has several `Istio` resources, of which only one can be active.
    #[error("several resources of kind Istio in {}: {}. Keep one of them", display_name(path), names.join(", "))]
    SeveralResources {
        /// The file.
        path: PathBuf,
        /// Names of the resources.
        names: Vec<String>,
    },
    /// The resource has fields of a wrong type or value.
    #[error("invalid Istio resource in {}: {}", display_name(path), problems.join("; "))]
    InvalidResource {
        /// The file.
        path: PathBuf,
        /// The fields, each with its problem.
        problems: Vec<String>,
    },
    /// The resource cannot be decoded.
    #[error("invalid Istio resource in {}", display_name(path))]
    Decode {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
}

/// Reads the `Istio` resource of a file. Unknown fields are reported on standard error.
pub(super) fn read_resource(path: &Path) -> Result<Istio, InputError> {
    let (mut resources, others): (Vec<Value>, Vec<Value>) =
        read_documents(path)?.into_iter().partition(is_istio);
    let path = || path.to_owned();
    if resources.len() > 1 {
        let names = resources.iter().map(name).collect();
        return Err(InputError::SeveralResources { path: path(), names });
    }
    let Some(resource) = resources.pop() else {
        return Err(InputError::NoResource { path: path(), found: describe_kinds(&others) });
    };
    let violations =
        check_schema(&resource["spec"]).map_err(|source| InputError::Decode { path: path(), source })?;
    for unknown in &violations.unknown {
        eprintln!("warning: {unknown}; the API server drops it, and kubectl rejects it");
    }
    if !violations.invalid.is_empty() {
        return Err(InputError::InvalidResource { path: path(), problems: violations.invalid });
    }
    serde_json::from_value(resource).map_err(|source| InputError::Decode { path: path(), source })
}

fn is_istio(object: &Value) -> bool {
    object["kind"] == "Istio" && object["apiVersion"] == API_VERSION
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or("(no name)").to_owned()
}

/// The kinds of objects, for a user who has named the wrong file.
fn describe_kinds(objects: &[Value]) -> String {
    let kind =
        |object: &Value| Some(format!("{} ({})", object["kind"].as_str()?, object["apiVersion"].as_str()?));
    let kinds: BTreeSet<String> = objects.iter().filter_map(kind).collect();
    if kinds.is_empty() {
        "no Kubernetes object".to_owned()
    } else {
        kinds.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// The name of a file in messages.
fn display_name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Reads the Kubernetes objects of a file; those of a `List` one by one.
pub(super) fn read_documents(path: &Path) -> Result<Vec<Value>, InputError> {
    let failed = |source| InputError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    let documents = yaml::parse_json_documents(&text);
    let documents = documents.map_err(|source| InputError::Yaml { path: path.to_owned(), source })?;
    Ok(documents.into_iter().flat_map(items).collect())
}

/// The objects of a `List`, as `kubectl get` prints several, or the object itself.
fn items(mut document: Value) -> Vec<Value> {
    if document["kind"] != "List" {
        return vec![document];
    }
    match document["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_kubectl_are_split_into_objects() {
        let node = |name: &str| json!({"kind": "Node", "metadata": {"name": name}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [node("a"), node("b")]});
        assert_eq!(items(list), [node("a"), node("b")]);
        assert_eq!(items(node("a")), [node("a")]);
        assert_eq!(items(Value::Null), [Value::Null]);
    }
}
