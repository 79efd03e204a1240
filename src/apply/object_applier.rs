//! Applies one object: adopts it, writes it, reverts its drift, or skips it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::ObjectMeta;
use kube::core::ApiResource;
use serde_json::Value;
use tokio::time::Instant;

use super::Error;
use crate::api::names::ISTIO_NAMESPACE;
use crate::crds::policy::CrdPolicy;
use crate::crds::warmup;
use crate::drift::conflict_backoff::ConflictBackoff;
use crate::drift::field_conflicts;
use crate::drift::pause::Pause;
use crate::drift::reverts::{RevertMetrics, report_adoption_rollout};
use crate::drift::snapshot::{LiveObjects, ObjectSnapshot};
use crate::drift::state::{DriftState, is_in_sync};
use crate::inventory::ownership::Origin;
use crate::inventory::pending_records::PendingRecords;
use crate::inventory::{HelmRelease, Inventory, Record, access};
use crate::kubernetes::is_not_found;
use crate::kubernetes::json::first_difference;
use crate::kubernetes::object::ObjectId;
use crate::lock::lock;
use crate::plan::{Stage, access as planned_access};
use crate::ssa::{adoption, apply, yielded_fields};
use crate::status::Progress;

/// Kinds that are read before each write: a field that we stop sending must be yielded first.
const READ_BEFORE_WRITE: [&str; 3] =
    ["Deployment", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
/// Further kinds that are read before the first write: the fields of a previous installer must be removed by the same write that
/// sets ours, or pods would be replaced twice. A namespace that does not exist yet makes all reads in it unnecessary.
const READ_BEFORE_ADOPTION: [&str; 3] = ["DaemonSet", "Namespace", "Service"];
/// The injector of an installation without revisions; the injector of the revision tag replaces it.
const CANONICAL_INJECTOR: &str = "istio-sidecar-injector";
/// Attempts to rewrite managed fields while others write at the same time.
const MAX_REWRITES: usize = 5;

/// The result for one planned object.
#[derive(Debug)]
pub(super) enum ApplyResult {
    /// It was in sync.
    Unchanged,
    /// It was written. If admission changed it, it is also skipped until the cooldown ends.
    Written(Record, Option<Skipped>),
    /// It is skipped for now.
    Skipped(Skipped),
    /// It is a CRD that ours must not replace.
    KeptCrd,
}

/// An object that is skipped for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The object.
    pub object: ObjectId,
    /// Why it is skipped.
    pub reason: SkipReason,
}

/// Why an object is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Its reconciliation is paused.
    Paused(Pause),
    /// Others keep reverting our fields.
    FieldConflict {
        /// Time until the next attempt.
        cooldown: Duration,
        /// Which manager changes which fields.
        by: String,
    },
}

impl Skipped {
    /// Time until it is retried, if that follows from the reason.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        match &self.reason {
            SkipReason::Paused(pause) => pause.remaining(now),
            SkipReason::FieldConflict { cooldown, .. } => Some(*cooldown),
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            SkipReason::Paused(pause) => write!(f, "{} is {pause}", self.object),
            SkipReason::FieldConflict { cooldown, by } => write!(
                f,
                "{} keeps being changed by others; retrying in {} minutes: {by}",
                self.object,
                cooldown.as_secs().div_ceil(60)
            ),
        }
    }
}

/// Applies the objects of one stage. All writes share it.
pub(super) struct ObjectApplier<'a> {
    pub(super) client: &'a Client,
    pub(super) inventory: &'a Inventory,
    pub(super) live: &'a LiveObjects,
    pub(super) conflict_backoff: &'a Mutex<ConflictBackoff>,
    pub(super) revert_metrics: &'a RevertMetrics,
    pub(super) pending_records: &'a PendingRecords,
    pub(super) progress: &'a Progress,
    pub(super) context: &'a ApplyContext,
}

