//! One look at the whole data plane: pods page by page, judged as they come and dropped; what may be outdated is proven
//! at once, page by page, so that memory does not grow with the cluster.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::stream::{self, StreamExt};
use kube::Client;
use serde::Deserialize;
use thiserror::Error;

use super::judge::{Judge, SHOWN, Verdict};
use crate::dataplane::decide::found::Found;
use crate::dataplane::injected::Injected;
use crate::dataplane::kind::Kind;
use crate::dataplane::look::mesh::Mesh;
use crate::dataplane::look::owner::{Claim, Parents, claim, named, owner_hash, pod_id};
use crate::dataplane::look::pod;
use crate::dataplane::look::workloads::Workloads;
use crate::dataplane::names::{ALLOW_INTERRUPTION_ANNOTATION, EXCLUDE_ANNOTATION, WINDOW_ANNOTATION};
use crate::dataplane::objects::{Meta, Pod};
use crate::dataplane::reason::Reason;
use crate::dataplane::requests::{self, LARGE, Pages};
use crate::object::{self, ObjectId};
use crate::telemetry::one_line;
use crate::text::sanitized;

/// Bytes of pods that wait for their proof. Further ones are read again when it is their turn, and so are large ones.
const WAITING: usize = 4 << 20;
/// Workloads about which nothing could be found out that are kept; of the others there only is a count.
const UNPROVEN: usize = 500;
/// Bytes of an annotation of a namespace that are kept.
const ANNOTATION: usize = 512;
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
    /// Whether it is so large that it is proven alone.
    pub large: bool,
}

/// A candidate that waits for its proof.
#[derive(Debug)]
struct Waiting {
    claim: Claim,
    /// The pod, its UID, and why it may be outdated.
    pod: ObjectId,
    uid: String,
    suspicions: Vec<Reason>,
    /// The rest of it, unless that is to be read again.
    kept: Option<Box<(Pod, Option<Injected>)>>,
}

/// What one look remembers of the pods that it has seen.
#[derive(Debug, Default)]
struct Seen {
    owners: HashSet<u64>,
    judged: HashSet<u64>,
    suspects: HashSet<u64>,
    waiting: Vec<Waiting>,
    /// Bytes of what waits.
    bytes: usize,
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
    let mut pages = Pages::new(client, &resource, None).metadata();
    let mut all = Namespaces::new();
    loop {
        let each = |named: Named, _| drop(all.insert(named.metadata.name.clone(), steering(named.metadata)));
        let more = pages.next(each).await;
        if !more.map_err(|source| Error::Namespaces { source: Box::new(source) })? {
            return Ok(all);
        }
    }
}

