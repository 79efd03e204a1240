//! Managed fields of one object: what an apply and what any other write make of them. Pure but for the time of an entry.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::{self, FieldPath, FieldSet, Schema};

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// Who writes, and by which endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

/// What one manager owns of an object.
#[derive(Clone, Debug)]
struct Entry {
    writer: Writer,
    operation: String,
    time: Value,
    fields: FieldSet,
}

impl Entry {
    fn decode(entry: &Value) -> Option<Self> {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let writer = Writer {
            manager: entry["manager"].as_str()?.to_owned(),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
        };
        let fields = fields::from_fields_v1(&entry["fieldsV1"]);
        Some(Self { writer, operation: text("operation"), time: entry["time"].clone(), fields })
    }

    fn encode(&self) -> Value {
        let Writer { manager, api_version, subresource } = &self.writer;
        let mut entry = json!({"manager": manager, "operation": self.operation, "apiVersion": api_version,
            "fieldsType": "FieldsV1", "fieldsV1": fields::to_fields_v1(&self.fields)});
        if !self.time.is_null() {
            entry["time"] = self.time.clone();
        }
        if !subresource.is_empty() {
            entry["subresource"] = json!(subresource);
        }
        entry
    }
}

fn decode(object: &Value) -> Vec<Entry> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(Entry::decode).collect()
}

fn encode(object: &mut Value, entries: &[Entry]) {
    // In an order of their own, as the API server does, so that a write that changes nothing leaves the list as it is.
    let mut entries: Vec<&Entry> = entries.iter().filter(|entry| !entry.fields.is_empty()).collect();
    entries.sort_by(|left, right| {
        let key = |entry: &Entry| {
            (entry.operation.clone(), entry.writer.manager.clone(), entry.writer.subresource.clone())
        };
        key(left).cmp(&key(right))
    });
    let entries: Vec<Value> = entries.into_iter().map(Entry::encode).collect();
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if entries.is_empty() {
        metadata.shift_remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), json!(entries));
    }
}

/// The object after an apply of `manifest`.
pub(crate) fn apply(
    live: &Value,
    manifest: &Value,
    writer: &Writer,
    force: bool,
    schema: Schema,
) -> Result<Value, ApiError> {
    let mut object = live.clone();
    let mut manifest = manifest.clone();
    if let Some(metadata) = manifest["metadata"].as_object_mut() {
        for field in ["managedFields", "uid", "resourceVersion"] {
            metadata.shift_remove(field);
        }
    }
    let wanted = fields::all_fields(&manifest, schema);
    let (ours, mut others): (Vec<Entry>, Vec<Entry>) = decode(live).into_iter().partition(|entry| {
        entry.operation == APPLY
            && entry.writer.manager == writer.manager
            && entry.writer.subresource == writer.subresource
    });
    let conflicts = take_conflicts(&mut others, &wanted, live, &manifest);
    if !conflicts.is_empty() && !force {
        return Err(ApiError::apply_conflict(&conflicts));
    }
    let before: FieldSet = ours.iter().flat_map(|entry| entry.fields.iter().cloned()).collect();
    // From the back, so that the fields of an element go before the element.
    for path in before.difference(&wanted).collect::<Vec<_>>().into_iter().rev() {
        remove_unowned(&mut object, path, &others);
    }
    fields::merge(&mut object, &manifest, schema);
    let time = match ours.first() {
        Some(ours) if before == wanted && without_managed_fields(&object) == without_managed_fields(live) => {
            ours.time.clone()
        }
        _ => now(),
    };
    let entry = Entry { writer: writer.clone(), operation: APPLY.to_owned(), time, fields: wanted };
    encode(&mut object, &[vec![entry], others].concat());
    Ok(object)
}

/// Takes the fields from other managers that the apply gives another value; returns each with its manager.
fn take_conflicts(
    others: &mut [Entry],
    wanted: &FieldSet,
    live: &Value,
    manifest: &Value,
) -> Vec<(String, String)> {
    let mut conflicts = Vec::new();
    for other in others {
        let is_conflict = |path: &&FieldPath| {
            !is_element(path) && fields::resolve(live, path) != fields::resolve(manifest, path)
        };
        let taken: Vec<FieldPath> = other.fields.intersection(wanted).filter(is_conflict).cloned().collect();
        for path in taken {
            other.fields.remove(&path);
            conflicts.push((path.join("."), other.writer.manager.clone()));
        }
    }
    conflicts
}