/// What one apply finds out about the cluster.
pub(super) struct ApplyContext {
    pub(super) crd_policy: CrdPolicy,
    /// Namespaces that did not exist before this apply, so that they hold no older objects.
    new_namespaces: Mutex<BTreeSet<String>>,
    /// Kinds whose CRDs this apply created.
    new_kinds: Mutex<Vec<ApiResource>>,
    /// Whether this apply granted the operator access to the namespace of the control plane.
    access_is_new: AtomicBool,
}

impl ApplyContext {
    /// `namespace_is_missing`: whether the namespace of the control plane does not exist.
    pub(super) fn new(client: &Client, namespace_is_missing: bool) -> Self {
        let missing = namespace_is_missing.then(|| ISTIO_NAMESPACE.to_owned());
        Self {
            crd_policy: CrdPolicy::new(client.clone()),
            new_namespaces: Mutex::new(missing.into_iter().collect()),
            new_kinds: Mutex::default(),
            access_is_new: AtomicBool::new(false),
        }
    }

    /// Whether no previous installer can have left the object.
    fn has_no_previous_object(&self, id: &ObjectId) -> bool {
        is_certainly_new(id, &self.new_namespaces(), self.crd_policy.found_no_istio_apis())
    }

    /// The new kinds whose storage is to be warmed up before istiod starts.
    pub(super) fn take_new_kinds(&self) -> Vec<ApiResource> {
        std::mem::take(&mut *lock(&self.new_kinds))
    }

    fn note_new_kind(&self, crd: &Value) {
        let kind = warmup::warmup_resource(crd);
        lock(&self.new_kinds).extend(kind);
    }

    fn new_namespaces(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.new_namespaces)
    }
}

/// One object with everything that its write depends on.
#[derive(Clone)]
struct ApplyRequest {
    stage: Stage,
    id: ObjectId,
    manifest: Value,
    digest: String,
    record: Option<Record>,
}

