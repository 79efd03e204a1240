//! Who replaces a pod when it goes: the chain of controlling owners, followed to its end and verified.
//!
//! An owner reference is text that the author of a pod writes. It is believed only if the owner exists with that UID and is of
//! a kind that owns such objects. Most chains are known by convention, without a request; the convention is verified when
//! something is to follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::dataplane::names::{ROLLOUT_HASH_LABEL, TEMPLATE_HASH_LABEL};
use crate::dataplane::requests::{self, Pages};
use crate::dataplane::types::{Meta, Owner, Workload};
use crate::dataplane::workload::disruption::selector_matches;
use crate::dataplane::workload::kind::WorkloadKind;
use crate::kubernetes::object::ObjectId;
use crate::names::is_dns_subdomain;
use crate::text::sanitized;

/// An owner could not be read.
#[derive(Debug, Error)]
#[error("cannot read {owner}, the owner of pod {pod}")]
pub struct Error {
    owner: ObjectId,
    pod: String,
    source: Box<kube::Error>,
}

/// The owner of a pod as far as the pod itself tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerRef {
    /// Known without a request.
    Terminal(WorkloadKind, ObjectId),
    /// The owner has to be read to know whether it is owned in turn.
    NeedsLookup(WorkloadKind, ObjectId),
    /// The pod names an owner that it cannot have, for this reason.
    Forged(ObjectId, String),
}

/// Owners of owners of owners: more than any controller stacks.
const MAX_OWNER_DEPTH: usize = 5;
/// Bytes of a text in an owner reference that are shown.
const MAX_SHOWN_BYTES: usize = 80;

/// What the metadata of a pod claims.
#[must_use]
pub fn owner_ref(pod: &Meta) -> OwnerRef {
    let Some(owner) = pod.controller() else { return OwnerRef::Terminal(WorkloadKind::Pod, pod_id(pod)) };
    if !is_well_formed(owner) {
        let [kind, name] = [&owner.kind, &owner.name].map(|text| sanitized(text, MAX_SHOWN_BYTES));
        return OwnerRef::Forged(pod_id(pod), format!("{kind} {name} is no valid owner reference"));
    }
    let kind = kind_of(owner);
    if !can_own(kind, WorkloadKind::Pod) {
        let why = format!("{} {} does not own pods directly", owner.kind, owner.name);
        return OwnerRef::Forged(pod_id(pod), why);
    }
    if kind == WorkloadKind::ReplicaSet {
        for (label, kind, group, version, name) in [
            (TEMPLATE_HASH_LABEL, WorkloadKind::Deployment, "apps", "v1", "Deployment"),
            (ROLLOUT_HASH_LABEL, WorkloadKind::Rollout, "argoproj.io", "v1alpha1", "Rollout"),
        ] {
            let hash = pod.labels.get(label).filter(|hash| !hash.is_empty());
            let prefix = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            if let Some(prefix) = prefix.filter(|prefix| is_dns_subdomain(prefix)) {
                let id = ObjectId {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    kind: name.to_owned(),
                    namespace: Some(pod.namespace.clone()),
                    name: prefix.to_owned(),
                };
                return OwnerRef::Terminal(kind, id);
            }
        }
    }
    to_owner_ref(owner, &pod.namespace)
}

/// The identity of a pod itself.
#[must_use]
pub fn pod_id(pod: &Meta) -> ObjectId {
    ObjectId {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(pod.namespace.clone()),
        name: pod.name.clone(),
    }
}

