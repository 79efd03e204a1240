//! One look at the whole data plane: pods page by page, judged as they come and dropped; what may be outdated is proven
//! at once, page by page, so that memory does not grow with the cluster.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::stream::{self, StreamExt};
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use thiserror::Error;

use super::judge::{Judge, Verdict};
use crate::dataplane::decide::found::Found;
use crate::dataplane::injected::Injected;
use crate::dataplane::kind::Kind;
use crate::dataplane::look::mesh::Mesh;
use crate::dataplane::look::owner::{Claim, claim, named, owner_hash};
use crate::dataplane::look::pod;
use crate::dataplane::look::workloads::Workloads;
use crate::dataplane::objects::{Meta, Pod};
use crate::dataplane::reason::Reason;
use crate::dataplane::requests::{self, PAGE};
use crate::object;

/// Outdated workloads that are kept; further ones are counted and found by the next look.
const KEPT: usize = 5_000;
/// So often the list of pods is begun in one look. Each time, what was judged before is passed over, so that it comes further
/// before it expires.
const BEGINNINGS: usize = 10;
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

/// A pod that stands for its workload.
#[derive(Debug)]
pub struct Candidate {
    /// The pod.
    pub pod: Pod,
    /// Its injected part; `None` where it should have one.
    pub injected: Option<Injected>,
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
    let resource = object::resource("", "v1", "Namespace");
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
    /// Pods made since then, in seconds since the epoch, are only asked for if they look outdated.
    pub renewed: Option<i64>,
    /// Owners that are asked for in any case, by hash.
    pub revisit: &'a HashSet<u64>,
    /// Judges candidates.
    pub judge: &'a Judge<'a>,
}

impl Sweep<'_> {
    /// Looks at all pods.
    ///
    /// A list that expires while candidates are proven begins anew; what was judged is not judged again. One that expires
    /// again and again fails the look, lest it never ends.
    pub async fn run(&self) -> Result<Found, Error> {
        let resource = object::resource("", "v1", "Pod");
        let mut params = ListParams::default().limit(PAGE).labels(self.selector);
        let mut found = Found::default();
        let (mut owners, mut judged) = (HashSet::new(), HashSet::new());
        let (mut begun, mut waiting) = (1, Vec::new());
        loop {
            let page = match requests::page::<Pod>(self.client, &resource, None, &params).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) if status.code == 410 && begun < BEGINNINGS => {
                    begun += 1;
                    params.continue_token = None;
                    continue;
                }
                Err(source) => return Err(Error::Pods { source: Box::new(source) }),
            };
            found.version = page.metadata.resource_version;
            waiting.extend(self.candidates(page.items, &mut owners, &mut judged, &mut found.suspects));
            let is_last = page.metadata.continue_token.is_empty();
            let whole = if is_last { waiting.len() } else { whole_namespaces(&waiting) };
            let later = waiting.split_off(whole);
            self.prove(std::mem::replace(&mut waiting, later), &mut found).await;
            if is_last {
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
            if injected.as_ref().is_some_and(|injected| injected.proxy().is_some()) {
                owners.insert(owner);
            }
            if !suspicions.is_empty() {
                suspects.insert(owner);
            }
            let asked = !suspicions.is_empty()
                || (self.scope != Scope::Suspects || self.revisit.contains(&owner)) && !self.is_renewed(&pod);
            if asked && judged.insert(look_hash(self.scope, owner, &suspicions)) {
                candidates.push((claim, Candidate { pod, injected, suspicions }));
            }
        }
        candidates
    }

    /// Whether a pod was made after the first restart for the present mesh. Mostly, the istiod that asked for that restart knew
    /// the mesh, so that this need not be asked for again and again, but only once more, when every istiod must know.
    fn is_renewed(&self, pod: &Pod) -> bool {
        let created = pod.metadata.creation_timestamp.as_ref();
        self.renewed.zip(created).is_some_and(|(renewed, created)| created.0.as_second() >= renewed)
    }

    /// As [`look`], and pods that should have a proxy and have none.
    fn look(&self, pod: &Pod) -> Option<(Option<Injected>, Vec<Reason>)> {
        if let Some((injected, suspicions)) = pod::look(pod, self.mesh) {
            return Some((Some(injected), suspicions));
        }
        let running = pod.metadata.deletion_timestamp.is_none() && pod.status.phase == "Running";
        let missing = running && self.scope != Scope::Removal && self.should_be_injected(pod);
        missing.then(|| (None, vec![Reason::MissingSidecar]))
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
    }

    async fn prove(&self, candidates: Vec<(Claim, Candidate)>, found: &mut Found) {
        let workloads = Workloads::read(self.client, candidates.iter().map(|(claim, _)| claim)).await;
        let workloads = &workloads;
        let mut verdicts = stream::iter(candidates)
            .map(|(claim, candidate)| async move {
                let verdict = self.judge.judge(&claim, &candidate, workloads).await;
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

/// How many of the candidates can be judged now: those of the last namespace may go on with the next page, and its workloads
/// need not be listed twice. Only one that fills a page does not wait, lest memory grows with it.
fn whole_namespaces(candidates: &[(Claim, Candidate)]) -> usize {
    let namespace = |index: usize| &candidates[index].1.pod.metadata.namespace;
    let Some(last) = candidates.len().checked_sub(1) else { return 0 };
    let before = (0..last).rev().find(|index| namespace(*index) != namespace(last));
    before.map_or(candidates.len(), |index| index + 1)
}

/// A workload and how one of its pods looks, as a number. All sidecars look the same while they are taken out.
fn look_hash(scope: Scope, owner: u64, suspicions: &[Reason]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let suspicions = if scope == Scope::Removal { &[] } else { suspicions };
    (owner, suspicions).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataplane::fixtures::{mesh, pod};
    use crate::dataplane::look::pod::look;

    #[test]
    fn the_last_namespace_of_a_page_waits_for_the_next_unless_it_fills_the_page() {
        let candidates = |namespaces: &str| -> Vec<(Claim, Candidate)> {
            let candidate = |namespace: char| {
                let pod = pod(|pod| pod["metadata"]["namespace"] = json!(namespace));
                (claim(&pod.metadata), Candidate { pod, injected: None, suspicions: Vec::new() })
            };
            namespaces.chars().map(candidate).collect()
        };
        for (namespaces, whole) in [("", 0), ("a", 1), ("aaa", 3), ("ab", 1), ("aabcc", 3), ("abab", 3)] {
            assert_eq!(whole_namespaces(&candidates(namespaces)), whole, "{namespaces}");
        }
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