impl ObjectApplier<'_> {
    /// Applies one object unless it is in sync or to be skipped.
    pub(super) async fn apply_object(
        &self,
        stage: Stage,
        id: ObjectId,
        manifest: Value,
    ) -> Result<ApplyResult, Error> {
        let digest = apply::digest(&manifest);
        let record = self.inventory.get(&id).cloned();
        let snapshot = self.live.get(&id);
        let drift_state = DriftState::of(record.as_ref(), &digest, snapshot)
            .after_write(self.pending_records.contains(&id));
        if let Some(skipped) = check_pause(&id, snapshot) {
            return Ok(skipped);
        }
        let is_crd = stage == Stage::CustomResourceDefinitions;
        if is_crd
            && drift_state != DriftState::InSync
            && !self.context.crd_policy.allows(&id, &manifest).await?
        {
            return Ok(ApplyResult::KeptCrd);
        }
        if is_crd && drift_state == DriftState::New && self.context.crd_policy.found_no_istio_apis() {
            self.context.note_new_kind(&manifest);
        }
        let request = ApplyRequest { stage, id, manifest, digest, record };
        match drift_state {
            DriftState::InSync if request.is_altered() => self.revert_drift(request).await,
            DriftState::InSync => Ok(ApplyResult::Unchanged),
            DriftState::New => self.adopt(request).await,
            DriftState::SpecChanged => {
                self.reset_backoff(&request.id);
                let live = self.read_if(&READ_BEFORE_WRITE, &request.id).await?;
                self.write(request, live.as_ref()).await
            }
            DriftState::Drifted => self.revert_drift(request).await,
        }
    }

    /// Writes an object for the first time. A previous installer may have created it.
    async fn adopt(&self, request: ApplyRequest) -> Result<ApplyResult, Error> {
        if let Some(live) = self.previous_object(&request.id).await? {
            if let Some(skipped) = check_pause(&request.id, Some(&snapshot_of(&live))) {
                return Ok(skipped);
            }
            return self.write(request, Some(&live)).await;
        }
        if let Some(certified) = self.with_existing_certificate(&request).await? {
            self.apply(&ApplyRequest { manifest: certified, ..request.clone() }).await?;
            let live = self.read(&request.id).await?;
            return self.write(request, live.as_ref()).await;
        }
        let written = self.apply(&request).await?;
        if !written.needs_adoption {
            let release = HelmRelease::of(written.metadata.annotations.as_ref());
            return Ok(self.apply_result(request, written, release));
        }
        let live = self.read(&request.id).await?;
        self.write(request, live.as_ref()).await
    }

    /// The object of a previous installer, for kinds that must be read before the first write.
    async fn previous_object(&self, id: &ObjectId) -> Result<Option<Value>, Error> {
        if self.context.has_no_previous_object(id) {
            return Ok(None);
        }
        let live = self.read_if(&[&READ_BEFORE_WRITE[..], &READ_BEFORE_ADOPTION[..]].concat(), id).await?;
        if live.is_none() && id.kind == "Namespace" {
            self.context.new_namespaces().insert(id.name.clone());
        }
        Ok(live)
    }

    /// The live injector with the certificate of the injector that exists already.
    ///
    /// Without it no pod in a namespace with injection could start until istiod has processed the new injector.
    async fn with_existing_certificate(&self, request: &ApplyRequest) -> Result<Option<Value>, Error> {
        let is_live_injector =
            request.id.kind == "MutatingWebhookConfiguration" && request.id.name != CANONICAL_INJECTOR;
        if !is_live_injector || self.context.has_no_previous_object(&request.id) {
            return Ok(None);
        }
        let canonical = ObjectId { name: CANONICAL_INJECTOR.to_owned(), ..request.id.clone() };
        let live = self.read(&canonical).await?;
        Ok(live.and_then(|live| yielded_fields::with_certificate(&request.manifest, &live)))
    }

    /// Reverts the drift of an object, after a read has confirmed it, unless the object is to be skipped.
    async fn revert_drift(&self, mut request: ApplyRequest) -> Result<ApplyResult, Error> {
        let live = self.read(&request.id).await?;
        if let Some(live) = &live {
            let snapshot = snapshot_of(live);
            if let Some(skipped) = check_pause(&request.id, Some(&snapshot)) {
                return Ok(skipped);
            }
            let is_in_sync =
                request.record.as_ref().is_some_and(|record| is_in_sync(record, Some(&snapshot)));
            if is_in_sync && has_label(live) && !request.is_altered() {
                return Ok(ApplyResult::Unchanged);
            }
            yielded_fields::yield_fields(&mut request.manifest, live);
        }
        let what = describe_drift(&request, live.as_ref());
        if let Some(cooldown) = self.conflict_backoff().remaining_cooldown(&request.id, Instant::now()) {
            let reason = SkipReason::FieldConflict { cooldown, by: what };
            return Ok(ApplyResult::Skipped(Skipped { object: request.id, reason }));
        }
        let id = request.id.clone();
        let result = self.write(request, live.as_ref()).await?;
        if matches!(result, ApplyResult::Written(_, None)) {
            self.conflict_backoff().record_revert(&id, Instant::now());
            self.revert_metrics.record(&id, &what, self.progress);
        }
        Ok(result)
    }

    /// Applies the manifest after fields were adopted and yielded.
    async fn write(&self, mut request: ApplyRequest, live: Option<&Value>) -> Result<ApplyResult, Error> {
        let mut release = request.record.as_ref().and_then(|record| record.release.clone());
        if let Some(live) = live {
            release = release.or_else(|| HelmRelease::of(metadata_of(live).annotations.as_ref()));
            self.adopt_fields(&request.id, &request.manifest, live).await?;
            yielded_fields::yield_fields(&mut request.manifest, live);
            if request.is_new() {
                self.report_rollout(&request, live).await?;
            }
        }
        let written = self.apply(&request).await?;
        let release = release.or_else(|| HelmRelease::of(written.metadata.annotations.as_ref()));
        Ok(self.apply_result(request, written, release))
    }

    /// The result of a write. What admission changed once it will change again, so that the object gets a cooldown.
    fn apply_result(
        &self,
        request: ApplyRequest,
        written: apply::AppliedObject,
        release: Option<HelmRelease>,
    ) -> ApplyResult {
        let skipped = (!written.altered.is_empty()).then(|| {
            let now = Instant::now();
            let cooldown = self.conflict_backoff().record_overwrite(&request.id, now);
            Skipped {
                object: request.id.clone(),
                reason: SkipReason::FieldConflict {
                    cooldown,
                    by: describe_admission_changes(&written.altered),
                },
            }
        });
        ApplyResult::Written(record(request, written, release), skipped)
    }

    /// Adopts the fields of previous installers, and assigns yielded fields to their new owners.
    async fn adopt_fields(&self, id: &ObjectId, manifest: &Value, live: &Value) -> Result<(), Error> {
        let mut live = live.clone();
        for _ in 0..MAX_REWRITES {
            let Some(entries) = adoption::adopted_managed_fields(&live, manifest) else { return Ok(()) };
            match apply::rewrite_managed_fields(self.client, id, &live, entries).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() => match self.read(id).await? {
                    Some(newer) => live = newer,
                    None => return Ok(()),
                },
                Err(source) => return Err(Error::Adopt { source }),
            }
        }
        Err(Error::Contended { object: id.clone() })
    }

    /// Reports in advance that adopting a workload replaces its pods, and why.
    async fn report_rollout(&self, request: &ApplyRequest, live: &Value) -> Result<(), Error> {
        if !matches!(request.id.kind.as_str(), "Deployment" | "DaemonSet") {
            return Ok(());
        }
        let after = apply::dry_run(self.client, &request.id, &request.manifest)
            .await
            .map_err(|source| Error::Apply { stage: request.stage, source })?;
        let template = |object: &Value| object.pointer("/spec/template").cloned().unwrap_or_default();
        if let Some(field) = first_difference(&template(live), &template(&after), "spec.template") {
            report_adoption_rollout(&request.id, &field, self.progress);
        }
        Ok(())
    }

    async fn apply(&self, request: &ApplyRequest) -> Result<apply::AppliedObject, Error> {
        self.progress.report(format!("applying {}", request.id));
        self.pending_records.add(&request.id);
        let mut written = apply::apply(self.client, &request.id, &request.manifest).await;
        if written.as_ref().is_err_and(apply::Error::is_forbidden)
            && self.context.access_is_new.swap(false, Ordering::Relaxed)
        {
            access::wait_until_effective(self.client).await;
            written = apply::apply(self.client, &request.id, &request.manifest).await;
        }
        if written.is_ok() && planned_access::is_operator_role_binding(&request.id) && request.is_new() {
            self.context.access_is_new.store(true, Ordering::Relaxed);
        }
        let written = written.map_err(|source| Error::Apply { stage: request.stage, source })?;
        tracing::debug!(object = %request.id, "applied");
        Ok(written)
    }

    async fn read_if(&self, kinds: &[&str], id: &ObjectId) -> Result<Option<Value>, Error> {
        if kinds.contains(&id.kind.as_str()) { self.read(id).await } else { Ok(None) }
    }

    async fn read(&self, id: &ObjectId) -> Result<Option<Value>, Error> {
        match id.api(self.client.clone()).get_opt(&id.name).await {
            Ok(live) => Ok(live.and_then(|live| serde_json::to_value(live).ok())),
            // Also if the kind is not served (any more).
            Err(error) if is_not_found(&error) => Ok(None),
            Err(source) => Err(Error::Read { object: id.clone(), source: Box::new(source) }),
        }
    }

    fn conflict_backoff(&self) -> MutexGuard<'_, ConflictBackoff> {
        lock(self.conflict_backoff)
    }

    fn reset_backoff(&self, id: &ObjectId) {
        self.conflict_backoff().reset(id);
    }
}