/// Whether a reference could be one to an object. The API server takes any text for each of its fields, and these become
/// parts of addresses.
fn is_well_formed(owner: &Owner) -> bool {
    const MAX_UID_BYTES: usize = 64;
    let (group, version) = owner.group_version();
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (group.is_empty() || is_dns_subdomain(group))
        && is_word(version)
        && is_word(&owner.kind)
        && version.len().max(owner.kind.len()) <= 63
        && is_dns_subdomain(&owner.name)
        && (1..=MAX_UID_BYTES).contains(&owner.uid.len())
        && owner.uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether controllers of kind `above` make objects of kind `below`. What an unknown kind does is not known.
fn can_own(owner: WorkloadKind, owned: WorkloadKind) -> bool {
    match owner {
        WorkloadKind::Deployment | WorkloadKind::Rollout => owned == WorkloadKind::ReplicaSet,
        WorkloadKind::CronJob => owned == WorkloadKind::Job,
        WorkloadKind::StatefulSet
        | WorkloadKind::DaemonSet
        | WorkloadKind::ReplicaSet
        | WorkloadKind::ReplicationController
        | WorkloadKind::Job => owned == WorkloadKind::Pod,
        WorkloadKind::Other => true,
        WorkloadKind::Pod => false,
    }
}

fn to_owner_ref(owner: &Owner, namespace: &str) -> OwnerRef {
    let id = owner.id(namespace);
    match kind_of(owner) {
        kind @ (WorkloadKind::ReplicaSet | WorkloadKind::ReplicationController | WorkloadKind::Job) => {
            OwnerRef::NeedsLookup(kind, id)
        }
        kind => OwnerRef::Terminal(kind, id),
    }
}

fn kind_of(owner: &Owner) -> WorkloadKind {
    match (owner.group_version().0, owner.kind.as_str()) {
        ("apps", "Deployment") => WorkloadKind::Deployment,
        ("apps", "StatefulSet") => WorkloadKind::StatefulSet,
        ("apps", "DaemonSet") => WorkloadKind::DaemonSet,
        ("apps", "ReplicaSet") => WorkloadKind::ReplicaSet,
        ("argoproj.io", "Rollout") => WorkloadKind::Rollout,
        ("", "ReplicationController") => WorkloadKind::ReplicationController,
        ("batch", "Job") => WorkloadKind::Job,
        ("batch", "CronJob") => WorkloadKind::CronJob,
        _ => WorkloadKind::Other,
    }
}

/// The owner of a pod as a number, which takes less room than its name.
#[must_use]
pub fn owner_hash(owner_ref: &OwnerRef) -> u64 {
    let mut hasher = DefaultHasher::new();
    owner_identity(owner_ref).1.hash(&mut hasher);
    hasher.finish()
}

/// The kind and identity that a claim names; those of the pod itself where its owner is forged.
#[must_use]
pub fn owner_identity(owner_ref: &OwnerRef) -> (WorkloadKind, &ObjectId) {
    match owner_ref {
        OwnerRef::Terminal(kind, id) | OwnerRef::NeedsLookup(kind, id) => (*kind, id),
        OwnerRef::Forged(id, _) => (WorkloadKind::Pod, id),
    }
}

/// The metadata of an owner between a pod and its workload.
#[derive(Clone, Debug, Deserialize)]
struct OwnerObject {
    metadata: Meta,
}

/// The owners between the pods of one page and their workloads, read with as few requests as possible.
#[derive(Debug, Default)]
pub struct IntermediateOwners {
    namespaces: BTreeMap<String, NamespaceReplicaSets>,
}

/// The `ReplicaSet`s of one namespace that are asked for; they are listed when the first is.
#[derive(Debug, Default)]
struct NamespaceReplicaSets {
    wanted: BTreeSet<String>,
    read: OnceCell<BTreeMap<String, Meta>>,
}

impl IntermediateOwners {
    /// From so many in one namespace on, they are listed.
    const MIN_LISTED: usize = 3;
    /// Pages that are listed for each so many: a namespace keeps many old ones, and its tenant may keep any number.
    const WANTED_PER_PAGE: usize = 4;

    /// The parents of these pods, of which none is read yet.
    pub(crate) fn for_pods<'p>(pods: impl Iterator<Item = &'p Meta>) -> Self {
        let mut owners = Self::default();
        for pod in pods {
            let is_listed =
                |owner: &&Owner| kind_of(owner) == WorkloadKind::ReplicaSet && is_well_formed(owner);
            if let Some(owner) = pod.controller().filter(is_listed) {
                let listed = owners.namespaces.entry(pod.namespace.clone()).or_default();
                listed.wanted.insert(owner.name.clone());
            }
        }
        owners
    }

    /// The metadata of an owner; `None` if it does not exist.
    async fn get(&self, client: &Client, id: &ObjectId) -> Result<Option<Meta>, kube::Error> {
        let namespace = id.namespace.as_deref().unwrap_or_default();
        let listed = self.namespaces.get(namespace).filter(|_| id.is("apps", "ReplicaSet"));
        if let Some(listed) = listed.filter(|listed| listed.wanted.len() >= Self::MIN_LISTED) {
            let read = listed.read.get_or_init(|| listed.list(client, id)).await;
            if let Some(found) = read.get(&id.name) {
                return Ok(Some(found.clone()));
            }
        }
        Ok(requests::metadata::<OwnerObject>(client, id).await?.map(|read| read.metadata))
    }
}

