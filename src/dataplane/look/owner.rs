//! Who replaces a pod when it goes: the chain of controlling owners, followed to its end.
//!
//! Most chains are known by convention, without a request; the convention is checked when the workload is read.

use std::hash::{DefaultHasher, Hash, Hasher};

use kube::Client;
use serde::Deserialize;
use thiserror::Error;

use crate::dataplane::kind::Kind;
use crate::dataplane::names::{ROLLOUT_HASH_LABEL, TEMPLATE_HASH_LABEL};
use crate::dataplane::objects::{Meta, Owner};
use crate::dataplane::requests;
use crate::object::ObjectId;

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
pub enum Claim {
    /// Known without a request.
    Known(Kind, ObjectId),
    /// The owner has to be read to know whether it is owned in turn.
    Intermediate(Kind, ObjectId),
}

/// Owners of owners of owners: more than any controller stacks.
const DEPTH: usize = 5;

/// What the metadata of a pod claims.
#[must_use]
pub fn claim(pod: &Meta) -> Claim {
    let Some(owner) = pod.controller() else {
        let id = ObjectId {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some(pod.namespace.clone()),
            name: pod.name.clone(),
        };
        return Claim::Known(Kind::Pod, id);
    };
    if kind_of(owner) == Kind::ReplicaSet {
        for (label, kind, group, version, name) in [
            (TEMPLATE_HASH_LABEL, Kind::Deployment, "apps", "v1", "Deployment"),
            (ROLLOUT_HASH_LABEL, Kind::Rollout, "argoproj.io", "v1alpha1", "Rollout"),
        ] {
            let hash = pod.labels.get(label).filter(|hash| !hash.is_empty());
            let prefix = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            if let Some(prefix) = prefix {
                let id = ObjectId {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    kind: name.to_owned(),
                    namespace: Some(pod.namespace.clone()),
                    name: prefix.to_owned(),
                };
                return Claim::Known(kind, id);
            }
        }
    }
    next(owner, &pod.namespace)
}

fn next(owner: &Owner, namespace: &str) -> Claim {
    let id = owner.id(namespace);
    match kind_of(owner) {
        kind @ (Kind::ReplicaSet | Kind::ReplicationController | Kind::Job) => Claim::Intermediate(kind, id),
        kind => Claim::Known(kind, id),
    }
}

fn kind_of(owner: &Owner) -> Kind {
    match (owner.group_version().0, owner.kind.as_str()) {
        ("apps", "Deployment") => Kind::Deployment,
        ("apps", "StatefulSet") => Kind::StatefulSet,
        ("apps", "DaemonSet") => Kind::DaemonSet,
        ("apps", "ReplicaSet") => Kind::ReplicaSet,
        ("argoproj.io", "Rollout") => Kind::Rollout,
        ("", "ReplicationController") => Kind::ReplicationController,
        ("batch", "Job") => Kind::Job,
        ("batch", "CronJob") => Kind::CronJob,
        _ => Kind::Other,
    }
}

/// The owner of a pod as a number, which takes less room than its name.
#[must_use]
pub fn owner_hash(claim: &Claim) -> u64 {
    let (Claim::Known(_, id) | Claim::Intermediate(_, id)) = claim;
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// The kind and identity that a claim names.
#[must_use]
pub fn named(claim: &Claim) -> (Kind, &ObjectId) {
    let (Claim::Known(kind, id) | Claim::Intermediate(kind, id)) = claim;
    (*kind, id)
}

#[derive(Deserialize)]
struct Read {
    metadata: Meta,
}

/// Follows the chain above a claimed owner, or above the direct owner where the convention proved wrong.
///
/// `None` if an owner is gone: its pods go, too.
pub async fn follow(client: &Client, pod: &Meta) -> Result<Option<(Kind, ObjectId)>, Error> {
    let Some(owner) = pod.controller() else {
        let Claim::Known(kind, id) = claim(pod) else { return Ok(None) };
        return Ok(Some((kind, id)));
    };
    let mut at = (kind_of(owner), owner.id(&pod.namespace));
    for _ in 0..DEPTH {
        // What rolls out by its template is the end for us, whoever made it: its owner may revert, and is reported then.
        if !matches!(at.0, Kind::ReplicaSet | Kind::ReplicationController | Kind::Job) {
            break;
        }
        let read: Option<Read> = requests::get(client, &at.1).await.map_err(|source| Error {
            owner: at.1.clone(),
            pod: format!("{}/{}", pod.namespace, pod.name),
            source: Box::new(source),
        })?;
        let Some(read) = read else { return Ok(None) };
        let Some(above) = read.metadata.controller() else { break };
        let kind = kind_of(above);
        // What an unknown owner does is not known; what it owns replaces pods, or ends, as it always does.
        if kind == Kind::Other {
            break;
        }
        at = (kind, above.id(&pod.namespace));
    }
    Ok(Some(at))
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
        ] {
            let told = match claim(&pod(&labels, &owners)) {
                Claim::Known(_, id) => format!("Known {id}"),
                Claim::Intermediate(_, id) => format!("Intermediate {id}"),
            };
            assert_eq!(told, expected);
        }
    }
}
