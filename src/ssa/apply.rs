//! Server-side apply of one object, with retries for what passes by itself.
//!
//! The field manager and `force` are those of the Kyma reference operator and of `istioctl`, so that fields they left
//! behind go when they should.

use std::time::Duration;

use kube::Client;
use kube::api::{ObjectMeta, Patch, PatchParams};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{admission_mutations, adoption, yielded_fields};
use crate::api::names::FIELD_MANAGER;
use crate::inventory::HelmRelease;
use crate::inventory::ownership::Origin;
use crate::kubernetes::object::ObjectId;

/// Waits between attempts; their number bounds the attempts.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// An object could not be applied.
#[derive(Debug, Error)]
#[error("cannot apply {object}")]
pub struct Error {
    /// The object.
    pub object: ObjectId,
    /// What the API server said last.
    pub source: Box<kube::Error>,
}

/// Digest of a manifest, to recognise an unchanged one after a restart.
#[must_use]
pub fn digest(manifest: &Value) -> String {
    let hash = Sha256::digest(manifest.to_string().as_bytes());
    hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// What an apply left in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedObject {
    /// UID of the object.
    pub uid: Option<String>,
    /// Digest of our entry in its managed fields.
    pub entry: Option<String>,
    /// Fields that admission changed on the way in.
    pub altered: Vec<String>,
    /// Whether others left fields that should be taken over.
    pub needs_adoption: bool,
    /// The Helm release that it belongs to.
    pub release: Option<HelmRelease>,
    /// Where it comes from, if this was its first write.
    pub origin: Origin,
}

impl Error {
    /// Whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_not_found())
    }

    /// Whether the API server refused for lack of permission, or by admission.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.code == 403)
    }

    /// Whether someone else wrote at the same time.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_conflict())
    }
}

/// Applies one object and returns what the inventory must know of it.
///
/// Of a CRD only metadata travels back: the whole would be hundreds of kilobytes.
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
        release: HelmRelease::of(&object),
        origin: Origin::of_first_write(id, &metadata),
        uid: metadata.uid,
    })
}

/// What an apply would make of the object.
pub async fn dry_run(client: &Client, id: &ObjectId, manifest: &Value) -> Result<Value, Error> {
    let api = id.api(client.clone());
    let params = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force() };
    let patch = Patch::Apply(manifest);
    let object = retry_transient(|| api.patch(&id.name, &params, &patch)).await.map_err(failed(id))?;
    Ok(serde_json::to_value(object).unwrap_or_default())
}

/// Replaces the managed fields of `live`, unless it was written meanwhile: then the error is a conflict.
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

/// Sends a request until it succeeds or fails for good.
pub(crate) async fn retry_transient<T, R>(request: impl Fn() -> R) -> Result<T, kube::Error>
where
    R: Future<Output = Result<T, kube::Error>>,
{
    let mut delays = RETRY_DELAYS.iter();
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(delay) = delays.next().filter(|_| is_transient(&error)) else {
            return Err(error);
        };
        tracing::debug!(%error, "apply failed, trying again");
        tokio::time::sleep(*delay).await;
    }
}

/// Digest of our entry in the managed fields: which fields we own, and since when.
///
/// Unlike `resourceVersion`, it is left alone by status writes and by fields that others add. What is conceded to others does
/// not count: it is no news when they take it.
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

/// Whether a failed request may succeed unchanged a moment later.
///
/// Covers a throttled or restarting API server, lost connections and a conflict with a concurrent write. An apply creates
/// what is missing, so "not found" is about something else that a cache of the API server has not seen yet: a role that
/// was created a moment before its binding, or a kind whose CRD was.
#[must_use]
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 404 | 409 | 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_transient_errors_are_retried() {
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
