//! Scans pods page by page. Each pod is checked as it arrives and dropped; candidates are evaluated with their page, so that
//! memory does not grow with the cluster.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::stream::{self, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use thiserror::Error;

use super::evaluator::{Evaluation, Evaluator, MAX_TEXT_BYTES};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::discovery::pod;
use crate::dataplane::discovery::workloads::Workloads;
use crate::dataplane::model::{Injected, Meta, Pod};
use crate::dataplane::names::{ALLOW_INTERRUPTION_ANNOTATION, EXCLUDE_ANNOTATION, WINDOW_ANNOTATION};
use crate::dataplane::reasons::{StaleReason, missing_sidecar};
use crate::dataplane::requests::{self, LARGE_OBJECT_BYTES, Pages};
use crate::dataplane::schedule::scan_result::ScanResult;
use crate::dataplane::workload::owner::{
    IntermediateOwners, OwnerRef, owner_hash, owner_identity, owner_ref, pod_id,
};
use crate::kubernetes::object::{self, ObjectId};
use crate::telemetry::format_error_chain;
use crate::text::sanitized;

/// Bytes of candidates that wait for their evaluation. Further ones, and large ones, are read again for it.
const MAX_PENDING_BYTES: usize = 4 << 20;
/// Workloads that could not be evaluated and are kept; others are counted.
const MAX_UNKNOWN: usize = 500;
/// Bytes of an annotation of a namespace that are kept.
const MAX_ANNOTATION_BYTES: usize = 512;
/// Attempts at listing the pods in one scan. Each one skips what was evaluated before, so that it gets further before the list
/// expires.
const MAX_LIST_ATTEMPTS: usize = 10;
/// Evaluations at the same time: istiod and the API server have other work.
const MAX_CONCURRENT_EVALUATIONS: usize = 4;

/// A scan failed.
#[derive(Debug, Error)]
pub enum Error {
    /// Pods could not be listed.
    #[error("failed to list pods")]
    Pods {
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// Namespaces could not be listed.
    #[error("failed to list namespaces")]
    Namespaces {
        /// The error of the request.
        source: Box<kube::Error>,
    },
}

/// Which workloads are proven by a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanScope {
    /// Those that the cheap check finds.
    Candidates,
    /// All: the mesh changed in a way that pods may not show.
    All,
    /// All, without a dry run: they lose their sidecars.
    Uninstall,
}

/// A pod that represents its workload.
#[derive(Debug)]
pub struct Candidate {
    /// The pod.
    pub pod: Pod,
    /// Its injected part; `None` if it should have one.
    pub injected: Option<Injected>,
    /// Why it may be outdated.
    pub reasons: Vec<StaleReason>,
    /// Whether it is so large that it is evaluated alone.
    pub large: bool,
}

/// A candidate that waits for its evaluation.
#[derive(Debug)]
struct PendingCandidate {
    owner_ref: OwnerRef,
    /// The pod, its UID, and why it may be outdated.
    pod: ObjectId,
    uid: String,
    reasons: Vec<StaleReason>,
    /// The pod itself, unless it is read again.
    loaded: Option<Box<(Pod, Option<Injected>)>>,
}

/// What one scan remembers about the pods so far.
#[derive(Debug, Default)]
struct ScanState {
    owners: HashSet<u64>,
    evaluated: HashSet<u64>,
    candidate_owners: HashSet<u64>,
    pending: Vec<PendingCandidate>,
    /// Bytes of the pods in `pending`.
    bytes: usize,
}

/// Labels and annotations of the namespaces.
pub type Namespaces = BTreeMap<String, Meta>;

#[derive(Deserialize)]
struct NamespaceObject {
    metadata: Meta,
}

