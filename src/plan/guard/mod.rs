//! What values and patches of a user must not change, told by comparing the rendered objects with and without them.
//!
//! Pure. It looks at results, not at names of values, so that no way to the same result is overlooked. Closed to users are
//! what grants rights, what makes an object the one that others refer to, and what gives a pod power over its node.

mod files;
mod injector;
mod pod;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::object::ObjectId;

/// Kinds that are rendered as the charts have them or not at all.
const FROZEN: [&str; 11] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];
/// Kinds whose objects an installation cannot do without.
const ESSENTIAL: [&str; 4] = ["ConfigMap", "DaemonSet", "Deployment", "Service"];
/// Kinds of which a value may bring one more. None of them runs anything or leads anybody elsewhere; what a file tells
/// istiod is looked at.
const WELCOME: [&str; 5] =
    ["ConfigMap", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "ResourceQuota"];
/// Fields of a `spec` that say what an object is about.
const SELECTORS: [&str; 6] =
    ["podSelector", "scaleTargetRef", "selector", "targetRef", "targetRefs", "workloadSelector"];
/// Labels and annotations of these domains mean something to us, to Istio or to its tools.
const LABEL_DOMAINS: [&str; 2] = ["kyma-project.io", "istio.io"];
const ANNOTATION_DOMAINS: [&str; 1] = ["kyma-project.io"];
/// Annotations that decide what a pod may do or what is put into it.
const POWERFUL_ANNOTATIONS: [&str; 9] = [
    "container.apparmor.security.beta.kubernetes.io",
    "inject.istio.io/templates",
    "kubectl.kubernetes.io/last-applied-configuration",
    "seccomp.security.alpha.kubernetes.io",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/capNetBindService",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
];

/// A change that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The object.
    pub object: ObjectId,
    /// Where in the object; empty for the object as a whole.
    pub path: String,
    /// What is closed there.
    pub what: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        write!(f, ": {} cannot be changed this way", self.what)
    }
}

/// All changes between two renderings that are not allowed.
#[must_use]
pub fn violations(before: &[(ObjectId, Value)], after: &[(ObjectId, Value)]) -> Vec<Violation> {
    let old: BTreeMap<&ObjectId, &Value> = before.iter().map(|(id, object)| (id, object)).collect();
    let new: BTreeMap<&ObjectId, &Value> = after.iter().map(|(id, object)| (id, object)).collect();
    let gone = old.keys().filter(|id| !new.contains_key(*id)).filter_map(|id| vanished(id));
    let present = new.iter().flat_map(|(id, object)| match old.get(id) {
        Some(before) => changes(id, before, object),
        None => appeared(id).into_iter().chain(content(id, &Value::Null, object)).collect(),
    });
    gone.chain(present).collect()
}

fn vanished(id: &ObjectId) -> Option<Violation> {
    coming_and_going(id, ESSENTIAL.contains(&id.kind.as_str()))
}

fn appeared(id: &ObjectId) -> Option<Violation> {
    coming_and_going(id, !WELCOME.contains(&id.kind.as_str()))
}

/// Why an object must not appear or vanish: its kind is closed or fixed, or it is there for the whole cluster.
fn coming_and_going(id: &ObjectId, is_fixed: bool) -> Option<Violation> {
    let fixed = (is_fixed || id.namespace.is_none()).then_some("which objects there are");
    let what = closed_kind(id).or(fixed)?;
    Some(Violation { object: id.clone(), path: String::new(), what })
}

/// Why objects of a kind are not open to any change.
#[must_use]
pub fn closed_kind(id: &ObjectId) -> Option<&'static str> {
    FROZEN.contains(&id.kind.as_str()).then_some(match id.kind.as_str() {
        "CustomResourceDefinition" => "a definition",
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => "a webhook",
        "Namespace" => "a namespace",
        "ServiceAccount" => "a service account",
        _ => "a permission",
    })
}