impl ApplyRequest {
    /// Whether no write of the object is confirmed.
    fn is_new(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.uid.is_none())
    }

    /// Whether admission changed the last write of the object.
    fn is_altered(&self) -> bool {
        self.record.as_ref().is_some_and(|record| !record.altered.is_empty())
    }
}

/// Whether no previous installer can have left an object that must be read before the first write.
///
/// If neither an API of Istio nor its namespace existed, a remaining webhook calls nothing. Nothing of it has to be preserved,
/// and its fields are adopted after the write.
fn is_certainly_new(id: &ObjectId, new_namespaces: &BTreeSet<String>, without_istio_apis: bool) -> bool {
    match (&id.namespace, id.kind.as_str()) {
        (Some(namespace), _) => new_namespaces.contains(namespace),
        (None, "Namespace") => new_namespaces.contains(&id.name),
        (None, "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            without_istio_apis && new_namespaces.contains(ISTIO_NAMESPACE)
        }
        (None, _) => false,
    }
}

fn describe_admission_changes(altered: &[String]) -> String {
    let fields = field_conflicts::FieldConflict {
        manager: Some("an admission webhook or policy".into()),
        fields: altered.to_vec(),
    };
    fields.to_string()
}

fn snapshot_of(live: &Value) -> ObjectSnapshot {
    ObjectSnapshot::of(live["kind"].as_str().unwrap_or_default(), &metadata_of(live))
}

