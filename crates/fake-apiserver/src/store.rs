//! The objects of the cluster, their history, and what every write does to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::error::ApiError;
use crate::faults::{Fault, FaultHandle, FaultRule};
use crate::fields::Schema;
use crate::kinds::{self, Kind};
use crate::managed::{self, Writer, without_managed_fields};
use crate::request::ApiRequest;
use crate::rules::{ChangeType, ObjectChange, Reaction};
use crate::selectors::is_selected;

/// Reactions to reactions, at most: more are a rule that never rests.
const MAX_REACTION_DEPTH: usize = 32;

pub(crate) type Rule = Arc<dyn Fn(&ObjectChange<'_>) -> Vec<Reaction> + Send + Sync>;
pub(crate) type Admission = Arc<dyn Fn(&ApiRequest, &mut Value) + Send + Sync>;

/// The state behind its lock.
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|weak| Self(Mutex::new(State::new(weak.clone()))))
    }

    /// A panic of a test while the lock is held leaves nothing that a later assertion needs.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The objects of a kind, in one namespace or in all.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// Empty for all.
    pub(crate) namespace: String,
}

impl Target {
    pub(crate) fn contains(&self, key: &ObjectKey) -> bool {
        key.group == self.kind.group
            && key.plural == self.kind.plural
            && (self.namespace.is_empty() || key.namespace == self.namespace)
    }

    pub(crate) fn key(&self, name: &str) -> ObjectKey {
        ObjectKey {
            group: self.kind.group.clone(),
            plural: self.kind.plural.clone(),
            namespace: if self.kind.namespaced { self.namespace.clone() } else { String::new() },
            name: name.to_owned(),
        }
    }
}

impl Kind {
    /// An object as it is answered in this version.
    pub(crate) fn present(&self, object: &Value, metadata_only: bool) -> Value {
        if metadata_only {
            return json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
        }
        let mut presented = Map::new();
        presented.insert("kind".to_owned(), json!(self.kind));
        presented.insert("apiVersion".to_owned(), json!(self.api_version()));
        for (field, value) in object.as_object().into_iter().flatten() {
            if field != "kind" && field != "apiVersion" {
                presented.insert(field.clone(), value.clone());
            }
        }
        Value::Object(presented)
    }

    pub(crate) fn schema(&self) -> Schema {
        Schema { custom: self.custom }
    }
}

/// A change that is remembered for watches.
pub(crate) struct StoredChange {
    pub(crate) version: u64,
    pub(crate) key: ObjectKey,
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) after: Option<Arc<Value>>,
}

/// Everything that the API server knows.
pub(crate) struct State {
    pub(crate) kinds: Vec<Kind>,
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    pub(crate) version: u64,
    last_uid: u64,
    pub(crate) history: Vec<StoredChange>,
    /// Changes up to this version cannot be watched any more, nor lists of it be continued.
    pub(crate) expired: u64,
    /// Raised to end all watches.
    pub(crate) epoch: usize,
    pub(crate) wakers: Vec<Waker>,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) requests: Vec<ApiRequest>,
    pub(crate) faults: Vec<FaultRule>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) admission: Vec<(String, Admission)>,
    pub(crate) git_version: String,
    pub(crate) establishes_crds: bool,
    pub(crate) streams_lists: bool,
    pub(crate) allowed: bool,
    /// Objects of one page, whatever a client asks for.
    pub(crate) page_limit: usize,
    shared: Weak<Shared>,
    depth: usize,
}

impl State {
    fn new(shared: Weak<Shared>) -> Self {
        Self {
            kinds: kinds::built_in(),
            objects: BTreeMap::new(),
            version: 1,
            last_uid: 0,
            history: Vec::new(),
            expired: 0,
            epoch: 0,
            wakers: Vec::new(),
            changed: watch::Sender::new(1),
            requests: Vec::new(),
            faults: Vec::new(),
            rules: Vec::new(),
            admission: Vec::new(),
            git_version: "v1.36.3".to_owned(),
            establishes_crds: true,
            streams_lists: true,
            allowed: true,
            page_limit: usize::MAX,
            shared,
            depth: 0,
        }
    }

