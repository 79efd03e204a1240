//! Deletes one object of the inventory, if it still is the one that was made, or releases it, if it was somebody else's before.

use kube::Client;
use kube::api::{DeleteParams, ObjectMeta, Preconditions, PropagationPolicy};
use serde_json::Value;
use thiserror::Error;

use super::Record;
use super::ownership::may_be_deleted;
use crate::api::names::FIELD_MANAGER;
use crate::kubernetes::is_not_found;
use crate::kubernetes::object::ObjectId;
use crate::ssa::apply::{self, own_entry_digest};

/// An object could not be deleted.
#[derive(Debug, Error)]
pub enum Error {
    /// Its present state could not be read.
    #[error("cannot read {object} before deleting it")]
    Read {
        /// The object.
        object: ObjectId,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Our management of its fields could not be ended.
    #[error("cannot release {}", source.object)]
    Release {
        /// The object and what the API server said.
        source: apply::Error,
    },
    /// The API server refused.
    #[error("cannot delete {object}")]
    Delete {
        /// The object.
        object: ObjectId,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// How often a deletion is tried that meets a conflict.
const MAX_ATTEMPTS: u32 = 5;

/// What became of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone, or was before.
    Gone,
    /// It is being deleted; finalizers or dependents hold it.
    Started,
    /// It is no longer ours and was left alone: recreated by someone else, or without a field of ours.
    NotOurs,
    /// It was somebody else's before we wrote it, and stays: only its fields are no longer managed by us.
    Released,
}

impl Deletion {
    /// Whether the object need not be remembered any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Gone | Self::NotOurs | Self::Released => true,
            Self::Started => false,
        }
    }
}

/// Deletes an object, or releases one that must not be deleted; a workload stays in place until its pods are gone.
///
/// A conflict may mean that another object has its name by now, or that someone wrote it at the same moment: only another
/// look can tell. What is ours must not be forgotten for it.
pub async fn delete(client: &Client, id: &ObjectId, record: &Record) -> Result<Deletion, Error> {
    let api = id.api(client.clone());
    let mut attempts = 1..=MAX_ATTEMPTS;
    loop {
        let live = match api.get_metadata_opt(&id.name).await {
            Ok(Some(live)) => live.metadata,
            Ok(None) => return Ok(Deletion::Gone),
            Err(error) if is_not_found(&error) => return Ok(Deletion::Gone),
            Err(source) => return Err(Error::Read { object: id.clone(), source: Box::new(source) }),
        };
        if !is_ours(&id.kind, &live, record) {
            return Ok(Deletion::NotOurs);
        }
        if !may_be_deleted(id, record) {
            match release(client, id, &live).await {
                Err(error) if error.is_conflict() && attempts.next().is_some() => continue,
                Err(source) => return Err(Error::Release { source }),
                Ok(()) => return Ok(Deletion::Released),
            }
        }
        let params = DeleteParams {
            propagation_policy: Some(propagation(id)),
            preconditions: Some(Preconditions { uid: live.uid, resource_version: None }),
            ..DeleteParams::default()
        };
        attempts.next();
        match api.delete(&id.name, &params).await {
            Ok(answer) => return Ok(if answer.is_right() { Deletion::Gone } else { Deletion::Started }),
            Err(error) if is_not_found(&error) => return Ok(Deletion::Gone),
            Err(kube::Error::Api(status)) if status.is_conflict() && !attempts.is_empty() => {}
            Err(source) => return Err(Error::Delete { object: id.clone(), source: Box::new(source) }),
        }
    }
}

/// Ends our management of an object's fields, which stay as they are.
///
/// As long as we manage fields, the object looks like one that an installer of Istio left behind.
async fn release(client: &Client, id: &ObjectId, live: &ObjectMeta) -> Result<(), apply::Error> {
    let mut object = serde_json::json!({"metadata": live});
    let entries = entries_of_others(object["metadata"]["managedFields"].take());
    match apply::rewrite_managed_fields(client, id, &object, entries).await {
        // Gone, or in a place where this version may not write: then there is nothing that could be done.
        Err(error) if error.is_not_found() || error.is_forbidden() => {
            tracing::info!(object = %id, %error, "not released, only forgotten");
            Ok(())
        }
        result => result,
    }
}

/// The managed fields without ours. An empty list would change nothing, a list of one empty entry makes the API server drop all.
fn entries_of_others(entries: Value) -> Vec<Value> {
    let Value::Array(mut entries) = entries else { return Vec::new() };
    entries.retain(|entry| entry["manager"] != FIELD_MANAGER);
    if entries.is_empty() {
        entries.push(Value::Object(serde_json::Map::new()));
    }
    entries
}

fn propagation(id: &ObjectId) -> PropagationPolicy {
    match id.kind.as_str() {
        "Deployment" | "DaemonSet" => PropagationPolicy::Foreground,
        _ => PropagationPolicy::Background,
    }
}

/// Whether the live object is the recorded one and we still manage a field of it.
///
/// A record without a UID is from a run that ended between the write and its confirmation; then our field manager is the
/// proof.
pub(crate) fn is_ours(kind: &str, live: &ObjectMeta, record: &Record) -> bool {
    let same = record.uid.is_none() || record.uid == live.uid;
    same && own_entry_digest(kind, live).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Stage;

    fn live(uid: &str, manager: &str) -> ObjectMeta {
        serde_json::from_value(
            json!({"uid": uid, "managedFields": [{"manager": manager, "operation": "Apply"}]}),
        )
        .unwrap()
    }

    #[test]
    fn only_the_entries_of_others_stay_when_an_object_is_released() {
        let entry = |manager: &str| json!({"manager": manager, "operation": "Apply"});
        for (before, after) in [
            (json!([entry("istio-operator"), entry("kubectl")]), vec![entry("kubectl")]),
            (json!([entry("istio-operator")]), vec![json!({})]),
            (Value::Null, vec![]),
        ] {
            assert_eq!(entries_of_others(before.clone()), after, "{before}");
        }
    }

    #[test]
    fn only_the_recorded_object_with_our_field_manager_is_ours() {
        let record =
            |uid: Option<&str>| Record { uid: uid.map(str::to_owned), ..Record::planned(Stage::Istiod) };
        for (live, record, ours) in [
            (live("a", "istio-operator"), record(Some("a")), true),
            (live("a", "istio-operator"), record(None), true),
            (live("b", "istio-operator"), record(Some("a")), false),
            (live("a", "kubectl"), record(Some("a")), false),
            (live("a", "kubectl"), record(None), false),
        ] {
            assert_eq!(is_ours("Service", &live, &record), ours, "{live:?} {record:?}");
        }
    }
}
