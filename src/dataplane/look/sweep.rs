//! One look at the whole data plane: pods page by page, judged as they come and dropped; what may be outdated is proven
//! at once, page by page, so that memory does not grow with the cluster.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::stream::{self, StreamExt};
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use thiserror::Error;

use super::detect::suspicions;
use super::injected::Injected;
use super::mesh::Mesh;
use super::owner::{Claim, Kind, claim};
use super::workloads::Workloads;
use crate::dataplane::decide::finding::Finding;
use crate::dataplane::decide::reason::Reason;
use crate::dataplane::objects::{Meta, Pod};
use crate::dataplane::prove::judge::{Judge, Verdict};
use crate::dataplane::requests::{self, PAGE};
use crate::object::ObjectId;

/// Outdated workloads that are kept; further ones are counted and found by the next look.
const KEPT: usize = 5_000;
/// Proofs under way at once: istiod and the API server have other work.
const PROOFS_AT_ONCE: usize = 4;

/// A look could not be completed.
#[derive(Debug, Error)]
pub enum Error {
    /// Pods could not be listed.
    #[error("cannot list the pods of the mesh")]
    Pods {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Namespaces could not be listed.
    #[error("cannot list the namespaces")]
    Namespaces {
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

impl Found {
    /// Adds what another look found.
    pub fn add(&mut self, other: Self) {
        self.total += other.total;
        self.more += other.more;
        self.findings.extend(other.findings);
        self.stale.extend(other.stale);
        self.suspects.extend(other.suspects);
        self.unproven.extend(other.unproven);
    }
}

/// Which workloads are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those whose pods look outdated.
    Suspects,
    /// All: the mesh changed, in a way that the pods may not show.
    All,
    /// All, without proof: they lose their sidecars.
    Removal,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Found {
    /// Workloads with an injected proxy.
    pub total: usize,
    /// Those that are outdated.
    pub findings: Vec<Finding>,
    /// Hashes of their owners.
    pub stale: HashSet<u64>,
    /// Outdated ones that were not kept.
    pub more: usize,
    /// Outdated ones whose pods lack the label of injection; they are seen only by looking at all pods.
    pub missing: usize,
    /// Workloads about which nothing could be found out, and why.
    pub unproven: Vec<(ObjectId, String)>,
    /// Hashes of the owners that were suspected, for the watch that follows.
    pub suspects: HashSet<u64>,
    /// Version from which a watch of the pods goes on.
    pub version: String,
    /// Whether a maintenance window is open, of a namespace or of an outdated workload.
    pub window_open: bool,
}

/// A pod that stands for its workload.
#[derive(Debug)]
pub struct Candidate {
    /// The pod.
    pub pod: Pod,
    /// Its injected part.
    pub injected: Injected,
    /// Why it may be outdated.
    pub suspicions: Vec<Reason>,
}

/// Labels and annotations of the namespaces.
pub type Namespaces = BTreeMap<String, Meta>;

#[derive(Deserialize)]
struct Named {
    metadata: Meta,
}

/// Reads the namespaces, page by page.
pub async fn namespaces(client: &Client) -> Result<Namespaces, Error> {
    let resource = requests::resource("", "v1", "Namespace");
    let mut params = ListParams::default().limit(PAGE);
    let mut all = Namespaces::new();
    loop {
        let page = requests::metadata_page::<Named>(client, &resource, &params).await;
        let page = page.map_err(|source| Error::Namespaces { source: Box::new(source) })?;
        all.extend(page.items.into_iter().map(|named| (named.metadata.name.clone(), named.metadata)));
        if page.metadata.continue_token.is_empty() {
            return Ok(all);
        }
        params = params.continue_token(&page.metadata.continue_token);
    }
}

/// A look at the pods that `selector` selects.
pub struct Sweep<'a> {
    /// Label selector of the pods.
    pub selector: &'a str,
    /// Client for reads and dry runs.
    pub client: &'a Client,
    /// What injection gives.
    pub mesh: &'a Mesh,
    /// Which workloads are asked for.
    pub scope: Scope,
    /// Owners that are asked for in any case, by hash.
    pub revisit: &'a HashSet<u64>,
    /// Judges candidates.
    pub judge: &'a Judge<'a>,
}

impl Sweep<'_> {
    /// Looks at all pods.
    ///
    /// A list that expires while candidates are proven begins anew; what was judged is not judged again.
    pub async fn run(&self) -> Result<Found, Error> {
        let resource = requests::resource("", "v1", "Pod");
        let mut params = ListParams::default().limit(PAGE).labels(self.selector);
        let mut found = Found::default();
        let (mut owners, mut judged) = (HashSet::new(), HashSet::new());
        loop {
            let page = match requests::page::<Pod>(self.client, &resource, None, &params).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) if status.code == 410 => {
                    params.continue_token = None;
                    continue;
                }
                Err(source) => return Err(Error::Pods { source: Box::new(source) }),
            };
            found.version = page.metadata.resource_version;
            let candidates = self.candidates(page.items, &mut owners, &mut judged, &mut found.suspects);
            self.prove(candidates, &mut found).await;
            if page.metadata.continue_token.is_empty() {
                found.total = owners.len();
                return Ok(found);
            }
            params = params.continue_token(&page.metadata.continue_token);
        }
    }

    /// One pod for each workload that is to be judged and each way in which its pods look.
    ///
    /// While pods are replaced, the new ones say nothing about the old ones.
    fn candidates(
        &self,
        pods: Vec<Pod>,
        owners: &mut HashSet<u64>,
        judged: &mut HashSet<u64>,
        suspects: &mut HashSet<u64>,
    ) -> Vec<(Claim, Candidate)> {
        let mut candidates = Vec::new();
        for pod in pods {
            let Some((injected, suspicions)) = self.look(&pod) else { continue };
            let claim = claim(&pod.metadata);
            let owner = owner_hash(&claim);
            if injected.proxy().is_some() {
                owners.insert(owner);
            }
            if !suspicions.is_empty() {
                suspects.insert(owner);
            }
            let asked =
                self.scope != Scope::Suspects || !suspicions.is_empty() || self.revisit.contains(&owner);
            if asked && judged.insert(look_hash(self.scope, owner, &suspicions)) {
                candidates.push((claim, Candidate { pod, injected, suspicions }));
            }
        }
        candidates
    }

    /// As [`look`], and pods that should have a proxy and have none.
    fn look(&self, pod: &Pod) -> Option<(Injected, Vec<Reason>)> {
        if let Some(seen) = look(pod, self.mesh) {
            return Some(seen);
        }
        let running = pod.metadata.deletion_timestamp.is_none() && pod.status.phase == "Running";
        let missing = running && self.scope != Scope::Removal && self.should_be_injected(pod);
        missing.then(|| (Injected::default(), vec![Reason::MissingSidecar]))
    }

    /// Whether namespace and pod ask for a proxy, as far as labels tell; injection itself has the last word.
    fn should_be_injected(&self, pod: &Pod) -> bool {
        let label = |meta: &Meta, key: &str| meta.labels.get(key).cloned().unwrap_or_default();
        let Some(namespace) = self.judge.namespaces.get(&pod.metadata.namespace) else { return false };
        let asks =
            label(namespace, "istio-injection") == "enabled" || namespace.labels.contains_key("istio.io/rev");
        let has_owner = !matches!(named(&claim(&pod.metadata)).0, Kind::Pod | Kind::Job | Kind::Other);
        asks && has_owner
            && label(namespace, "istio-injection") != "disabled"
            && label(&pod.metadata, "sidecar.istio.io/inject") != "false"
            && Injected::of(pod).is_none()
    }

    async fn prove(&self, candidates: Vec<(Claim, Candidate)>, found: &mut Found) {
        let workloads = Workloads::read(self.client, &candidates).await;
        let workloads = &workloads;
        let mut verdicts = stream::iter(candidates)
            .map(|(claim, candidate)| async move {
                let verdict = self.judge.judge(&claim, &candidate, workloads, self.mesh, self.scope).await;
                (owner_hash(&claim), verdict)
            })
            .buffer_unordered(PROOFS_AT_ONCE);
        while let Some((owner, verdict)) = verdicts.next().await {
            if !matches!(verdict, Verdict::Fresh) {
                found.stale.insert(owner);
            }
            match verdict {
                Verdict::Fresh => {}
                Verdict::Stale(_) if found.findings.len() >= KEPT => found.more += 1,
                Verdict::Stale(finding) => found.findings.push(*finding),
                Verdict::Unproven(workload, why) => found.unproven.push((workload, why)),
            }
        }
    }
}

