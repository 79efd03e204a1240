//! Label and field selectors of collections. Pure.

use serde_json::Value;

/// Whether an object is selected by both selectors, in the notation of the API; an empty one selects everything.
pub(crate) fn is_selected(object: &Value, labels: &str, fields: &str) -> bool {
    split(labels).all(|term| matches_label(object, term))
        && split(fields).all(|term| matches_field(object, term))
}

/// Splits at the commas that are not inside of brackets.
fn split(selector: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    selector
        .split(move |character| {
            depth += i32::from(character == '(') - i32::from(character == ')');
            character == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|term| !term.is_empty())
}

fn matches_label(object: &Value, term: &str) -> bool {
    let label = |key: &str| object["metadata"]["labels"].get(key.trim()).and_then(Value::as_str);
    let is_in = |key: &str, set: &str| {
        let set = set.trim().trim_start_matches('(').trim_end_matches(')');
        label(key).is_some_and(|value| set.split(',').any(|element| element.trim() == value))
    };
    if let Some((key, set)) = term.split_once(" notin ") {
        return !is_in(key, set);
    }
    if let Some((key, set)) = term.split_once(" in ") {
        return is_in(key, set);
    }
    if let Some((key, value)) = term.split_once("!=") {
        return label(key) != Some(value.trim());
    }
    if let Some((key, value)) = term.split_once('=') {
        return label(key) == Some(value.trim_start_matches('=').trim());
    }
    match term.strip_prefix('!') {
        Some(key) => label(key).is_none(),
        None => label(term).is_some(),
    }
}

fn matches_field(object: &Value, term: &str) -> bool {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else {
        let (path, value) = term.split_once('=').unwrap_or((term, ""));
        (path, value.trim_start_matches('='), true)
    };
    let found = path.trim().split('.').try_fold(object, |at, field| at.get(field));
    (found.and_then(Value::as_str).unwrap_or_default() == value.trim()) == equal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields_select() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "x"}}});
        for (labels, fields, expected) in [
            ("", "", true),
            ("app=web", "metadata.name=a", true),
            ("app==web,tier!=y", "", true),
            ("app", "metadata.name!=a", false),
            ("!app", "", false),
            ("!other", "", true),
            ("app in (db, web),tier", "", true),
            ("app notin (web)", "", false),
            ("app=db", "", false),
            ("", "metadata.name=b", false),
        ] {
            assert_eq!(is_selected(&object, labels, fields), expected, "{labels:?} {fields:?}");
        }
    }
}
