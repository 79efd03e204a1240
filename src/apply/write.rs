//! Brings one object to what is planned, whatever became of it since the last time.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::ApiResource;
use serde_json::Value;
use tokio::time::Instant;

use super::change::{Standing, first_difference, is_as_applied};
use super::definition_gate::Gate;
use super::fight::Fights;
use super::inventory::{Inventory, Record, Release};
use super::live::{Live, Seen};
use super::pause::Pause;
use super::repairs::{Repairs, tell_of_rollout};
use super::unsaved::Unsaved;
use super::{Error, access, concede, dispute, server_side, storage, takeover};
use crate::api::names::ISTIO_NAMESPACE;
use crate::kubernetes::is_not_found;
use crate::lock::lock;
use crate::object::ObjectId;
use crate::plan::{Stage, access as planned_access};
use crate::status::Progress;

/// Kinds that are read before each write: a field that we stop to send must be handed over first.
const READ_BEFORE_WRITE: [&str; 3] =
    ["Deployment", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
/// Further kinds that are read before the first write: what a predecessor left must go in the same write as ours comes, or
/// pods would be replaced twice. A namespace that is not there yet saves the reading of all that belongs into it.
const READ_BEFORE_ADOPTION: [&str; 3] = ["DaemonSet", "Namespace", "Service"];
/// The injector of an installation without revisions, which is deactivated behind that of the revision tag.
const CANONICAL_INJECTOR: &str = "istio-sidecar-injector";
/// How often a rewrite of the managed fields is tried when others write at the same time.
const REWRITES: usize = 5;

/// What became of one planned object.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was as planned.
    Unchanged,
    /// It was written.
    ///
    /// Admission may have changed it on the way in; then it also is a matter for people.
    Written(Record, Option<Held>),
    /// It is left alone for now.
    Held(Held),
    /// It is a definition that ours must not replace.
    Kept,
}

/// An object that is left alone for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The object.
    pub object: ObjectId,
    /// Why it is.
    pub why: Why,
}

/// Why an object is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Someone asked for it.
    Paused(Pause),
    /// It was put back again and again.
    Fought {
        /// When it is tried again.
        rest: Duration,
        /// Who changes what.
        by: String,
    },
}

impl Held {
    /// When to look at it again, if that follows from the reason.
    #[must_use]
    pub fn look_again(&self, now: Timestamp) -> Option<Duration> {
        match &self.why {
            Why::Paused(pause) => pause.left(now),
            Why::Fought { rest, .. } => Some(*rest),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Paused(pause) => write!(f, "{} is {pause}", self.object),
            Why::Fought { rest, by } => write!(
                f,
                "{} was put back again and again and is left alone for {} minutes: {by}",
                self.object,
                rest.as_secs().div_ceil(60)
            ),
        }
    }
}

/// What all writes of one apply share.
pub(super) struct Hand<'a> {
    pub(super) client: &'a Client,
    pub(super) known: &'a Inventory,
    pub(super) live: &'a Live,
    pub(super) fights: &'a Mutex<Fights>,
    pub(super) repairs: &'a Repairs,
    pub(super) unsaved: &'a Unsaved,
    pub(super) progress: &'a Progress,
    pub(super) ground: &'a Ground,
}

/// What one apply finds out about the cluster on its way.
pub(super) struct Ground {
    pub(super) gate: Gate,
    /// Namespaces that were not there when the apply came to them: nothing in them is of someone before us.
    new_namespaces: Mutex<BTreeSet<String>>,
    /// Kinds that nobody can have asked for before this apply.
    new_kinds: Mutex<Vec<ApiResource>>,
    /// Whether this apply gave the operator access to the namespace of the control plane.
    access_is_new: AtomicBool,
}

impl Ground {
    /// `namespace_is_missing` says that of the control plane.
    pub(super) fn new(client: &Client, namespace_is_missing: bool) -> Self {
        let missing = namespace_is_missing.then(|| ISTIO_NAMESPACE.to_owned());
        Self {
            gate: Gate::new(client.clone()),
            new_namespaces: Mutex::new(missing.into_iter().collect()),
            new_kinds: Mutex::default(),
            access_is_new: AtomicBool::new(false),
        }
    }

    /// Whether nobody before us can have left an object that matters.
    fn has_no_predecessor(&self, id: &ObjectId) -> bool {
        is_first(id, &self.new_namespaces(), self.gate.found_no_istio_apis())
    }

