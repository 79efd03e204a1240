//! Which workload recreates a pod: the chain of controlling owner references, followed to its end and verified.
//!
//! The author of a pod can write any owner reference. It is trusted only if the owner exists with that UID and is of a kind
//! that creates such objects. Most chains follow from names, without a request; they are verified before a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::OnceCell;

use super::disruption::selector_matches;
use super::{KINDS, WorkloadKind, WorkloadSource, pod, replica_set};
use crate::dataplane::model::{Meta, Owner, Workload};
use crate::dataplane::requests::{self, Pages};
use crate::kubernetes::object::ObjectId;
use crate::names::is_dns_subdomain;
use crate::text::sanitized;

/// An owner could not be read.
#[derive(Debug, Error)]
#[error("failed to read {owner}, the owner of pod {pod}")]
pub struct Error {
    owner: ObjectId,
    pod: String,
    source: Box<kube::Error>,
}

/// The owner of a pod, as its own metadata names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerRef {
    /// The workload; no request is needed to find it.
    Terminal(WorkloadKind, ObjectId),
    /// The owner has to be read, because it may be owned in turn.
    NeedsLookup(WorkloadKind, ObjectId),
    /// The pod names an owner that it cannot have; the text says why.
    Forged(ObjectId, String),
}

/// Owners in one chain; controllers stack two.
const MAX_OWNER_DEPTH: usize = 5;
/// Bytes of a text in an owner reference that are shown.
const MAX_SHOWN_BYTES: usize = 80;

/// The owner that the metadata of a pod names.
#[must_use]
pub fn owner_ref(pod: &Meta) -> OwnerRef {
    let Some(owner) = pod.controller() else { return OwnerRef::Terminal(pod::KIND, pod_id(pod)) };
    if !is_well_formed(owner) {
        let [kind, name] = [&owner.kind, &owner.name].map(|text| sanitized(text, MAX_SHOWN_BYTES));
        return OwnerRef::Forged(pod_id(pod), format!("{kind} {name} is not a valid owner reference"));
    }
    let kind = kind_of(owner);
    if !kind.can_create(pod::KIND) {
        let why = format!("{} {} does not own pods directly", owner.kind, owner.name);
        return OwnerRef::Forged(pod_id(pod), why);
    }
    if kind == replica_set::KIND
        && let Some(workload) = owner_of_replica_set(pod, &owner.name)
    {
        return workload;
    }
    let id = owner.id(&pod.namespace);
    if kind.is_intermediate() { OwnerRef::NeedsLookup(kind, id) } else { OwnerRef::Terminal(kind, id) }
}

/// The workload that owns a `ReplicaSet`, if the name of that ends in the hash that a label of its pod has.
fn owner_of_replica_set(pod: &Meta, replica_set: &str) -> Option<OwnerRef> {
    KINDS.iter().find_map(|kind| {
        let hash = pod.labels.get(kind.replica_set_hash_label()?).filter(|hash| !hash.is_empty())?;
        let name = replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        is_dns_subdomain(name).then(|| OwnerRef::Terminal(*kind, kind.object(&pod.namespace, name)))
    })
}

/// The identity of a pod itself.
#[must_use]
pub fn pod_id(pod: &Meta) -> ObjectId {
    pod::KIND.object(&pod.namespace, &pod.name)
}

/// Whether a reference could name an object. The API server accepts any text in its fields, and these become parts of
/// request paths.
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

fn kind_of(owner: &Owner) -> WorkloadKind {
    WorkloadKind::find(owner.group_version().0, &owner.kind)
}

/// The owner of a pod as a number, which needs less memory than its name.
#[must_use]
pub fn owner_hash(owner_ref: &OwnerRef) -> u64 {
    let mut hasher = DefaultHasher::new();
    owner_identity(owner_ref).1.hash(&mut hasher);
    hasher.finish()
}