impl NamespaceReplicaSets {
    /// A list that fails is no error: what is not here is read by itself, and then the error shows with its object.
    async fn list(&self, client: &Client, any: &ObjectId) -> BTreeMap<String, Meta> {
        let mut pages = Pages::new(client, &any.api_resource(), any.namespace.as_deref()).metadata();
        let mut found = BTreeMap::new();
        for _ in 0..self.wanted.len().div_ceil(IntermediateOwners::WANTED_PER_PAGE) {
            let more = pages
                .next(|read: OwnerObject, _| {
                    if self.wanted.contains(&read.metadata.name) {
                        found.insert(read.metadata.name.clone(), without_annotations(read.metadata));
                    }
                })
                .await;
            if !matches!(more, Ok(true)) || found.len() == self.wanted.len() {
                break;
            }
        }
        found
    }
}

/// What of an owner's metadata is looked at.
fn without_annotations(meta: Meta) -> Meta {
    Meta { annotations: BTreeMap::new(), ..meta }
}

/// How a chain of owners ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerChain {
    /// In this workload, if it has this UID.
    Resolved(WorkloadKind, ObjectId, String),
    /// In nothing that can be believed, for this reason.
    Broken(String),
}

/// Follows the chain above the owner that a pod names, each link verified by its UID and kind.
pub async fn resolve_owner_chain(
    client: &Client,
    owners: &IntermediateOwners,
    pod: &Meta,
) -> Result<OwnerChain, Error> {
    let Some(owner) = pod.controller() else {
        return Ok(OwnerChain::Resolved(WorkloadKind::Pod, pod_id(pod), pod.uid.clone()));
    };
    let (mut kind, mut id, mut uid) = (kind_of(owner), owner.id(&pod.namespace), owner.uid.clone());
    for _ in 0..MAX_OWNER_DEPTH {
        // What rolls out by its template is the end for us, whoever made it: its owner may revert, and is reported then.
        if !matches!(kind, WorkloadKind::ReplicaSet | WorkloadKind::ReplicationController | WorkloadKind::Job)
        {
            break;
        }
        let read = owners.get(client, &id).await.map_err(|source| Error {
            owner: id.clone(),
            pod: format!("{}/{}", pod.namespace, pod.name),
            source: Box::new(source),
        })?;
        let Some(read) = read.filter(|read| read.uid == uid) else {
            return Ok(OwnerChain::Broken(missing_owner_message(&id)));
        };
        let Some(next_owner) = read.controller() else { break };
        let next_kind = kind_of(next_owner);
        // What an unknown owner does is not known; what it owns replaces pods, or ends, as it always does.
        if next_kind == WorkloadKind::Other {
            break;
        }
        if !is_well_formed(next_owner) || !can_own(next_kind, kind) {
            return Ok(OwnerChain::Broken(format!(
                "{id} names an owner that does not own objects of its kind"
            )));
        }
        (kind, id, uid) = (next_kind, next_owner.id(&pod.namespace), next_owner.uid.clone());
    }
    Ok(OwnerChain::Resolved(kind, id, uid))
}

/// Why a workload that exists is not the owner of a pod whose chain ends in it; `None` if it is.
#[must_use]
pub fn ownership_mismatch(
    kind: WorkloadKind,
    id: &ObjectId,
    uid: &str,
    workload: &Workload,
    pod: &Meta,
) -> Option<String> {
    if workload.metadata.uid != uid {
        return Some(missing_owner_message(id));
    }
    let selects = |selector: &LabelSelector| selector_matches(selector, &pod.labels);
    let has_selector = !matches!(kind, WorkloadKind::Job | WorkloadKind::CronJob);
    if has_selector && !workload.spec.selector.as_ref().is_none_or(selects) {
        return Some(format!("{id} does not select the pod"));
    }
    let is_named_as_its_pod = || {
        let ordinal = pod.name.strip_prefix(&id.name).and_then(|rest| rest.strip_prefix('-'));
        ordinal.is_some_and(|ordinal| ordinal.parse::<u32>().is_ok())
    };
    (kind == WorkloadKind::StatefulSet && !is_named_as_its_pod())
        .then(|| format!("{id} does not make pods of this name"))
}