    /// The new kinds of which storage is to be made before istiod asks for them.
    pub(super) fn take_new_kinds(&self) -> Vec<ApiResource> {
        std::mem::take(&mut *lock(&self.new_kinds))
    }

    fn note_new_kind(&self, definition: &Value) {
        let kind = storage::kind_of(definition);
        lock(&self.new_kinds).extend(kind);
    }

    fn new_namespaces(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.new_namespaces)
    }
}

/// One object with all that is to be known for its write.
#[derive(Clone)]
struct Task {
    stage: Stage,
    id: ObjectId,
    manifest: Value,
    digest: String,
    record: Option<Record>,
}

impl Hand<'_> {
    /// Brings one object to what is planned.
    pub(super) async fn bring(&self, stage: Stage, id: ObjectId, manifest: Value) -> Result<Fate, Error> {
        let digest = server_side::digest(&manifest);
        let record = self.known.get(&id).cloned();
        let seen = self.live.get(&id);
        let standing = Standing::of(record.as_ref(), &digest, seen).after_write(self.unsaved.contains(&id));
        if let Some(held) = paused(&id, seen) {
            return Ok(held);
        }
        let is_definition = stage == Stage::CustomResourceDefinitions;
        if is_definition
            && standing != Standing::AsApplied
            && !self.ground.gate.lets_pass(&id, &manifest).await?
        {
            return Ok(Fate::Kept);
        }
        if is_definition && standing == Standing::New && self.ground.gate.found_no_istio_apis() {
            self.ground.note_new_kind(&manifest);
        }
        let task = Task { stage, id, manifest, digest, record };
        match standing {
            Standing::AsApplied if task.is_altered() => self.repair(task).await,
            Standing::AsApplied => Ok(Fate::Unchanged),
            Standing::New => self.adopt(task).await,
            Standing::Reconfigured => {
                self.forget_fight(&task.id);
                let live = self.read_if(&READ_BEFORE_WRITE, &task.id).await?;
                self.write(task, live.as_ref()).await
            }
            Standing::Drifted => self.repair(task).await,
        }
    }

    /// Writes an object for the first time; it may be there already, made by someone before us.
    async fn adopt(&self, task: Task) -> Result<Fate, Error> {
        if let Some(live) = self.predecessor(&task.id).await? {
            if let Some(held) = paused(&task.id, Some(&seen(&live))) {
                return Ok(held);
            }
            return self.write(task, Some(&live)).await;
        }
        if let Some(certified) = self.with_certificate_of_predecessor(&task).await? {
            self.apply(&Task { manifest: certified, ..task.clone() }).await?;
            let live = self.read(&task.id).await?;
            return self.write(task, live.as_ref()).await;
        }
        let written = self.apply(&task).await?;
        if !written.predecessors {
            return Ok(self.written(task, written));
        }
        let live = self.read(&task.id).await?;
        self.write(task, live.as_ref()).await
    }

    /// The object as someone before us made it, where that has to be known before ours is written.
    async fn predecessor(&self, id: &ObjectId) -> Result<Option<Value>, Error> {
        if self.ground.has_no_predecessor(id) {
            return Ok(None);
        }
        let live = self.read_if(&[&READ_BEFORE_WRITE[..], &READ_BEFORE_ADOPTION[..]].concat(), id).await?;
        if live.is_none() && id.kind == "Namespace" {
            self.ground.new_namespaces().insert(id.name.clone());
        }
        Ok(live)
    }

    /// The live injector as it has to be made where another injects already: with the certificate that one has.
    ///
    /// Without, no pod of a meshed namespace could start until istiod has seen the new one.
    async fn with_certificate_of_predecessor(&self, task: &Task) -> Result<Option<Value>, Error> {
        let is_live_injector =
            task.id.kind == "MutatingWebhookConfiguration" && task.id.name != CANONICAL_INJECTOR;
        if !is_live_injector || self.ground.has_no_predecessor(&task.id) {
            return Ok(None);
        }
        let canonical = ObjectId { name: CANONICAL_INJECTOR.to_owned(), ..task.id.clone() };
        let live = self.read(&canonical).await?;
        Ok(live.and_then(|live| concede::certified(&task.manifest, &live)))
    }

    /// Writes an object that is not as it was applied, unless it is, or is to be left alone.
    async fn repair(&self, mut task: Task) -> Result<Fate, Error> {
        let live = self.read(&task.id).await?;
        if let Some(live) = &live {
            let seen = seen(live);
            if let Some(held) = paused(&task.id, Some(&seen)) {
                return Ok(held);
            }
            let is_as_applied = task.record.as_ref().is_some_and(|record| is_as_applied(record, Some(&seen)));
            if is_as_applied && has_label(live) && !task.is_altered() {
                return Ok(Fate::Unchanged);
            }
            concede::concede(&mut task.manifest, live);
        }
        let what = what_happened(&task, live.as_ref());
        if let Some(rest) = self.fights().resting(&task.id, Instant::now()) {
            let why = Why::Fought { rest, by: what };
            return Ok(Fate::Held(Held { object: task.id, why }));
        }
        let id = task.id.clone();
        let fate = self.write(task, live.as_ref()).await?;
        if matches!(fate, Fate::Written(_, None)) {
            self.fights().repaired(&id, Instant::now());
            self.repairs.note(&id, &what, self.progress);
        }
        Ok(fate)
    }

    /// Applies the manifest over what is there, after what others may keep or take was settled.
    async fn write(&self, mut task: Task, live: Option<&Value>) -> Result<Fate, Error> {
        let mut release = task.record.as_ref().and_then(|record| record.release.clone());
        if let Some(live) = live {
            release = release.or_else(|| Release::of(live));
            self.settle_ownership(&task.id, &task.manifest, live).await?;
            concede::concede(&mut task.manifest, live);
            if task.is_new() {
                self.tell_of_rollout(&task, live).await?;
            }
        }
        let mut written = self.apply(&task).await?;
        written.release = release.or(written.release);
        Ok(self.written(task, written))
    }

    /// What follows from the answer: what admission changes once it will change again, so it is left alone for a while.
    fn written(&self, task: Task, written: server_side::Written) -> Fate {
        let held = (!written.altered.is_empty()).then(|| {
            let now = Instant::now();
            let rest = self.fights().undone(&task.id, now);
            Held { object: task.id.clone(), why: Why::Fought { rest, by: by_admission(&written.altered) } }
        });
        Fate::Written(record(task, written), held)
    }

    /// Takes over the fields of predecessors and hands over those that are conceded.
    async fn settle_ownership(&self, id: &ObjectId, manifest: &Value, live: &Value) -> Result<(), Error> {
        let mut live = live.clone();
        for _ in 0..REWRITES {
            let Some(entries) = takeover::rewritten(&live, manifest) else { return Ok(()) };
            match server_side::rewrite_managers(self.client, id, &live, entries).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() => match self.read(id).await? {
                    Some(newer) => live = newer,
                    None => return Ok(()),
                },
                Err(source) => return Err(Error::TakeOver { source }),
            }
        }
        Err(Error::Contended { object: id.clone() })
    }

    /// Says, before it happens, that and why taking an object over replaces its pods.
    async fn tell_of_rollout(&self, task: &Task, live: &Value) -> Result<(), Error> {
        if !matches!(task.id.kind.as_str(), "Deployment" | "DaemonSet") {
            return Ok(());
        }
        let after = server_side::dry_run(self.client, &task.id, &task.manifest)
            .await
            .map_err(|source| Error::Apply { stage: task.stage, source })?;
        let template = |object: &Value| object.pointer("/spec/template").cloned().unwrap_or_default();
        if let Some(field) = first_difference(&template(live), &template(&after), "spec.template") {
            tell_of_rollout(&task.id, &field, self.progress);
        }
        Ok(())
    }

    async fn apply(&self, task: &Task) -> Result<server_side::Written, Error> {
        self.progress.say(format!("applying {}", task.id));
        self.unsaved.begin(&task.id);
        let mut written = server_side::apply(self.client, &task.id, &task.manifest).await;
        if written.as_ref().is_err_and(server_side::Error::is_forbidden)
            && self.ground.access_is_new.swap(false, Ordering::Relaxed)
        {
            access::effective(self.client).await;
            written = server_side::apply(self.client, &task.id, &task.manifest).await;
        }
        if written.is_ok() && planned_access::is_access(&task.id) && task.is_new() {
            self.ground.access_is_new.store(true, Ordering::Relaxed);
        }
        let written = written.map_err(|source| Error::Apply { stage: task.stage, source })?;
        tracing::debug!(object = %task.id, "applied");
        Ok(written)
    }

    async fn read_if(&self, kinds: &[&str], id: &ObjectId) -> Result<Option<Value>, Error> {
        if kinds.contains(&id.kind.as_str()) { self.read(id).await } else { Ok(None) }
    }

    async fn read(&self, id: &ObjectId) -> Result<Option<Value>, Error> {
        match id.api(self.client.clone()).get_opt(&id.name).await {
            Ok(live) => Ok(live.and_then(|live| serde_json::to_value(live).ok())),
            // The kind itself is not served (any more).
            Err(error) if is_not_found(&error) => Ok(None),
            Err(source) => Err(Error::Read { object: id.clone(), source: Box::new(source) }),
        }
    }

    fn fights(&self) -> MutexGuard<'_, Fights> {
        lock(self.fights)
    }

    fn forget_fight(&self, id: &ObjectId) {
        self.fights().forget(id);
    }
}