/// The injected part of a pod and why it may be outdated; `None` if the pod does not count.
///
/// Readiness does not matter: a proxy that is outdated may be what keeps its pod from being ready.
#[must_use]
pub fn look(pod: &Pod, mesh: &Mesh) -> Option<(Injected, Vec<Reason>)> {
    if pod.metadata.deletion_timestamp.is_some() || pod.status.phase != "Running" {
        return None;
    }
    let injected = Injected::of(pod)?;
    let suspicions = suspicions(&pod.metadata.annotations, &injected, mesh);
    Some((injected, suspicions))
}

/// A workload and how one of its pods looks, as a number. All sidecars look the same while they are taken out.
fn look_hash(scope: Scope, owner: u64, suspicions: &[Reason]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let suspicions = if scope == Scope::Removal { &[] } else { suspicions };
    (owner, suspicions).hash(&mut hasher);
    hasher.finish()
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mesh() -> Mesh {
        let values =
            json!({"global": {"proxy": {"image": "new/proxyv2:2"}}, "pilot": {"cni": {"enabled": true}}});
        let map = |key: &str, text: String| BTreeMap::from([(key.to_owned(), text)]);
        let config = "enablePrometheusMerge: false".to_owned();
        Mesh::read(&map("values", values.to_string()), &map("mesh", config), "istiod").unwrap()
    }

    /// A running pod with an outdated sidecar, after `change`.
    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "n", "annotations": {
                "sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"}},
            "spec": {"containers": [{"name": "istio-proxy", "image": "new/proxyv2:1"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        change(&mut pod);
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    #[test]
    fn a_pod_counts_while_it_runs_and_has_a_sidecar_however_it_feels() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, bool); 8] = [
            ("running", |_| {}, true),
            (
                "not ready: the outdated sidecar may be why",
                |pod| pod["status"]["conditions"][0]["status"] = json!("False"),
                true,
            ),
            (
                "held by a gate of its own",
                |pod| {
                    pod["status"]["conditions"] = json!([{"type": "example.com/gate", "status": "Unknown"}]);
                },
                true,
            ),
            ("pending", |pod| pod["status"]["phase"] = json!("Pending"), false),
            ("ended", |pod| pod["status"]["phase"] = json!("Succeeded"), false),
            ("going", |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"), false),
            ("without a sidecar", |pod| pod["metadata"]["annotations"] = json!({}), false),
            (
                "with a native sidecar",
                |pod| {
                    pod["spec"]["initContainers"] = pod["spec"]["containers"].take();
                    pod["metadata"]["annotations"]["sidecar.istio.io/status"] =
                        json!("{\"initContainers\":[\"istio-proxy\"]}");
                },
                true,
            ),
        ];
        for (name, change, counts) in cases {
            let suspected = look(&pod(change), &mesh()).is_some_and(|(_, suspicions)| {
                suspicions.iter().any(|reason| matches!(reason, Reason::Image { .. }))
            });
            assert_eq!(suspected, counts, "{name}");
        }
    }

    #[test]
    fn a_container_of_another_name_is_none_of_ours() {
        let other = |pod: &mut Value| pod["spec"]["containers"][0]["name"] = json!("istio-proxy-helper");
        let seen = look(&pod(other), &mesh());
        assert!(
            seen.is_some_and(|(injected, suspicions)| injected.proxy().is_none() && suspicions.is_empty())
        );
    }

    #[test]
    fn what_looks_different_is_judged_apart_and_an_owner_is_counted_once() {
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
        let (mut owners, mut looks) = (HashSet::new(), HashSet::new());
        for pod in &pods {
            let (_, suspicions) = look(pod, &mesh).unwrap();
            let owner = owner_hash(&claim(&pod.metadata));
            owners.insert(owner);
            looks.insert(look_hash(Scope::All, owner, &suspicions));
        }
        assert_eq!((owners.len(), looks.len()), (1, 2));
    }
}