fn remove_unowned(object: &mut Value, path: &FieldPath, others: &[Entry]) {
    let prefix = if is_element(path) { &path[..path.len() - 1] } else { &path[..] };
    let is_owned = others.iter().any(|other| other.fields.iter().any(|owned| owned.starts_with(prefix)));
    if !is_owned {
        fields::remove(object, prefix);
    }
}

fn is_element(path: &[String]) -> bool {
    path.last().is_some_and(|step| step == ".")
}

/// Notes in `after` who owns what after a write that is no apply.
pub(crate) fn record_update(before: &Value, after: &mut Value, writer: &Writer, schema: Schema) {
    let fields_before = fields::all_fields(before, schema);
    let is_new = |path: &FieldPath| match fields::resolve(before, path) {
        None => true,
        Some(old) => !is_element(path) && Some(old) != fields::resolve(after, path),
    };
    let changed: FieldSet = fields::all_fields(after, schema).into_iter().filter(is_new).collect();
    let is_gone = |path: &FieldPath| fields::resolve(after, path).is_none();
    let removed: FieldSet = fields_before.into_iter().filter(is_gone).collect();
    let mut entries = decode(after);
    for entry in &mut entries {
        entry.fields.retain(|path| !changed.contains(path) && !removed.contains(path));
    }
    if !changed.is_empty() {
        let same = |entry: &&mut Entry| entry.operation == UPDATE && entry.writer == *writer;
        match entries.iter_mut().find(same) {
            Some(entry) => {
                entry.fields.extend(changed);
                entry.time = now();
            }
            None => entries.push(Entry {
                writer: writer.clone(),
                operation: UPDATE.to_owned(),
                time: now(),
                fields: changed,
            }),
        }
    }
    encode(after, &entries);
}

/// The object without what changes with every write.
pub(crate) fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
        metadata.shift_remove("resourceVersion");
    }
    object
}

/// The present second, as the API server writes it.
pub(crate) fn now() -> Value {
    let now = Timestamp::now();
    let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
    json!(second.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema { custom: false };

    fn writer(manager: &str) -> Writer {
        Writer { manager: manager.to_owned(), api_version: "v1".to_owned(), subresource: String::new() }
    }

    fn owners(object: &Value) -> Vec<(String, Value)> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| (entry["manager"].as_str().unwrap().to_owned(), entry["fieldsV1"].clone()))
            .collect()
    }

    fn map(data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
    }

    #[test]
    fn a_field_that_is_no_longer_applied_is_removed() {
        let first =
            apply(&map(&json!({})), &map(&json!({"a": "1", "b": "2"})), &writer("x"), true, SCHEMA).unwrap();
        let second = apply(&first, &map(&json!({"b": "2"})), &writer("x"), true, SCHEMA).unwrap();
        assert_eq!(second["data"], json!({"b": "2"}));
        assert_eq!(owners(&second), [("x".to_owned(), json!({"f:data": {"f:b": {}}}))]);
    }

    #[test]
    fn a_field_of_another_manager_conflicts_unless_forced() {
        let theirs = apply(&map(&json!({})), &map(&json!({"a": "1"})), &writer("x"), true, SCHEMA).unwrap();
        let refused = apply(&theirs, &map(&json!({"a": "2"})), &writer("y"), false, SCHEMA).unwrap_err();
        assert_eq!(refused.code, 409);
        let forced = apply(&theirs, &map(&json!({"a": "2"})), &writer("y"), true, SCHEMA).unwrap();
        assert_eq!(owners(&forced), [("y".to_owned(), json!({"f:data": {"f:a": {}}}))]);
        let shared = apply(&theirs, &map(&json!({"a": "1"})), &writer("y"), false, SCHEMA).unwrap();
        assert_eq!(owners(&shared).len(), 2, "the same value is shared");
    }

    #[test]
    fn an_update_takes_the_fields_that_it_changes() {
        let before =
            apply(&map(&json!({})), &map(&json!({"a": "1", "b": "2"})), &writer("x"), true, SCHEMA).unwrap();
        let mut after = before.clone();
        after["data"]["a"] = json!("3");
        record_update(&before, &mut after, &writer("kubectl-edit"), SCHEMA);
        assert_eq!(
            owners(&after),
            [
                ("x".to_owned(), json!({"f:data": {"f:b": {}}})),
                ("kubectl-edit".to_owned(), json!({"f:data": {"f:a": {}}})),
            ]
        );
    }

    #[test]
    fn an_apply_that_changes_nothing_is_the_same_object() {
        let first = apply(&map(&json!({})), &map(&json!({"a": "1"})), &writer("x"), true, SCHEMA).unwrap();
        assert_eq!(apply(&first, &map(&json!({"a": "1"})), &writer("x"), true, SCHEMA).unwrap(), first);
    }
}