impl Task {
    /// Whether the object was never written by us, as far as is known.
    fn is_new(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.uid.is_none())
    }

    /// Whether admission changed the object when it was written last.
    fn is_altered(&self) -> bool {
        self.record.as_ref().is_some_and(|record| !record.altered.is_empty())
    }
}

/// Whether an object cannot be one that somebody before us made and that matters.
///
/// Where neither a kind of Istio nor its namespace was, a webhook that was left behind calls nobody: nothing of it is to be
/// kept up, and what is left of its fields is taken over after the write.
fn is_first(id: &ObjectId, new_namespaces: &BTreeSet<String>, without_istio_apis: bool) -> bool {
    match (&id.namespace, id.kind.as_str()) {
        (Some(namespace), _) => new_namespaces.contains(namespace),
        (None, "Namespace") => new_namespaces.contains(&id.name),
        (None, "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            without_istio_apis && new_namespaces.contains(ISTIO_NAMESPACE)
        }
        (None, _) => false,
    }
}

fn by_admission(altered: &[String]) -> String {
    let fields = dispute::Dispute {
        manager: Some("a webhook or policy of admission".into()),
        fields: altered.to_vec(),
    };
    fields.to_string()
}

fn seen(live: &Value) -> Seen {
    let metadata = serde_json::from_value(live["metadata"].clone()).unwrap_or_default();
    Seen::of(live["kind"].as_str().unwrap_or_default(), &metadata)
}

