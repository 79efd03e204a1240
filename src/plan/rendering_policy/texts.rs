//! ConfigMaps whose texts istiod reads: their content is compared.
//!
//! Pure. A text that not every reader reads alike is refused.

use gotemplate::yaml;
use serde_json::{Map, Value, json};

use super::walk::Walk;
use super::{Cause, Findings};

/// Longest text that is read, in bytes: what a `ConfigMap` holds.
const MAX_TEXT: usize = 1024 * 1024;

/// Keys of a `ConfigMap` with overlays, and the subjects under which their open fields are listed. Any other kind would
/// be made by istiod, too.
const OVERLAYS: [(&str, &str, &str); 4] = [
    ("deployment", "overlay-deployment", "data.deployment: "),
    ("horizontalPodAutoscaler", "overlay-autoscaler", "data.horizontalPodAutoscaler: "),
    ("podDisruptionBudget", "overlay-budget", "data.podDisruptionBudget: "),
    ("service", "overlay-service", "data.service: "),
];

/// Compares the mesh configuration.
pub(crate) fn mesh(findings: &mut Findings, before: &Value, after: &Value) {
    let texts = [("mesh", "mesh", "data.mesh: ")];
    compare(findings, &texts, before, after);
}

/// Compares the injection settings.
pub(crate) fn injection(findings: &mut Findings, before: &Value, after: &Value) {
    let texts =
        [("config", "injection-config", "data.config: "), ("values", "injection-values", "data.values: ")];
    compare(findings, &texts, before, after);
}

/// Compares the overlays for gateways that istiod makes.
pub(crate) fn overlays(findings: &mut Findings, before: &Value, after: &Value) {
    compare(findings, &OVERLAYS, before, after);
}

/// Compares a `ConfigMap` with open `texts`: their key, the subject of what stands in them, and how to show that.
fn compare(
    findings: &mut Findings,
    texts: &[(&str, &'static str, &'static str)],
    before: &Value,
    after: &Value,
) {
    for (key, subject, prefix) in texts {
        let (old, new) = (&before["data"][*key], &after["data"][*key]);
        if old == new {
            continue;
        }
        match (read(old), read(new)) {
            (Some(old), Some(new)) => {
                let old = with_known_container(subject, old, &new);
                Walk::new(subject, prefix, findings).compare(Some(&old), Some(&new));
            }
            _ => findings.add(format!("data.{key}"), Cause::Unreadable),
        }
    }
    // Everything but the texts is closed.
    let keys: Vec<&str> = texts.iter().map(|(key, ..)| *key).collect();
    Walk::new("", "", findings).compare(Some(&without(&keys, before)), Some(&without(&keys, after)));
}

/// A text as the value it stands for; nothing stands for an empty map. `None` if it cannot be read, and if there are
/// several documents, of which not every reader takes the same.
fn read(text: &Value) -> Option<Value> {
    if text.is_null() {
        return Some(json!({}));
    }
    let text = text.as_str().filter(|text| text.len() <= MAX_TEXT && !has_aliases(text))?;
    let documents = yaml::parse_json_documents(text).ok()?;
    match documents.as_slice() {
        [] | [Value::Null] => Some(json!({})),
        [Value::Object(map)] => Some(Value::Object(map.clone())),
        _ => None,
    }
}

/// Whether a text may use an anchor of YAML again, by which a short text becomes a large value. The charts print none.
///
/// Errs on the side of caution: what looks like an alias may be part of a longer text.
fn has_aliases(text: &str) -> bool {
    let begins_node = |before: &str| {
        let previous = before.chars().rev().find(|c| !matches!(c, ' ' | '\t'));
        previous.is_none_or(|c| {
            c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '[' | '{' | ',' | ':' | '-' | '?')
        })
    };
    let is_name =
        |after: &str| after.starts_with(|c: char| !c.is_whitespace() && !matches!(c, ',' | ']' | '}'));
    text.contains('&')
        && text.match_indices('*').any(|(at, _)| begins_node(&text[..at]) && is_name(&text[at + 1..]))
}

/// An overlay changes the container that istiod gives every gateway; any other would be a new one.
fn with_known_container(subject: &str, mut before: Value, after: &Value) -> Value {
    const CONTAINERS: &str = "/spec/template/spec/containers";
    if subject != "overlay-deployment" || after.pointer(CONTAINERS).is_none() {
        return before;
    }
    if before.pointer(CONTAINERS).is_none() {
        let mut place = &mut before;
        for name in ["spec", "template", "spec"] {
            place = &mut place[name];
        }
        place["containers"] = json!([{"name": "istio-proxy"}]);
    }
    before
}

fn without(keys: &[&str], object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        data.retain(|key, _| !keys.contains(&&**key));
    }
    // A ConfigMap whose texts are all gone is like one that has none.
    if object.get("data").and_then(Value::as_object).is_some_and(Map::is_empty) {
        object["data"] = Value::Null;
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_aliases_are_not_read() {
        for (text, is_read) in [
            ("a: [\"*\"]\nb: a & b *c*", true),
            ("a: '& *'", true),
            ("a: &x {}\nb: *x", false),
            ("a: &x {}\nb: [*x, *x]", false),
            ("a: &x {}\nb:\n- *x", false),
            ("a: &x {}\nb:\n  *x", false),
            ("a: &x y\n*x : z", false),
        ] {
            assert_eq!(read(&json!(text)).is_some(), is_read, "{text}");
        }
    }
}
