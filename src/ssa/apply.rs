//! Server-side apply of one object, with retries of transient failures.
//!
//! The field manager and `force` are those of Kyma's Go operator and of `istioctl`, so that the fields that these own become
//! ours and are removed once we no longer send them.

use std::time::Duration;

use kube::Client;
use kube::api::{ObjectMeta, Patch, PatchParams};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{admission_mutations, adoption, yielded_fields};
use crate::api::names::FIELD_MANAGER;
use crate::kubernetes::object::ObjectId;
use crate::kubernetes::{is_not_found, retry};

/// Delays between attempts; their number limits the attempts.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// The API server did not accept an apply, or a rewrite of managed fields.
#[derive(Debug, Error)]
#[error("failed to apply {object}")]
pub struct Error {
    /// The object.
    pub object: ObjectId,
    /// The response to the last attempt.
    pub source: Box<kube::Error>,
}

/// Digest of a manifest, in hexadecimal: recognizes an unchanged manifest after a restart.
#[must_use]
pub fn digest(manifest: &Value) -> String {
    let hash = Sha256::digest(manifest.to_string().as_bytes());
    hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// The result of an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedObject {
    /// Metadata of the object as the API server returned it.
    pub metadata: ObjectMeta,
    /// Digest of our entry in its managed fields.
    pub entry: Option<String>,
    /// Paths of fields that admission changed.
    pub altered: Vec<String>,
    /// Whether it has fields of a previous installer, which are to be adopted.
    pub needs_adoption: bool,
}

impl Error {
    /// Whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        is_not_found(&self.source)
    }

    /// Whether the API server refused for lack of permission, or because of admission.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.code == 403)
    }

    /// Whether another client wrote the object at the same time.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_conflict())
    }
}

/// Applies one object and returns what the inventory must record.
///
/// Only the metadata of a CRD is requested: the whole CRD has hundreds of kilobytes.
pub async fn apply(client: &Client, id: &ObjectId, manifest: &Value) -> Result<AppliedObject, Error> {
    let api = id.api(client.clone());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(manifest);
    let (metadata, altered) = if id.kind == "CustomResourceDefinition" {
        let live =
            retry_transient(|| api.patch_metadata(&id.name, &params, &patch)).await.map_err(failed(id))?;
        (live.metadata, Vec::new())
    } else {
        let live = retry_transient(|| api.patch(&id.name, &params, &patch)).await.map_err(failed(id))?;
        let value = serde_json::to_value(&live).unwrap_or_default();
        (live.metadata, admission_mutations::find_altered_fields(&value, manifest))
    };
    let object = serde_json::json!({"metadata": metadata});
    Ok(AppliedObject {
        entry: own_entry_digest(&id.kind, &metadata),
        altered,
        needs_adoption: adoption::adopted_managed_fields(&object, manifest).is_some(),
        metadata,
    })
}

/// The object as an apply would leave it.
pub async fn dry_run(client: &Client, id: &ObjectId, manifest: &Value) -> Result<Value, Error> {
    let api = id.api(client.clone());
    let params = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force() };
    let patch = Patch::Apply(manifest);
    let object = retry_transient(|| api.patch(&id.name, &params, &patch)).await.map_err(failed(id))?;
    Ok(serde_json::to_value(object).unwrap_or_default())
}

/// Replaces the managed fields of `live`. If the object was written since it was read, the error is a conflict.
pub async fn rewrite_managed_fields(
    client: &Client,
    id: &ObjectId,
    live: &Value,
    entries: Vec<Value>,
) -> Result<(), Error> {
    let api = id.api(client.clone());
    let patch = serde_json::json!({"metadata": {
        "uid": live["metadata"]["uid"],
        "resourceVersion": live["metadata"]["resourceVersion"],
        "managedFields": entries,
    }});
    let patched = api.patch_metadata(&id.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map(drop).map_err(failed(id))
}

fn failed(id: &ObjectId) -> impl FnOnce(kube::Error) -> Error {
    |source| Error { object: id.clone(), source: Box::new(source) }
}

/// Sends a request until it succeeds, fails permanently, or the attempts are used up.
pub(crate) async fn retry_transient<T, R>(request: impl Fn() -> R) -> Result<T, kube::Error>
where
    R: Future<Output = Result<T, kube::Error>>,
{
    let mut delays = RETRY_DELAYS.iter();
    loop {
        let error = match request().await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let Some(delay) = delays.next().filter(|_| is_transient(&error)) else {
            return Err(error);
        };
        tracing::debug!(%error, "apply failed, retrying");
        tokio::time::sleep(*delay).await;
    }
}

/// Digest of our entry in the managed fields: which fields we own, and since when. `None` if we own none.
///
/// Unlike `resourceVersion`, it does not change with the status, or when others add fields. Fields that we yield are left out:
/// it does not matter who owns them.
#[must_use]
pub fn own_entry_digest(kind: &str, metadata: &ObjectMeta) -> Option<String> {
    let ours = metadata.managed_fields.iter().flatten().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    })?;
    let mut fields = ours.fields_v1.as_ref().map(|fields| fields.0.clone()).unwrap_or_default();
    yielded_fields::remove_yielded(kind, &mut fields);
    Some(digest(&serde_json::json!({"time": ours.time, "fields": fields})))
}

