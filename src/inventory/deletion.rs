//! Deletes one object of the inventory, or releases it if it existed before for another purpose.
//!
//! An object that is not the recorded one any more is left alone.

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

/// An object could not be deleted or released.
#[derive(Debug, Error)]
pub enum Error {
    /// Its current state could not be read.
    #[error("failed to read {object} before deleting it")]
    Read {
        /// The object.
        object: ObjectId,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// Our managed fields could not be removed.
    #[error("failed to release {}", source.object)]
    Release {
        /// The object and the response of the API server.
        source: apply::Error,
    },
    /// The API server refused the deletion.
    #[error("failed to delete {object}")]
    Delete {
        /// The object.
        object: ObjectId,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
}

/// Attempts of a deletion that meets conflicts.
const MAX_ATTEMPTS: u32 = 5;

/// The result of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object does not exist any more.
    Gone,
    /// The object is being deleted; finalizers or dependents delay that.
    Started,
    /// The object is not ours any more and was left alone: it was recreated, or all our fields were taken.
    NotOurs,
    /// The object existed before our first write, for another purpose, and stays: we no longer manage its fields.
    Released,
}

impl Deletion {
    /// Whether the object can be removed from the inventory.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Gone | Self::NotOurs | Self::Released => true,
            Self::Started => false,
        }
    }
}

/// Deletes an object, or releases one that must not be deleted. A workload stays until its pods are gone.
///
/// A conflict means that another object has its name by now, or that it was written at the same time. It is read again to find
/// out which, so that an object of ours is not lost.
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
            Ok(response) => return Ok(if response.is_right() { Deletion::Gone } else { Deletion::Started }),
            Err(error) if is_not_found(&error) => return Ok(Deletion::Gone),
            Err(kube::Error::Api(status)) if status.is_conflict() && !attempts.is_empty() => {}
            Err(source) => return Err(Error::Delete { object: id.clone(), source: Box::new(source) }),
        }
    }
}

/// Removes our entry from the managed fields; the values of the fields stay.
///
/// As long as we manage fields, the object looks like one that an installer of Istio left behind.
async fn release(client: &Client, id: &ObjectId, live: &ObjectMeta) -> Result<(), apply::Error> {
    let mut object = serde_json::json!({"metadata": live});
    let entries = entries_of_others(object["metadata"]["managedFields"].take());
    match apply::rewrite_managed_fields(client, id, &object, entries).await {
        // It is gone, or this version may not write there: nothing can be done about either.
        Err(error) if error.is_not_found() || error.is_forbidden() => {
            tracing::info!(object = %id, %error, "cannot release the object, removing it from the inventory only");
            Ok(())
        }
        result => result,
    }
}

/// The managed fields without ours. The API server ignores an empty list; one empty entry makes it remove all entries.
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
/// A record without a UID is from a run that ended between the write and its confirmation; then our field manager is the proof.
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
    fn a_released_object_keeps_only_the_entries_of_others() {
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