    pub(crate) fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
        self.changed.send_replace(self.version);
    }

    /// The fault that a request meets. Every fault counts the requests that it is about, also those that meet another.
    pub(crate) fn strike(&mut self, request: &ApiRequest) -> Option<(Fault, FaultHandle)> {
        let mut met = None;
        for rule in &mut self.faults {
            if rule.observe(request) && met.is_none() {
                met = Some(rule.strike());
            }
        }
        met
    }

    /// The kind that serves a path.
    pub(crate) fn served(&self, group: &str, version: &str, plural: &str) -> Option<Kind> {
        self.kinds
            .iter()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
            .cloned()
    }

    /// The kind of a plural, with its group where that is needed (`gateways.networking.istio.io`).
    pub(crate) fn kind_of_plural(&self, plural: &str) -> Option<Kind> {
        self.kinds.iter().find(|kind| kind.plural == plural || kind.qualified() == plural).cloned()
    }

    pub(crate) fn kind_of_object(&self, object: &Value) -> Option<Kind> {
        let is =
            |kind: &&Kind| object["kind"] == kind.kind.as_str() && object["apiVersion"] == kind.api_version();
        self.kinds.iter().find(is).cloned()
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    pub(crate) fn select<'s>(
        &'s self,
        target: &'s Target,
        labels: &'s str,
        fields: &'s str,
    ) -> impl Iterator<Item = &'s Value> {
        self.objects
            .iter()
            .filter(move |(key, object)| target.contains(key) && is_selected(object, labels, fields))
            .map(|(_, object)| &**object)
    }

    /// Stores a new object as a client creates it; of a dry run, nothing stays.
    pub(crate) fn create(
        &mut self,
        request: &ApiRequest,
        target: &Target,
        object: &Value,
    ) -> Result<Value, ApiError> {
        let mut object = object.clone();
        strip_nulls(&mut object);
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        self.name_object(&mut object)?;
        let key = target.key(object["metadata"]["name"].as_str().unwrap_or_default());
        if self.objects.contains_key(&key) {
            return Err(ApiError::already_exists(&target.kind.qualified(), &key.name));
        }
        self.check_namespace(target)?;
        if target.kind.has_status()
            && let Some(object) = object.as_object_mut()
        {
            object.shift_remove("status");
        }
        self.admit(request, &mut object);
        let writer = writer(request, &target.kind);
        let is_apply = request.content_type.starts_with("application/apply-patch");
        if !is_apply {
            managed::record_update(&json!({}), &mut object, &writer, target.kind.schema());
        }
        self.complete_new(target, &mut object);
        if request.is_dry_run() {
            return Ok(target.kind.present(&object, request.wants_metadata_only()));
        }
        let stored = self.commit(key, Some(object));
        Ok(target.kind.present(&stored.unwrap_or_default(), request.wants_metadata_only()))
    }

    fn name_object(&mut self, object: &mut Value) -> Result<(), ApiError> {
        if object["metadata"]["name"].as_str().is_some_and(|name| !name.is_empty()) {
            return Ok(());
        }
        let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
        if prefix.is_empty() {
            return Err(ApiError::invalid("metadata.name", "name or generateName is required"));
        }
        self.last_uid += 1;
        object["metadata"]["name"] = json!(format!("{prefix}{:05}", self.last_uid));
        Ok(())
    }

    fn check_namespace(&self, target: &Target) -> Result<(), ApiError> {
        let key = ObjectKey {
            group: String::new(),
            plural: "namespaces".to_owned(),
            namespace: String::new(),
            name: target.namespace.clone(),
        };
        if target.kind.namespaced && !self.objects.contains_key(&key) {
            return Err(ApiError::not_found("namespaces", &target.namespace));
        }
        Ok(())
    }

    fn complete_new(&mut self, target: &Target, object: &mut Value) {
        self.last_uid += 1;
        let uid = format!("00000000-0000-4000-8000-{:012}", self.last_uid);
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = managed::now();
        if target.kind.namespaced {
            metadata["namespace"] = json!(target.namespace);
        }
        if target.kind.has_generation() {
            metadata["generation"] = json!(1);
        }
    }

    fn admit(&self, request: &ApiRequest, object: &mut Value) {
        for (plural, admission) in &self.admission {
            if *plural == request.resource {
                admission(request, object);
            }
        }
    }

    /// Stores a changed object as a client writes it.
    ///
    /// `after` is what the request makes of `before`. What a client must not change stays.
    pub(crate) fn update(
        &mut self,
        request: &ApiRequest,
        target: &Target,
        before: &Arc<Value>,
        mut after: Value,
    ) -> Result<Value, ApiError> {
        let kind = &target.kind;
        check_preconditions(request, kind, before, &after)?;
        strip_nulls(&mut after);
        restrict(kind, &request.subresource, before, &mut after);
        if request.subresource.is_empty() {
            self.admit(request, &mut after);
        }
        if !request.content_type.starts_with("application/apply-patch") {
            managed::record_update(before, &mut after, &writer(request, kind), kind.schema());
        }
        let is_same = without_managed_fields(&after) == without_managed_fields(before)
            && after["metadata"]["managedFields"] == before["metadata"]["managedFields"];
        if is_same {
            return Ok(kind.present(before, request.wants_metadata_only()));
        }
        if kind.has_generation() && content(&after) != content(before) {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(1);
            after["metadata"]["generation"] = json!(generation + 1);
        }
        if request.is_dry_run() {
            return Ok(kind.present(&after, request.wants_metadata_only()));
        }
        let key = target.key(&request.name);
        let is_terminating = !after["metadata"]["deletionTimestamp"].is_null();
        let stored = if is_terminating && !has_finalizers(&after) {
            self.commit(key, None);
            after
        } else {
            self.commit(key, Some(after)).unwrap_or_default()
        };
        Ok(kind.present(&stored, request.wants_metadata_only()))
    }

    /// Deletes an object, or begins to where finalizers keep it; the object if it is still there.
    pub(crate) fn delete(&mut self, key: &ObjectKey) -> Option<Value> {
        let live = self.objects.get(key)?.clone();
        if !has_finalizers(&live) {
            self.commit(key.clone(), None);
            return None;
        }
        let mut terminating = (*live).clone();
        if terminating["metadata"]["deletionTimestamp"].is_null() {
            terminating["metadata"]["deletionTimestamp"] = managed::now();
            terminating["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            if let Some(generation) = live["metadata"]["generation"].as_i64() {
                terminating["metadata"]["generation"] = json!(generation + 1);
            }
            return self.commit(key.clone(), Some(terminating));
        }
        Some(terminating)
    }

    /// Stores an object as it is, its status included; one that is there keeps its UID, unless `object` has another.
    pub(crate) fn put(&mut self, object: &Value) -> Option<Value> {
        let kind = self.kind_of_object(object)?;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let target = Target { kind, namespace: text("namespace") };
        let key = target.key(&text("name"));
        let mut object = object.clone();
        let live = self.objects.get(&key).cloned();
        let given = object["metadata"].clone();
        if let Some(live) = &live {
            for field in ["uid", "creationTimestamp", "generation", "managedFields"] {
                if object["metadata"][field].is_null() {
                    object["metadata"][field] = live["metadata"][field].clone();
                }
            }
        } else {
            self.complete_new(&target, &mut object);
            for field in ["uid", "creationTimestamp", "generation"] {
                if !given[field].is_null() {
                    object["metadata"][field] = given[field].clone();
                }
            }
        }
        strip_nulls(&mut object);
        if live.is_some_and(|live| {
            without_managed_fields(&live) == without_managed_fields(&object)
                && live["metadata"]["managedFields"] == object["metadata"]["managedFields"]
        }) {
            return Some(object);
        }
        self.commit(key, Some(object))
    }

    /// Writes to the store, tells the watches and lets the rules react. Returns the object as it was stored.
    #[allow(clippy::needless_pass_by_value, reason = "callers have no further use for the key")]
    fn commit(&mut self, key: ObjectKey, object: Option<Value>) -> Option<Value> {
        self.version += 1;
        let before = self.objects.get(&key).cloned();
        let after = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            if self.establishes_crds
                && key.plural == "customresourcedefinitions"
                && object["status"].is_null()
            {
                object["status"] = established(&object);
            }
            Arc::new(object)
        });
        match &after {
            Some(after) => drop(self.objects.insert(key.clone(), after.clone())),
            None => drop(self.objects.remove(&key)),
        }
        self.follow_crd(&key, before.as_deref(), after.as_deref());
        let change = StoredChange {
            version: self.version,
            key: key.clone(),
            before: before.clone(),
            after: after.clone(),
        };
        self.history.push(change);
        if after.is_none() && key.plural == "namespaces" {
            self.delete_content(&key.name);
        }
        self.wake();
        self.react(before.as_deref(), after.as_deref());
        after.map(|object| (*object).clone())
    }

    fn follow_crd(&mut self, key: &ObjectKey, before: Option<&Value>, after: Option<&Value>) {
        if key.plural != "customresourcedefinitions" {
            return;
        }
        for old in before.map(kinds::of_crd).unwrap_or_default() {
            self.kinds.retain(|kind| *kind != old);
        }
        match after {
            Some(after) if is_established(after) => self.kinds.extend(kinds::of_crd(after)),
            Some(_) => {}
            None => {
                let (plural, group) = key.name.split_once('.').unwrap_or((&key.name, ""));
                let gone: Vec<ObjectKey> = self
                    .objects
                    .keys()
                    .filter(|key| key.plural == plural && key.group == group)
                    .cloned()
                    .collect();
                for key in gone {
                    self.commit(key, None);
                }
            }
        }
    }

    fn delete_content(&mut self, namespace: &str) {
        let gone: Vec<ObjectKey> =
            self.objects.keys().filter(|key| key.namespace == namespace).cloned().collect();
        for key in gone {
            self.commit(key, None);
        }
    }

    fn react(&mut self, before: Option<&Value>, after: Option<&Value>) {
        if self.depth >= MAX_REACTION_DEPTH {
            return;
        }
        let change = match (before, after) {
            (None, Some(_)) => ChangeType::Added,
            (Some(_), Some(_)) => ChangeType::Modified,
            _ => ChangeType::Deleted,
        };
        let Some(object) = after.or(before) else { return };
        let change = ObjectChange { change, before, object };
        let reactions: Vec<Reaction> = self.rules.clone().iter().flat_map(|rule| rule(&change)).collect();
        self.depth += 1;
        for reaction in reactions {
            self.carry_out(reaction);
        }
        self.depth -= 1;
    }

    pub(crate) fn carry_out(&mut self, reaction: Reaction) {
        match reaction {
            Reaction::Put(object) => drop(self.put(&object)),
            Reaction::Patch { resource, namespace, name, manager, patch } => {
                drop(self.patch_as(&manager, &resource, &namespace, &name, &patch));
            }
            Reaction::Delete { resource, namespace, name } => {
                if let Some(kind) = self.kind_of_plural(&resource) {
                    self.delete(&Target { kind, namespace }.key(&name));
                }
            }
            Reaction::Later(delay, reaction) => {
                let shared = self.shared.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    if let Some(shared) = shared.upgrade() {
                        shared.lock().carry_out(*reaction);
                    }
                });
            }
        }
    }

    /// A merge patch as another client writes it; of the status, if it has one. `None` if there is no such object.
    pub(crate) fn patch_as(
        &mut self,
        manager: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Option<Value> {
        let kind = self.kind_of_plural(resource)?;
        let target = Target { kind, namespace: namespace.to_owned() };
        let key = target.key(name);
        let mut last = None;
        let (main, status) = split_status(&target.kind, patch);
        for (subresource, patch) in [("", main), ("status", status)] {
            let Some(patch) = patch else { continue };
            let before = self.objects.get(&key)?.clone();
            let mut after = (*before).clone();
            json_patch::merge(&mut after, &patch);
            let request = internal_request(manager, &target, name, subresource);
            last = self.update(&request, &target, &before, after).ok();
        }
        last
    }

    /// Server-side apply, forced, as another client does it.
    pub(crate) fn apply_as(&mut self, manager: &str, manifest: &Value) -> Option<Value> {
        let kind = self.kind_of_object(manifest)?;
        let text = |field: &str| manifest["metadata"][field].as_str().unwrap_or_default().to_owned();
        let target = Target { kind, namespace: text("namespace") };
        let mut request = internal_request(manager, &target, &text("name"), "");
        "application/apply-patch+yaml".clone_into(&mut request.content_type);
        request.query.insert("force".to_owned(), "true".to_owned());
        request.body = manifest.clone();
        self.apply(&request, &target).ok().map(|(_, object)| object)
    }

    /// Server-side apply; tells whether the object is new.
    pub(crate) fn apply(&mut self, request: &ApiRequest, target: &Target) -> Result<(bool, Value), ApiError> {
        let kind = &target.kind;
        let writer = writer(request, kind);
        let mut manifest = request.body.clone();
        strip_nulls(&mut manifest);
        let live = self.objects.get(&target.key(&request.name)).cloned();
        let is_status = request.subresource == "status";
        if !is_status
            && kind.has_status()
            && let Some(manifest) = manifest.as_object_mut()
        {
            manifest.shift_remove("status");
        }
        let force = request.option("force") == "true";
        match live {
            Some(live) => {
                check_preconditions(request, kind, &live, &manifest)?;
                let after = managed::apply(&live, &manifest, &writer, force, kind.schema())?;
                Ok((false, self.update(request, target, &live, after)?))
            }
            None if is_status => Err(ApiError::not_found(&kind.qualified(), &request.name)),
            None => {
                let empty = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": request.name}});
                let object = managed::apply(&empty, &manifest, &writer, force, kind.schema())?;
                Ok((true, self.create(request, target, &object)?))
            }
        }
    }
}