/// Whether a failed apply may succeed unchanged a moment later.
///
/// In addition to what is transient for every request: a conflict with a concurrent write, and "not found". An apply creates
/// the object, so that is about another one that a cache of the API server does not have yet, such as the role of a binding, or
/// the CRD of the kind.
#[must_use]
pub fn is_transient(error: &kube::Error) -> bool {
    let may_resolve = matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
    may_resolve || retry::is_transient(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_apply_also_retries_conflicts_and_missing_dependencies() {
        let answer = |code| kube::Error::Api(Box::new(kube::core::Status { code, ..Default::default() }));
        for (code, is_retried) in
            [(409, true), (429, true), (503, true), (400, false), (403, false), (404, true), (422, false)]
        {
            assert_eq!(is_transient(&answer(code)), is_retried, "{code}");
        }
    }

    #[test]
    fn different_manifests_have_different_digests() {
        assert_eq!(digest(&json!({"a": 1})), digest(&json!({"a": 1})));
        assert_ne!(digest(&json!({"a": 1})), digest(&json!({"a": 2})));
    }

    #[test]
    fn our_own_apply_entry_is_the_one_that_counts() {
        let entry = |manager: &str, operation: &str, subresource: Option<&str>, time: &str| json!({"manager": manager, "operation": operation, "subresource": subresource, "time": time});
        let managed = |entries: Value| -> ObjectMeta {
            serde_json::from_value(json!({"managedFields": entries})).unwrap()
        };
        let ours = entry("istio-operator", "Apply", None, "2026-01-04T00:00:00Z");
        let alone = own_entry_digest("Service", &managed(json!([ours])));
        let among_others = own_entry_digest(
            "Service",
            &managed(json!([
                entry("istio-operator", "Update", None, "2026-01-01T00:00:00Z"),
                entry("istio-operator", "Apply", Some("status"), "2026-01-02T00:00:00Z"),
                entry("pilot-discovery", "Apply", None, "2026-01-03T00:00:00Z"),
                ours,
            ])),
        );
        assert!(alone.is_some());
        assert_eq!(alone, among_others);
        assert_eq!(
            own_entry_digest(
                "Service",
                &managed(json!([entry("kubectl", "Apply", None, "2026-01-03T00:00:00Z")]))
            ),
            None
        );
    }

    #[test]
    fn our_entry_stays_when_istiod_takes_a_yielded_field() {
        let managed = |fields: Value| -> ObjectMeta {
            let webhooks = json!({"f:webhooks": {"k:{\"name\":\"w\"}": fields}});
            let entry = json!({"manager": "istio-operator", "operation": "Apply",
                "time": "2026-01-04T00:00:00Z", "fieldsV1": webhooks});
            serde_json::from_value(json!({"managedFields": [entry]})).unwrap()
        };
        let entry = |kind: &str, fields: Value| own_entry_digest(kind, &managed(fields));
        let ours = json!({"f:failurePolicy": {}, "f:name": {}, "f:rules": {}});
        let remaining = json!({"f:name": {}, "f:rules": {}});
        let validator = "ValidatingWebhookConfiguration";
        assert_eq!(entry(validator, ours.clone()), entry(validator, remaining.clone()));
        let injector = "MutatingWebhookConfiguration";
        assert_ne!(entry(injector, ours), entry(injector, remaining));
    }

    #[test]
    fn our_entry_changes_when_another_manager_takes_a_field() {
        let managed = |fields: Value| -> ObjectMeta {
            serde_json::from_value(
                json!({"managedFields": [{"manager": "istio-operator", "operation": "Apply",
                "time": "2026-01-04T00:00:00Z", "fieldsV1": fields}]}),
            )
            .unwrap()
        };
        assert_ne!(
            own_entry_digest("Service", &managed(json!({"f:a": {}, "f:b": {}}))),
            own_entry_digest("Service", &managed(json!({"f:a": {}})))
        );
    }
}
