//! Splits rendered text into manifests and puts them into the order in which Helm installs them.
//!
//! Reads text that is already rendered; knows nothing of templates.

use super::RenderError;
use crate::chart::as_text;
use crate::yaml;
use serde_json::Value;

/// Kinds in the order in which they are installed; all others come behind, by name.
const INSTALL_ORDER: [&str; 38] = [
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// The events that a hook can wait for.
const HOOKS: [&str; 10] = [
    "pre-install",
    "post-install",
    "pre-delete",
    "post-delete",
    "pre-upgrade",
    "post-upgrade",
    "pre-rollback",
    "post-rollback",
    "test",
    "test-success",
];

/// A document of a template's output.
pub(super) struct Manifest<'t> {
    pub file: &'t str,
    pub text: &'t str,
    kind: String,
}

/// What is installed, and what waits for an event.
#[derive(Default)]
pub(super) struct Sorted<'t> {
    pub manifests: Vec<Manifest<'t>>,
    pub hooks: Vec<Manifest<'t>>,
}

/// What Helm wants to know of a document.
struct Head {
    kind: String,
    hooks: Option<String>,
}

/// Sorts the documents of files as Helm does. A document that is not an object is an error.
pub(super) fn sort<'t>(
    files: impl Iterator<Item = (&'t String, &'t String)>,
) -> Result<Sorted<'t>, RenderError> {
    let mut sorted = Sorted::default();
    for (file, text) in files {
        for (line, document) in documents(text) {
            let head = Head::read(document).map_err(|error| error.at(file, line))?;
            let manifest = Manifest { file, text: document, kind: head.kind };
            match head.hooks {
                None => sorted.manifests.push(manifest),
                Some(hooks) if hooks.split(',').all(is_hook) => sorted.hooks.push(manifest),
                // An event that does not exist: never installed.
                Some(_) => {}
            }
        }
    }
    for manifests in [&mut sorted.manifests, &mut sorted.hooks] {
        manifests.sort_by(|a, b| order(&a.kind).cmp(&order(&b.kind)));
    }
    Ok(sorted)
}

fn is_hook(event: &str) -> bool {
    HOOKS.contains(&event.trim().to_lowercase().as_str())
}

/// The place of a kind: known ones first, then by name.
fn order(kind: &str) -> (usize, &str) {
    match INSTALL_ORDER.iter().position(|known| *known == kind) {
        Some(position) => (position, ""),
        None => (INSTALL_ORDER.len(), kind),
    }
}

/// The documents of a text with the number of their first line. They are separated by lines that start with `---`; what
/// follows on such a line belongs to the next document.
pub(super) fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut at) = (text.len() - text.trim_start().len(), 0);
    let mut push = |from: usize, to: usize| {
        let document = text.get(from..to).unwrap_or_default();
        let trimmed = document.trim_start();
        if !trimmed.is_empty() {
            let first = from + document.len() - trimmed.len();
            documents.push((text.get(..first).unwrap_or_default().matches('\n').count() + 1, trimmed));
        }
    };
    for line in text.split_inclusive('\n') {
        if at >= start && line.starts_with("---") {
            push(start, at);
            start = at + 3;
        }
        at += line.len();
    }
    push(start, text.len());
    documents
}

/// What is wrong with a document.
enum Wrong {
    Yaml(yaml::Error),
    Object(String),
}

impl Wrong {
    fn at(self, file: &str, line: usize) -> RenderError {
        let file = file.to_owned();
        match self {
            Self::Yaml(source) => RenderError::Output { file, line, source },
            Self::Object(reason) => RenderError::NoObject { file, line, reason },
        }
    }
}

impl Head {
    /// Reads a document as Go reads it into a struct: texts may be numbers, but not maps or lists.
    fn read(document: &str) -> Result<Self, Wrong> {
        let object = yaml::parse(document).map_err(Wrong::Yaml)?;
        let wrong = |what: &str| Wrong::Object(what.to_owned());
        let fields = match &object {
            Value::Null => return Ok(Self { kind: String::new(), hooks: None }),
            Value::Object(fields) => fields,
            _ => return Err(wrong("it is not a map")),
        };
        let text = |value: Option<&Value>, what: &str| match value {
            None => Ok(String::new()),
            Some(value) => as_text(value).ok_or_else(|| Wrong::Object(format!("{what} is not a string"))),
        };
        text(fields.get("apiVersion"), "apiVersion")?;
        let kind = text(fields.get("kind"), "kind")?;
        let annotations = match fields.get("metadata") {
            None | Some(Value::Null) => None,
            Some(Value::Object(metadata)) => {
                text(metadata.get("name"), "metadata.name")?;
                metadata.get("annotations")
            }
            Some(_) => return Err(wrong("metadata is not a map")),
        };
        let hooks = match annotations {
            None | Some(Value::Null) => None,
            Some(Value::Object(annotations)) => {
                for (key, value) in annotations {
                    text(Some(value), &format!("annotation {key}"))?;
                }
                annotations.get("helm.sh/hook").and_then(as_text)
            }
            Some(_) => return Err(wrong("metadata.annotations is not a map")),
        };
        Ok(Self { kind, hooks })
    }
}

#[cfg(test)]
mod tests {
    use super::documents;

    #[test]
    fn documents_know_their_first_line() {
        let cases = [
            ("a\n---\nb\n", vec![(1, "a\n"), (3, "b\n")]),
            ("---\n\n---\nb\n---", vec![(4, "b\n")]),
            ("\n\n", vec![]),
            ("\n---kind: A\n---  # c\nb", vec![(2, "kind: A\n"), (3, "# c\nb")]),
            (" ---\na", vec![(1, "---\na")]),
        ];
        for (text, expected) in cases {
            assert_eq!(documents(text), expected, "{text:?}");
        }
    }
}