/// What changed in one object that must not.
#[must_use]
pub fn changes(id: &ObjectId, before: &Value, after: &Value) -> Vec<Violation> {
    let mut found = Findings { object: id, violations: Vec::new() };
    if before == after {
        return found.violations;
    }
    if let Some(what) = closed_kind(id) {
        found.add("", what);
        return found.violations;
    }
    for field in ["apiVersion", "kind"] {
        found.equal(before, after, "", field, "its identity");
    }
    metadata(&mut found, "metadata", before.get("metadata"), after.get("metadata"));
    spec(&mut found, "spec", &before["spec"], &after["spec"]);
    found.violations.extend(content(id, before, after));
    found.violations
}

/// What the `spec` of any object has that is closed, pods included.
fn spec(found: &mut Findings, path: &str, before: &Value, after: &Value) {
    for field in SELECTORS {
        found.equal(before, after, path, field, "a selector");
    }
    found.equal(before, after, path, "externalName", "its identity");
    if before.get("template") == after.get("template") {
        return;
    }
    let path = join(path, "template");
    let (before, after) = (&before["template"], &after["template"]);
    metadata(found, &join(&path, "metadata"), before.get("metadata"), after.get("metadata"));
    pod::compare(found, &join(&path, "spec"), &before["spec"], &after["spec"]);
}

/// What changed in texts that istiod reads, and that it must not be told.
fn content(id: &ObjectId, before: &Value, after: &Value) -> Vec<Violation> {
    let mut found = Findings { object: id, violations: Vec::new() };
    if id.kind != "ConfigMap" {
        return found.violations;
    }
    let (old, new) = (&before["data"], &after["data"]);
    if id.name.starts_with("istio-sidecar-injector") {
        injector::compare(&mut found, old, new);
    }
    files::mesh(&mut found, old, new);
    if after.pointer(files::DEFAULTS_FOR_CLASS).is_some() {
        files::defaults_for_class(&mut found, old, new);
    }
    found.violations
}

/// Collects what is wrong with one object.
struct Findings<'a> {
    object: &'a ObjectId,
    violations: Vec<Violation>,
}

impl Findings<'_> {
    fn add(&mut self, path: &str, what: &'static str) {
        self.violations.push(Violation { object: self.object.clone(), path: path.to_owned(), what });
    }

    /// A field that has to stay as it is.
    fn equal(&mut self, before: &Value, after: &Value, path: &str, field: &str, what: &'static str) {
        if before.get(field) != after.get(field) {
            self.add(&join(path, field), what);
        }
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn metadata(found: &mut Findings, path: &str, before: Option<&Value>, after: Option<&Value>) {
    let empty = Map::new();
    let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let (before, after) = (fields(before), fields(after));
    for field in changed_keys(&before, &after) {
        if !matches!(field.as_str(), "labels" | "annotations") {
            found.add(&join(path, &field), "its identity");
        }
    }
    let map = |fields: &Map<String, Value>, name: &str| {
        fields.get(name).and_then(Value::as_object).unwrap_or(&empty).clone()
    };
    let (old, new) = (map(&before, "labels"), map(&after, "labels"));
    for key in changed_keys(&old, &new) {
        if old.contains_key(&key) || is_of_domain(&key, &LABEL_DOMAINS) {
            found.add(&join(path, &format!("labels[{key}]")), "a label that others rely on");
        }
    }
    let (old, new) = (map(&before, "annotations"), map(&after, "annotations"));
    annotations(found, &join(path, "annotations"), &old, &new);
}

/// Annotations that give power, or that are ours.
fn annotations(found: &mut Findings, path: &str, before: &Map<String, Value>, after: &Map<String, Value>) {
    for key in changed_keys(before, after) {
        if is_closed_annotation(&key) {
            found.add(&format!("{path}[{key}]"), "an annotation that others rely on");
        }
    }
}

fn is_closed_annotation(key: &str) -> bool {
    let domain = key.split('/').next().unwrap_or_default();
    is_of_domain(key, &ANNOTATION_DOMAINS)
        || POWERFUL_ANNOTATIONS.iter().any(|closed| *closed == key || *closed == domain)
}

fn is_of_domain(key: &str, domains: &[&str]) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return false };
    domains.iter().any(|domain| prefix == *domain || prefix.ends_with(&format!(".{domain}")))
}

fn changed_keys(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| before.get(key) != after.get(key));
    keys
}

#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod tests;