fn writer(request: &ApiRequest, kind: &Kind) -> Writer {
    Writer {
        manager: request.field_manager(),
        api_version: kind.api_version(),
        subresource: request.subresource.clone(),
    }
}

fn internal_request(manager: &str, target: &Target, name: &str, subresource: &str) -> ApiRequest {
    ApiRequest {
        verb: crate::Verb::Patch,
        path: String::new(),
        query: BTreeMap::from([("fieldManager".to_owned(), manager.to_owned())]),
        group: target.kind.group.clone(),
        version: target.kind.version.clone(),
        resource: target.kind.plural.clone(),
        namespace: target.namespace.clone(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
        body: Value::Null,
        user_agent: manager.to_owned(),
        content_type: "application/merge-patch+json".to_owned(),
        accept: String::new(),
    }
}

/// A patch for the object and one for its status.
fn split_status(kind: &Kind, patch: &Value) -> (Option<Value>, Option<Value>) {
    let Some(map) = patch.as_object().filter(|_| kind.has_status()) else {
        return (Some(patch.clone()), None);
    };
    let mut main = map.clone();
    let status = main.shift_remove("status").map(|status| json!({"status": status}));
    ((!main.is_empty()).then_some(Value::Object(main)), status)
}

/// A version or UID that the request names must be the present one.
fn check_preconditions(
    request: &ApiRequest,
    kind: &Kind,
    before: &Value,
    after: &Value,
) -> Result<(), ApiError> {
    let (old, new) = (&before["metadata"], &after["metadata"]);
    let differs = |field: &str| {
        let named = new[field].as_str().unwrap_or_default();
        !named.is_empty() && new[field] != old[field]
    };
    if differs("resourceVersion") {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(ApiError::conflict(&kind.qualified(), &request.name, why));
    }
    match (differs("uid"), request.verb) {
        (false, _) => Ok(()),
        (true, crate::Verb::Update) => Err(ApiError::conflict(
            &kind.qualified(),
            &request.name,
            "Precondition failed: UID in precondition differs",
        )),
        (true, _) => Err(ApiError::invalid("metadata.uid", "field is immutable")),
    }
}

/// Leaves what this endpoint does not write as it is in `before`.
fn restrict(kind: &Kind, subresource: &str, before: &Value, after: &mut Value) {
    let mut restricted = if subresource.is_empty() { after.clone() } else { before.clone() };
    if subresource.is_empty() {
        let metadata = &mut restricted["metadata"];
        for field in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            metadata[field] = before["metadata"][field].clone();
        }
        if kind.has_status() && !kind.is_crd() {
            restricted["status"] = before["status"].clone();
        }
        if kind.is_crd() && restricted["status"].is_null() {
            restricted["status"] = before["status"].clone();
        }
    } else {
        restricted["status"] = after["status"].clone();
        restricted["metadata"]["managedFields"] = after["metadata"]["managedFields"].clone();
    }
    strip_nulls(&mut restricted);
    *after = restricted;
}

/// What a change of raises the generation.
fn content(object: &Value) -> Map<String, Value> {
    let mut content = object.as_object().cloned().unwrap_or_default();
    for field in ["metadata", "status", "apiVersion", "kind"] {
        content.shift_remove(field);
    }
    content
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

fn is_established(crd: &Value) -> bool {
    let conditions = crd["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

fn established(crd: &Value) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": managed::now()});
    let versions = crd["spec"]["versions"].as_array().cloned().unwrap_or_default();
    let stored: Vec<&Value> = versions
        .iter()
        .filter(|version| version["storage"] == true)
        .map(|version| &version["name"])
        .collect();
    json!({"conditions": [condition("NamesAccepted"), condition("Established")], "storedVersions": stored,
        "acceptedNames": crd["spec"]["names"]})
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