/// What of a namespace's metadata is looked at.
fn steering(meta: Meta) -> Meta {
    let annotation = |key: &str| {
        let value = meta.annotations.get(key)?;
        let end = (0..=ANNOTATION.min(value.len())).rev().find(|end| value.is_char_boundary(*end))?;
        Some((key.to_owned(), value[..end].to_owned()))
    };
    let keys = [EXCLUDE_ANNOTATION, WINDOW_ANNOTATION, ALLOW_INTERRUPTION_ANNOTATION];
    let annotations = keys.into_iter().filter_map(annotation).collect();
    Meta { name: meta.name, labels: meta.labels, annotations, ..Meta::default() }
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
        let mut pages = Pages::new(self.client, &resource, None).labels(self.selector);
        let (mut found, mut seen, mut begun) = (Found::default(), Seen::default(), 1);
        loop {
            let more = match pages.next(|pod, bytes| self.see(pod, bytes, &mut seen)).await {
                Ok(more) => more,
                Err(kube::Error::Api(status)) if status.code == 410 && begun < BEGINNINGS => {
                    begun += 1;
                    pages.begin_again();
                    continue;
                }
                Err(source) => return Err(Error::Pods { source: Box::new(source) }),
            };
            let whole = if more { whole_namespaces(&seen.waiting) } else { seen.waiting.len() };
            let later = seen.waiting.split_off(whole);
            self.prove(std::mem::replace(&mut seen.waiting, later), &mut found).await;
            seen.bytes = 0;
            if !more {
                found.version = pages.version;
                found.skipped = pages.skipped;
                found.suspects = seen.suspects;
                found.total = seen.owners.len();
                return Ok(found);
            }
        }
    }

    /// Looks at a pod. One waits for its proof for each workload that is to be judged and each way in which its pods look:
    /// while pods are replaced, the new ones say nothing about the old ones.
    fn see(&self, pod: Pod, bytes: usize, seen: &mut Seen) {
        let Some((injected, suspicions)) = self.look(&pod) else { return };
        let claim = claim(&pod.metadata);
        let owner = owner_hash(&claim);
        if injected.as_ref().is_some_and(|injected| injected.proxy().is_some()) {
            seen.owners.insert(owner);
        }
        if !suspicions.is_empty() {
            seen.suspects.insert(owner);
        }
        let asked = !suspicions.is_empty()
            || (self.scope != Scope::Suspects || self.revisit.contains(&owner)) && !self.is_renewed(&pod);
        if !asked || !seen.judged.insert(look_hash(self.scope, owner, &pod.metadata, &suspicions)) {
            return;
        }
        let is_kept = bytes <= LARGE && seen.bytes + bytes <= WAITING;
        seen.bytes += if is_kept { bytes } else { 0 };
        let (id, uid) = (pod_id(&pod.metadata), pod.metadata.uid.clone());
        let kept = is_kept.then(|| Box::new((pod, injected)));
        seen.waiting.push(Waiting { claim, pod: id, uid, suspicions, kept });
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

    async fn prove(&self, waiting: Vec<Waiting>, found: &mut Found) {
        let claims = waiting.iter().map(|waiting| &waiting.claim);
        let workloads = Workloads::read(self.client, claims).await;
        let kept = waiting.iter().filter_map(|waiting| waiting.kept.as_ref());
        let parents = Parents::of(kept.map(|kept| &kept.0.metadata));
        let (workloads, parents) = (&workloads, &parents);
        let mut verdicts = stream::iter(waiting)
            .map(|waiting| async move {
                let owner = owner_hash(&waiting.claim);
                (owner, self.judge(waiting, workloads, parents).await)
            })
            .buffer_unordered(PROOFS_AT_ONCE);
        while let Some((owner, verdict)) = verdicts.next().await {
            if !matches!(verdict, Verdict::Fresh) {
                found.stale.insert(owner);
            }
            match verdict {
                Verdict::Fresh => {}
                Verdict::Stale(finding) => found.findings.push(*finding),
                Verdict::Unproven(..) if found.unproven.len() >= UNPROVEN => found.more_unproven += 1,
                Verdict::Unproven(workload, why) => found.unproven.push((workload, why)),
            }
        }
    }

    async fn judge(&self, waiting: Waiting, workloads: &Workloads, parents: &Parents) -> Verdict {
        let Waiting { claim, pod, uid, suspicions, kept } = waiting;
        let (large, _alone) = match kept {
            Some(_) => (false, None),
            None => (true, Some(self.judge.large.lock().await)),
        };
        let (pod, injected) = match kept {
            Some(kept) => *kept,
            None => match requests::get::<Pod>(self.client, &pod).await {
                Ok(Some(read)) if read.metadata.uid == uid => {
                    let injected = Injected::of(&read);
                    (read, injected)
                }
                // It went meanwhile, or another has its name.
                Ok(_) => return Verdict::Fresh,
                Err(error) => return Verdict::Unproven(pod, sanitized(&one_line(&error), SHOWN)),
            },
        };
        let candidate = Candidate { pod, injected, suspicions, large };
        self.judge.judge(&claim, &candidate, workloads, parents).await
    }
}

/// How many of the candidates can be judged now: those of the last namespace may go on with the next page, and its workloads
/// need not be listed twice. Only one that fills a page does not wait, lest memory grows with it.
fn whole_namespaces(candidates: &[Waiting]) -> usize {
    let namespace = |index: usize| &candidates[index].pod.namespace;
    let Some(last) = candidates.len().checked_sub(1) else { return 0 };
    let before = (0..last).rev().find(|index| namespace(*index) != namespace(last));
    before.map_or(candidates.len(), |index| index + 1)
}

/// A workload and how one of its pods looks, as a number. All sidecars look the same while they are taken out.
///
/// The UID of the owner that the pod names is part of it, lest a pod with a forged one is judged in place of the others.
fn look_hash(scope: Scope, owner: u64, pod: &Meta, suspicions: &[Reason]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let suspicions = if scope == Scope::Removal { &[] } else { suspicions };
    (owner, pod.controller().map(|owner| &owner.uid), suspicions).hash(&mut hasher);
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
        let candidates = |namespaces: &str| -> Vec<Waiting> {
            let candidate = |namespace: char| {
                let pod = pod(|pod| pod["metadata"]["namespace"] = json!(namespace));
                let (claim, pod) = (claim(&pod.metadata), pod_id(&pod.metadata));
                Waiting { claim, pod, uid: String::new(), suspicions: Vec::new(), kept: None }
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
            looks.insert(look_hash(Scope::All, owner, &pod.metadata, &suspicions));
        }
        assert_eq!((owners.len(), looks.len()), (1, 2));
    }
}
