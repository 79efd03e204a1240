//! The changes that applying a plan would make, found by a dry run.
//!
//! The API server computes them, so that defaults, webhooks and yielded fields are included as in a real apply. Nothing is written; only
//! fields that the API server maintains itself are left out.

mod text;

use futures::stream::{self, Stream, StreamExt};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::Value;
use thiserror::Error;

pub use self::text::{Style, unified};
use crate::api::names::FIELD_MANAGER;
use crate::crds::compatibility::{self, CrdDecision};
use crate::inventory::deletion::is_ours;
use crate::inventory::ownership::may_be_deleted;
use crate::inventory::{Inventory, Record};
use crate::kubernetes::object::ObjectId;
use crate::kubernetes::{is_not_found, ok_if_not_found};
use crate::plan::{Plan, Stage, access};
use crate::ssa::yielded_fields;

/// Concurrent requests. Responses with CRDs are large: more would take memory and save no time.
const MAX_CONCURRENT_REQUESTS: usize = 4;

/// The changes could not be determined.
#[derive(Debug, Error)]
pub enum Error {
    /// A planned object could not be read.
    #[error("failed to read a planned object")]
    Plan(#[from] crate::plan::Error),
    /// A live object could not be read.
    #[error("failed to read {object}")]
    Read {
        /// The object.
        object: Box<ObjectId>,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// The API server would reject an object.
    #[error("{object} would be rejected")]
    DryRun {
        /// The object.
        object: Box<ObjectId>,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
}

/// One object before and after the apply; equal if nothing would change.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectDiff {
    /// The object.
    pub object: ObjectId,
    /// The live object; `None` if it does not exist.
    pub before: Option<Value>,
    /// The object after the apply; `None` if it would be deleted.
    pub after: Option<Value>,
}

impl ObjectDiff {
    /// Whether anything would change.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.before == self.after
    }
}

/// Compares each planned object, in the order of writing, then those that would be pruned.
pub fn diff<'a>(
    client: &'a Client,
    plan: &'a Plan,
    inventory: &'a Inventory,
) -> Result<impl Stream<Item = Result<ObjectDiff, Error>> + 'a, Error> {
    let wanted: Vec<ObjectId> =
        plan.ids().map_err(|(_, error)| error)?.into_iter().map(|(_, id)| id).collect();
    let planned = Stage::ALL.into_iter().flat_map(|stage| plan.objects(stage));
    let applied =
        stream::iter(planned).map(|object| diff_applied(client, object)).buffered(MAX_CONCURRENT_REQUESTS);
    // The access of the operator depends on its own ServiceAccount, not on the resource.
    let surplus =
        inventory.surplus(&wanted).into_iter().filter(|(id, _)| !access::is_operator_role_binding(id));
    let pruned = stream::iter(surplus)
        .map(|(id, record)| diff_pruned(client, id, record))
        .buffered(MAX_CONCURRENT_REQUESTS)
        .filter_map(|change| std::future::ready(change.transpose()));
    Ok(applied.chain(pruned))
}

async fn diff_applied(
    client: &Client,
    object: Result<(ObjectId, Value), crate::plan::Error>,
) -> Result<ObjectDiff, Error> {
    let (object, mut manifest) = object?;
    let api = object.api(client.clone());
    let before = read(client, &object).await?;
    if let Some(before) = &before {
        yielded_fields::yield_fields(&mut manifest, before);
        if is_kept_crd(&object, &manifest, before) {
            let unchanged = Some(comparable(before.clone()));
            return Ok(ObjectDiff { object, before: unchanged.clone(), after: unchanged });
        }
    }
    let params = PatchParams::apply(FIELD_MANAGER).force().dry_run();
    let after = match api.patch(&object.name, &params, &Patch::Apply(&manifest)).await {
        Ok(after) => to_value(&after),
        // Its namespace or its CRD is part of this plan, so that the API server has nothing to add to the manifest.
        Err(error) if is_not_found(&error) && before.is_none() => manifest,
        Err(source) => return Err(Error::DryRun { object: Box::new(object), source: Box::new(source) }),
    };
    Ok(ObjectDiff { object, before: before.map(comparable), after: Some(comparable(after)) })
}

/// Whether the object is a CRD that ours must not replace.
fn is_kept_crd(object: &ObjectId, ours: &Value, live: &Value) -> bool {
    object.kind == "CustomResourceDefinition" && compatibility::decide(ours, live) != CrdDecision::Replace
}

async fn diff_pruned(client: &Client, object: ObjectId, record: Record) -> Result<Option<ObjectDiff>, Error> {
    let live = ok_if_not_found(object.api(client.clone()).get(&object.name).await);
    let live =
        live.map_err(|source| Error::Read { object: Box::new(object.clone()), source: Box::new(source) })?;
    let ours = live
        .filter(|live| is_ours(&object.kind, &live.metadata, &record) && may_be_deleted(&object, &record));
    Ok(ours.map(|live| ObjectDiff { object, before: Some(comparable(to_value(&live))), after: None }))
}

async fn read(client: &Client, object: &ObjectId) -> Result<Option<Value>, Error> {
    let live = ok_if_not_found(object.api(client.clone()).get(&object.name).await);
    let live =
        live.map_err(|source| Error::Read { object: Box::new(object.clone()), source: Box::new(source) })?;
    Ok(live.as_ref().map(to_value))
}

fn to_value(object: &DynamicObject) -> Value {
    // Maps with text keys always convert.
    serde_json::to_value(object).unwrap_or_default()
}

/// Removes what the API server maintains itself: bookkeeping and status.
fn comparable(mut object: Value) -> Value {
    const BOOKKEEPING: [&str; 6] =
        ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !BOOKKEEPING.contains(&field.as_str()));
    }
    if let Some(object) = object.as_object_mut() {
        object.shift_remove("status");
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bookkeeping_and_status_do_not_count_as_a_change() {
        let object = |version: &str, ready: u32| {
            comparable(json!({
                "kind": "Deployment",
                "metadata": {"name": "istiod", "resourceVersion": version, "managedFields": [version], "generation": ready},
                "spec": {"replicas": 1},
                "status": {"readyReplicas": ready},
            }))
        };
        assert_eq!(object("1", 1), object("2", 2));
        assert_eq!(object("1", 1)["metadata"], json!({"name": "istiod"}));
        assert_eq!(object("1", 1)["spec"], json!({"replicas": 1}));
    }
}