/// Reads the namespaces, page by page.
pub async fn namespaces(client: &Client) -> Result<Namespaces, Error> {
    let resource = object::resource("", "v1", "Namespace");
    let mut pages = Pages::new(client, &resource, None).metadata();
    let mut all = Namespaces::new();
    loop {
        let each = |named: NamespaceObject, _| {
            drop(all.insert(named.metadata.name.clone(), slim_metadata(named.metadata)));
        };
        let more = pages.next(each).await;
        if !more.map_err(|source| Error::Namespaces { source: Box::new(source) })? {
            return Ok(all);
        }
    }
}

/// The part of a namespace's metadata that is used.
fn slim_metadata(meta: Meta) -> Meta {
    let annotation = |key: &str| {
        let value = meta.annotations.get(key)?;
        let end =
            (0..=MAX_ANNOTATION_BYTES.min(value.len())).rev().find(|end| value.is_char_boundary(*end))?;
        Some((key.to_owned(), value[..end].to_owned()))
    };
    let keys = [EXCLUDE_ANNOTATION, WINDOW_ANNOTATION, ALLOW_INTERRUPTION_ANNOTATION];
    let annotations = keys.into_iter().filter_map(annotation).collect();
    Meta { name: meta.name, labels: meta.labels, annotations, ..Meta::default() }
}

/// A scan of the pods that `selector` selects.
pub struct PodScanner<'a> {
    /// Label selector of the pods.
    pub selector: &'a str,
    /// Client for reads and dry runs.
    pub client: &'a Client,
    /// What injection gives.
    pub mesh: &'a Mesh,
    /// Which workloads are proven by a dry run.
    pub scope: ScanScope,
    /// Pods that were created since then are proven only if the cheap check finds them.
    pub restarted_since: Option<Timestamp>,
    /// Owners that are proven in any case, by hash.
    pub known_stale: &'a HashSet<u64>,
    /// Evaluates candidates.
    pub evaluator: &'a Evaluator<'a>,
}