/// Kind and identity of the owner; those of the pod itself if its owner is forged.
#[must_use]
pub fn owner_identity(owner_ref: &OwnerRef) -> (WorkloadKind, &ObjectId) {
    match owner_ref {
        OwnerRef::Terminal(kind, id) | OwnerRef::NeedsLookup(kind, id) => (*kind, id),
        OwnerRef::Forged(id, _) => (pod::KIND, id),
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

/// The `ReplicaSet`s of one namespace that may be needed; they are listed when the first one is.
#[derive(Debug, Default)]
struct NamespaceReplicaSets {
    wanted: BTreeSet<String>,
    read: OnceCell<BTreeMap<String, Meta>>,
}

impl IntermediateOwners {
    /// `ReplicaSet`s of one namespace above which they are listed instead of read one by one.
    const MIN_LISTED: usize = 3;
    /// One page is listed for this many: a namespace keeps many old `ReplicaSet`s, and its tenant may keep any number.
    const WANTED_PER_PAGE: usize = 4;

    /// The owners of these pods. None is read yet.
    pub(crate) fn for_pods<'p>(pods: impl Iterator<Item = &'p Meta>) -> Self {
        let mut owners = Self::default();
        for pod in pods {
            let is_listed = |owner: &&Owner| kind_of(owner) == replica_set::KIND && is_well_formed(owner);
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
        let listed = self
            .namespaces
            .get(namespace)
            .filter(|_| replica_set::KIND == WorkloadKind::find(&id.group, &id.kind));
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
    /// A failed list is ignored: what it lacks is read one by one, and that error names the object.
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

/// The metadata of an owner without its annotations, which are not needed and may be large.
fn without_annotations(meta: Meta) -> Meta {
    Meta { annotations: BTreeMap::new(), ..meta }
}

/// The end of a chain of owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerChain {
    /// This workload, if it has this UID.
    Resolved(WorkloadKind, ObjectId, String),
    /// A link cannot be verified; the text says why.
    Broken(String),
}

/// Follows the chain above the owner that a pod names. Each link is verified by its UID and kind.
pub async fn resolve_owner_chain(
    client: &Client,
    owners: &IntermediateOwners,
    pod: &Meta,
) -> Result<OwnerChain, Error> {
    let Some(owner) = pod.controller() else {
        return Ok(OwnerChain::Resolved(pod::KIND, pod_id(pod), pod.uid.clone()));
    };
    let (mut kind, mut id, mut uid) = (kind_of(owner), owner.id(&pod.namespace), owner.uid.clone());
    for _ in 0..MAX_OWNER_DEPTH {
        // A workload that rolls out ends the chain. If its own owner reverts the restart, that is reported later.
        if !kind.is_intermediate() {
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
        // Nothing is known about an unknown owner; the object that it owns behaves as its own kind does.
        if next_kind.source() == WorkloadSource::Scale {
            break;
        }
        if !is_well_formed(next_owner) || !next_kind.can_create(kind) {
            return Ok(OwnerChain::Broken(format!(
                "{id} names an owner that does not own objects of its kind"
            )));
        }
        (kind, id, uid) = (next_kind, next_owner.id(&pod.namespace), next_owner.uid.clone());
    }
    Ok(OwnerChain::Resolved(kind, id, uid))
}

/// Why a workload that exists does not own a pod whose chain ends in it; `None` if it does.
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
    if kind.has_selector() && !workload.spec.selector.as_ref().is_none_or(selects) {
        return Some(format!("the selector of {id} does not match the pod"));
    }
    (!kind.can_name_pod(&id.name, &pod.name)).then(|| format!("{id} does not create pods with this name"))
}

/// Says that an owner does not exist, or that another object has its name.
#[must_use]
pub fn missing_owner_message(id: &ObjectId) -> String {
    format!("{id} does not exist with the UID that the pod names")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::workload::{deployment, job, stateful_set};

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
            (deployment::KIND, "u", "a", "p", true),
            (deployment::KIND, "v", "a", "p", false),
            (deployment::KIND, "u", "b", "p", false),
            (stateful_set::KIND, "u", "a", "w-0", true),
            (stateful_set::KIND, "u", "a", "w-x", false),
            (stateful_set::KIND, "u", "a", "p", false),
            // Its selector is generated by its controller and is no proof.
            (job::KIND, "u", "b", "p", true),
        ] {
            let mut pod = pod(&json!({"app": app}), &json!([]));
            pod.name = name.to_owned();
            let id = ObjectId { name: "w".to_owned(), ..pod_id(&pod) };
            let why = ownership_mismatch(kind, &id, uid, &workload, &pod);
            assert_eq!(why.is_none(), owned, "{kind:?} {uid} {app} {name}: {why:?}");
        }
    }
}
