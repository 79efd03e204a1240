//! Deletes one object of the inventory, if it still is the one that was made.

use kube::Client;
use kube::api::{DeleteParams, ObjectMeta, Preconditions, PropagationPolicy};
use thiserror::Error;

use super::inventory::Record;
use super::server_side::our_entry;
use crate::kubernetes::is_not_found;
use crate::object::ObjectId;

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
const ATTEMPTS: u32 = 5;

/// What became of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone, or was before.
    Gone,
    /// It is being deleted; finalizers or dependents hold it.
    Started,
    /// It is no longer ours and was left alone: recreated by someone else, or without a field of ours.
    NotOurs,
}

/// Deletes an object; a workload stays in place until its pods are gone.
///
/// A conflict may mean that another object has its name by now, or that someone wrote it at the same moment: only another
/// look can tell. What is ours must not be forgotten for it.
pub async fn delete(client: &Client, id: &ObjectId, record: &Record) -> Result<Deletion, Error> {
    let api = id.api(client.clone());
    let mut attempts = 1..=ATTEMPTS;
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
    same && our_entry(kind, live).is_some()
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