impl PodScanner<'_> {
    /// Scans all pods.
    ///
    /// If the list expires during evaluations, it starts again, and what was evaluated is skipped. After several times, the
    /// scan fails.
    pub async fn run(&self) -> Result<ScanResult, Error> {
        let resource = object::resource("", "v1", "Pod");
        let mut pages = Pages::new(self.client, &resource, None).labels(self.selector);
        let (mut result, mut state, mut attempts) = (ScanResult::default(), ScanState::default(), 1);
        loop {
            let more = match pages.next(|pod, bytes| self.scan_pod(pod, bytes, &mut state)).await {
                Ok(more) => more,
                Err(kube::Error::Api(status)) if status.code == 410 && attempts < MAX_LIST_ATTEMPTS => {
                    attempts += 1;
                    pages.reset();
                    continue;
                }
                Err(source) => return Err(Error::Pods { source: Box::new(source) }),
            };
            let complete = if more { complete_namespaces(&state.pending) } else { state.pending.len() };
            let later = state.pending.split_off(complete);
            self.evaluate_all(std::mem::replace(&mut state.pending, later), &mut result).await;
            state.bytes = 0;
            if !more {
                result.resource_version = pages.resource_version;
                result.skipped_pods = pages.skipped;
                result.candidate_owners = state.candidate_owners;
                result.total = state.owners.len();
                return Ok(result);
            }
        }
    }

    /// Checks a pod. For each workload, one pod of each appearance is evaluated: during a rollout, new pods say nothing about old
    /// ones.
    fn scan_pod(&self, pod: Pod, bytes: usize, state: &mut ScanState) {
        let Some((injected, reasons)) = self.inspect(&pod) else { return };
        let owner_ref = owner_ref(&pod.metadata);
        let owner = owner_hash(&owner_ref);
        if injected.as_ref().is_some_and(|injected| injected.proxy().is_some()) {
            state.owners.insert(owner);
        }
        if !reasons.is_empty() {
            state.candidate_owners.insert(owner);
        }
        let is_candidate = !reasons.is_empty()
            || (self.scope != ScanScope::Candidates || self.known_stale.contains(&owner))
                && !self.is_restarted(&pod);
        if !is_candidate
            || !state.evaluated.insert(appearance_hash(self.scope, owner, &pod.metadata, &reasons))
        {
            return;
        }
        let fits_in_memory = bytes <= LARGE_OBJECT_BYTES && state.bytes + bytes <= MAX_PENDING_BYTES;
        state.bytes += if fits_in_memory { bytes } else { 0 };
        let (id, uid) = (pod_id(&pod.metadata), pod.metadata.uid.clone());
        let loaded = fits_in_memory.then(|| Box::new((pod, injected)));
        state.pending.push(PendingCandidate { owner_ref, pod: id, uid, reasons, loaded });
    }

    /// Whether a pod was created after the first restart for the present mesh. The istiod that injected it most likely used the
    /// present configuration, so that it is proven only once more, when every istiod must use it.
    fn is_restarted(&self, pod: &Pod) -> bool {
        let created = pod.metadata.creation_timestamp.as_ref();
        self.restarted_since
            .zip(created)
            .is_some_and(|(restarted_since, created)| created.0 >= restarted_since)
    }

    /// As [`pod::inspect`], and pods that should have a sidecar and have none.
    fn inspect(&self, pod: &Pod) -> Option<(Option<Injected>, Vec<StaleReason>)> {
        if let Some((injected, reasons)) = pod::inspect(pod, self.mesh) {
            return Some((Some(injected), reasons));
        }
        let running = pod.metadata.deletion_timestamp.is_none() && pod.status.phase == "Running";
        let missing = running && self.scope != ScanScope::Uninstall && self.should_be_injected(pod);
        missing.then(|| (None, vec![StaleReason::plain(&missing_sidecar::SPEC)]))
    }

    /// Whether the labels of namespace and pod ask for a sidecar; the dry run decides.
    fn should_be_injected(&self, pod: &Pod) -> bool {
        let label = |meta: &Meta, key: &str| meta.labels.get(key).cloned().unwrap_or_default();
        let Some(namespace) = self.evaluator.namespaces.get(&pod.metadata.namespace) else { return false };
        let wants_injection =
            label(namespace, "istio-injection") == "enabled" || namespace.labels.contains_key("istio.io/rev");
        let has_owner = owner_identity(&owner_ref(&pod.metadata)).0.has_rollout();
        wants_injection
            && has_owner
            && label(namespace, "istio-injection") != "disabled"
            && label(&pod.metadata, "sidecar.istio.io/inject") != "false"
    }

    async fn evaluate_all(&self, candidate: Vec<PendingCandidate>, result: &mut ScanResult) {
        let owner_refs = candidate.iter().map(|waiting| &waiting.owner_ref);
        let workloads = Workloads::read(self.client, owner_refs).await;
        let loaded = candidate.iter().filter_map(|waiting| waiting.loaded.as_ref());
        let owners = IntermediateOwners::for_pods(loaded.map(|kept| &kept.0.metadata));
        let (workloads, owners) = (&workloads, &owners);
        let mut evaluations = stream::iter(candidate)
            .map(|candidate| async move {
                let owner = owner_hash(&candidate.owner_ref);
                (owner, self.evaluate(candidate, workloads, owners).await)
            })
            .buffer_unordered(MAX_CONCURRENT_EVALUATIONS);
        while let Some((owner, evaluation)) = evaluations.next().await {
            if !matches!(evaluation, Evaluation::UpToDate) {
                result.stale_owners.insert(owner);
            }
            match evaluation {
                Evaluation::UpToDate => {}
                Evaluation::Stale(stale) => result.stale_workloads.push(*stale),
                Evaluation::Unknown(..) if result.unknown.len() >= MAX_UNKNOWN => result.more_unknown += 1,
                Evaluation::Unknown(workload, why) => result.unknown.push((workload, why)),
            }
        }
    }

    async fn evaluate(
        &self,
        pending: PendingCandidate,
        workloads: &Workloads,
        owners: &IntermediateOwners,
    ) -> Evaluation {
        let PendingCandidate { owner_ref, pod, uid, reasons, loaded } = pending;
        let (large, _alone) = match loaded {
            Some(_) => (false, None),
            None => (true, Some(self.evaluator.large_object_lock.lock().await)),
        };
        let (pod, injected) = match loaded {
            Some(loaded) => *loaded,
            None => match requests::get::<Pod>(self.client, &pod).await {
                Ok(Some(read)) if read.metadata.uid == uid => {
                    let injected = Injected::from_pod(&read);
                    (read, injected)
                }
                // It was deleted meanwhile, or replaced by another pod with its name.
                Ok(_) => return Evaluation::UpToDate,
                Err(error) => {
                    return Evaluation::Unknown(pod, sanitized(&format_error_chain(&error), MAX_TEXT_BYTES));
                }
            },
        };
        let candidate = Candidate { pod, injected, reasons, large };
        self.evaluator.evaluate(&owner_ref, &candidate, workloads, owners).await
    }
}