fn metadata_of(live: &Value) -> ObjectMeta {
    serde_json::from_value(live["metadata"].clone()).unwrap_or_default()
}

fn has_label(live: &Value) -> bool {
    use crate::api::names::{MODULE_LABEL, MODULE_LABEL_VALUE};
    live["metadata"]["labels"][MODULE_LABEL] == MODULE_LABEL_VALUE
}

fn check_pause(object: &ObjectId, snapshot: Option<&ObjectSnapshot>) -> Option<ApplyResult> {
    let pause = Pause::parse(snapshot?.pause.as_deref()?, Timestamp::now())?;
    Some(ApplyResult::Skipped(Skipped { object: object.clone(), reason: SkipReason::Paused(pause) }))
}

fn record(request: ApplyRequest, written: apply::AppliedObject, release: Option<HelmRelease>) -> Record {
    let apply::AppliedObject { metadata, entry, altered, .. } = written;
    let origin = Origin::of_first_write(&request.id, &metadata);
    let uid = metadata.uid;
    // The origin is known if the object was written before; an object with another UID is another object.
    let same = request.record.filter(|before| before.uid.is_some() && before.uid == uid);
    let origin = same.map_or(Some(origin), |before| before.origin);
    Record { stage: request.stage, uid, digest: Some(request.digest), entry, altered, release, origin }
}

fn describe_drift(request: &ApplyRequest, live: Option<&Value>) -> String {
    let Some(live) = live else { return "it was deleted".to_owned() };
    let recorded_uid = request.record.as_ref().and_then(|record| record.uid.as_deref());
    if recorded_uid.is_some() && live["metadata"]["uid"].as_str() != recorded_uid {
        return "it was recreated".to_owned();
    }
    match &request.record {
        Some(record) if !record.altered.is_empty() => describe_admission_changes(&record.altered),
        _ => field_conflicts::describe(&field_conflicts::find_conflicts(live, &request.manifest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_that_cannot_exist_is_written_without_a_read() {
        let id = |namespace: Option<&str>, kind: &str, name: &str| match namespace {
            Some(namespace) => ObjectId::namespaced("v1", kind, namespace, name),
            None => ObjectId::cluster_scoped("v1", kind, name),
        };
        let new = BTreeSet::from([ISTIO_NAMESPACE.to_owned()]);
        let service = id(Some(ISTIO_NAMESPACE), "Service", "istiod");
        let elsewhere = id(Some("kyma-system"), "Service", "istiod");
        let namespace = id(None, "Namespace", ISTIO_NAMESPACE);
        let injector = id(None, "MutatingWebhookConfiguration", CANONICAL_INJECTOR);
        let role = id(None, "ClusterRole", "istiod");
        for (object, namespaces, without_istio_apis, expected) in [
            (&service, &new, false, true),
            (&service, &BTreeSet::new(), true, false),
            (&elsewhere, &new, true, false),
            (&namespace, &new, false, true),
            (&namespace, &BTreeSet::new(), true, false),
            (&injector, &new, true, true),
            (&injector, &new, false, false),
            (&injector, &BTreeSet::new(), true, false),
            (&role, &new, true, false),
        ] {
            assert_eq!(is_certainly_new(object, namespaces, without_istio_apis), expected, "{object}");
        }
    }
}