fn has_label(live: &Value) -> bool {
    use crate::api::names::{MODULE_LABEL, MODULE_LABEL_VALUE};
    live["metadata"]["labels"][MODULE_LABEL] == MODULE_LABEL_VALUE
}

fn paused(object: &ObjectId, seen: Option<&Seen>) -> Option<Fate> {
    let pause = Pause::read(seen?.pause.as_deref()?, Timestamp::now())?;
    Some(Fate::Held(Held { object: object.clone(), why: Why::Paused(pause) }))
}

fn record(task: Task, written: server_side::Written) -> Record {
    let Task { stage, digest, record: before, .. } = task;
    let server_side::Written { uid, entry, altered, release, origin, .. } = written;
    // Of an object that was written before it is known; one that took its place is another object.
    let same = before.filter(|before| before.uid.is_some() && before.uid == uid);
    let origin = same.map_or(Some(origin), |before| before.origin);
    Record { stage, uid, digest: Some(digest), entry, altered, release, origin }
}

fn what_happened(task: &Task, live: Option<&Value>) -> String {
    let Some(live) = live else { return "it was deleted".to_owned() };
    let known = task.record.as_ref().and_then(|record| record.uid.as_deref());
    if known.is_some() && live["metadata"]["uid"].as_str() != known {
        return "it was replaced by another object of the same name".to_owned();
    }
    match &task.record {
        Some(record) if !record.altered.is_empty() => by_admission(&record.altered),
        _ => dispute::describe(&dispute::disputes(live, &task.manifest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_there_is_not_read_before_it_is_written() {
        let id = |namespace: Option<&str>, kind: &str, name: &str| ObjectId {
            group: String::new(),
            version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
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
            assert_eq!(is_first(object, namespaces, without_istio_apis), expected, "{object}");
        }
    }
}