/// That an owner does not exist, or another has its name.
#[must_use]
pub fn missing_owner_message(id: &ObjectId) -> String {
    format!("{id} does not exist with the UID that the pod names")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(labels: &serde_json::Value, owners: &serde_json::Value) -> Meta {
        serde_json::from_value(
            json!({"name": "p", "namespace": "n", "labels": labels, "ownerReferences": owners}),
        )
        .unwrap()
    }

    fn owner(api_version: &str, kind: &str, name: &str, controller: bool) -> serde_json::Value {
        json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": controller})
    }

    #[test]
    fn the_owner_of_most_pods_is_known_without_a_request() {
        let replica_set = owner("apps/v1", "ReplicaSet", "web-abc", true);
        for (labels, owners, expected) in [
            (json!({}), json!([]), "Known Pod n/p"),
            (json!({"pod-template-hash": "abc"}), json!([replica_set]), "Known Deployment n/web"),
            (json!({"rollouts-pod-template-hash": "abc"}), json!([replica_set]), "Known Rollout n/web"),
            (json!({}), json!([replica_set]), "Intermediate ReplicaSet n/web-abc"),
            (json!({"pod-template-hash": "xyz"}), json!([replica_set]), "Intermediate ReplicaSet n/web-abc"),
            (json!({}), json!([owner("apps.kruise.io/v1", "CloneSet", "c", true)]), "Known CloneSet n/c"),
            (json!({}), json!([owner("v1", "Node", "n1", false)]), "Known Pod n/p"),
            (
                json!({}),
                json!([owner("v1", "ConfigMap", "x", false), owner("apps/v1", "DaemonSet", "d", true)]),
                "Known DaemonSet n/d",
            ),
            (json!({}), json!([owner("batch/v1", "Job", "j", true)]), "Intermediate Job n/j"),
            (json!({}), json!([owner("apps/v1", "Deployment", "web", true)]), "Forged Pod n/p"),
            (json!({}), json!([owner("argoproj.io/v1alpha1", "Rollout", "web", true)]), "Forged Pod n/p"),
            (json!({}), json!([owner("batch/v1", "CronJob", "c", true)]), "Forged Pod n/p"),
            (json!({}), json!([owner("apps/v1", "StatefulSet", "..", true)]), "Forged Pod n/p"),
            (json!({}), json!([owner("apps/v1", "StatefulSet", "a/b", true)]), "Forged Pod n/p"),
            (json!({}), json!([owner("apps/v1", "StatefulSet", "a?b", true)]), "Forged Pod n/p"),
            (json!({}), json!([owner("a b/v1", "StatefulSet", "a", true)]), "Forged Pod n/p"),
            (json!({}), json!([owner("example.com/v1", "../Thing", "a", true)]), "Forged Pod n/p"),
        ] {
            let described = match owner_ref(&pod(&labels, &owners)) {
                OwnerRef::Terminal(_, id) => format!("Known {id}"),
                OwnerRef::NeedsLookup(_, id) => format!("Intermediate {id}"),
                OwnerRef::Forged(id, _) => format!("Forged {id}"),
            };
            assert_eq!(described, expected);
        }
    }

    #[test]
    fn pods_that_a_workload_would_not_create_are_not_its_own() {
        let workload = json!({"metadata": {"uid": "u"}, "spec": {"selector": {"matchLabels": {"app": "a"}}}});
        let workload: Workload = serde_json::from_str(&workload.to_string()).unwrap();
        for (kind, uid, app, name, owned) in [
            (WorkloadKind::Deployment, "u", "a", "p", true),
            (WorkloadKind::Deployment, "v", "a", "p", false),
            (WorkloadKind::Deployment, "u", "b", "p", false),
            (WorkloadKind::StatefulSet, "u", "a", "w-0", true),
            (WorkloadKind::StatefulSet, "u", "a", "w-x", false),
            (WorkloadKind::StatefulSet, "u", "a", "p", false),
            // Its selector is made by its controller, and is no secret.
            (WorkloadKind::Job, "u", "b", "p", true),
        ] {
            let mut pod = pod(&json!({"app": app}), &json!([]));
            pod.name = name.to_owned();
            let id = ObjectId { name: "w".to_owned(), ..pod_id(&pod) };
            let why = ownership_mismatch(kind, &id, uid, &workload, &pod);
            assert_eq!(why.is_none(), owned, "{kind:?} {uid} {app} {name}: {why:?}");
        }
    }
}
