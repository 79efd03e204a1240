//! References from a schema to another one of the same document.

use serde_json::Value;

/// Deepest nesting in which an anchor is looked for.
const DEPTH_LIMIT: usize = 100;

/// The schema that a reference leads to; `None` for other documents.
pub(super) fn resolve<'s>(root: &'s Value, reference: &str) -> Option<&'s Value> {
    let reference = match root.get("$id").or_else(|| root.get("id")).and_then(Value::as_str) {
        Some(id) => reference.strip_prefix(id.trim_end_matches('#')).unwrap_or(reference),
        None => reference,
    };
    if reference.is_empty() {
        return Some(root);
    }
    let fragment = reference.strip_prefix('#')?;
    if fragment.is_empty() || fragment.starts_with('/') {
        return root.pointer(&fragment.replace("%25", "%").replace("%22", "\"").replace("%5E", "^"));
    }
    anchored(root, fragment, 0)
}

/// The schema that has an anchor of that name.
fn anchored<'s>(schema: &'s Value, name: &str, depth: usize) -> Option<&'s Value> {
    if depth > DEPTH_LIMIT {
        return None;
    }
    let is = |keyword: &str, text: &str| schema.get(keyword).and_then(Value::as_str) == Some(text);
    let fragment = format!("#{name}");
    if is("$anchor", name) || is("$dynamicAnchor", name) || is("$id", &fragment) || is("id", &fragment) {
        return Some(schema);
    }
    match schema {
        Value::Object(fields) => fields.values().find_map(|below| anchored(below, name, depth + 1)),
        Value::Array(values) => values.iter().find_map(|below| anchored(below, name, depth + 1)),
        _ => None,
    }
}