/// How many candidates are evaluated now. Those of the last namespace may continue on the next page, so that its workloads are
/// listed once; a namespace that fills a page does not wait, because memory would grow with it.
fn complete_namespaces(candidates: &[PendingCandidate]) -> usize {
    let namespace = |index: usize| &candidates[index].pod.namespace;
    let Some(last) = candidates.len().checked_sub(1) else { return 0 };
    let before = (0..last).rev().find(|index| namespace(*index) != namespace(last));
    before.map_or(candidates.len(), |index| index + 1)
}

/// A workload and the appearance of one of its pods, as a number. During an uninstall, all sidecars are the same.
///
/// The UID of the owner that the pod names is part of it, so that a pod with a forged owner does not represent others.
fn appearance_hash(scope: ScanScope, owner: u64, pod: &Meta, reasons: &[StaleReason]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let reasons = if scope == ScanScope::Uninstall { &[] } else { reasons };
    (owner, pod.controller().map(|owner| &owner.uid), reasons).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::discovery::pod::inspect;
    use crate::dataplane::fixtures::{mesh, pod};

    #[test]
    fn the_last_namespace_of_a_page_waits_for_the_next_page() {
        let candidates = |namespaces: &str| -> Vec<PendingCandidate> {
            let candidate = |namespace: char| {
                let pod = pod(|pod| pod["metadata"]["namespace"] = json!(namespace));
                let (owner_ref, pod) = (owner_ref(&pod.metadata), pod_id(&pod.metadata));
                PendingCandidate { owner_ref, pod, uid: String::new(), reasons: Vec::new(), loaded: None }
            };
            namespaces.chars().map(candidate).collect()
        };
        for (namespaces, complete) in [("", 0), ("a", 1), ("aaa", 3), ("ab", 1), ("aabcc", 3), ("abab", 3)] {
            assert_eq!(complete_namespaces(&candidates(namespaces)), complete, "{namespaces}");
        }
    }

    #[test]
    fn pods_that_look_different_are_evaluated_separately() {
        let in_set = |name: &str, image: &str| {
            pod(|pod| {
                pod["metadata"]["name"] = json!(name);
                pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}]);
                pod["spec"]["containers"][0]["image"] = json!(image);
            })
        };
        let pods = ["new/proxyv2:2", "new/proxyv2:1", "new/proxyv2:1", "new/proxyv2:2"];
        let pods: Vec<Pod> =
            (0..).zip(pods).map(|(index, image)| in_set(&format!("db-{index}"), image)).collect();
        let mesh = mesh();
        let (mut owners, mut appearances) = (HashSet::new(), HashSet::new());
        for pod in &pods {
            let (_, reasons) = inspect(pod, &mesh).unwrap();
            let owner = owner_hash(&owner_ref(&pod.metadata));
            owners.insert(owner);
            appearances.insert(appearance_hash(ScanScope::All, owner, &pod.metadata, &reasons));
        }
        assert_eq!((owners.len(), appearances.len()), (1, 2));
    }
}
