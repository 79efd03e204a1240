//! The judgement on one candidate: its workload is read, injection is asked what it gives now, and the difference is a
//! finding or none.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kube::Client;

use super::sweep::{Candidate, Namespaces, Scope};
use crate::api::names::{MODULE_LABEL, OPERATOR_NAMESPACE};
use crate::dataplane::decide::disruption::{Replacement, matches, replacement};
use crate::dataplane::decide::finding::{Finding, Method, Steering, method};
use crate::dataplane::decide::rollout::{Rollout, rollout, wanted};
use crate::dataplane::digest::hash;
use crate::dataplane::injected::Injected;
use crate::dataplane::kind::Kind;
use crate::dataplane::look::mesh::Mesh;
use crate::dataplane::look::owner::{self, Chain, Claim, Parents, named, pod_id};
use crate::dataplane::look::scale::{self, Scale};
use crate::dataplane::look::workloads::Workloads;
use crate::dataplane::memory;
use crate::dataplane::objects::{Meta, Template, Workload};
use crate::dataplane::prove::compare::reasons;
use crate::dataplane::prove::probe;
use crate::dataplane::prove::prover::Prover;
use crate::dataplane::reason::Reason;
use crate::dataplane::requests::{self, LARGE};
use crate::dataplane::tell::metrics::Metrics;
use crate::lock::lock;
use crate::object::ObjectId;
use crate::telemetry::one_line;
use crate::text::sanitized;

/// Revision of the control plane that the operator installs.
const OUR_REVISION: &str = "default";
/// Labels of a namespace on which injection depends.
const INJECTION_LABELS: [&str; 4] =
    ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "topology.istio.io/network"];

/// Bytes of a text that says why something could not be found out.
pub(super) const SHOWN: usize = 300;
/// Owners whose scale is kept: far more than a cluster has.
const SCALES: usize = 20_000;

/// What came out.
#[derive(Debug)]
pub enum Verdict {
    /// The proxy is what injection gives now, or none of our business.
    Fresh,
    /// It is outdated.
    Stale(Box<Finding>),
    /// It could not be found out.
    Unproven(ObjectId, String),
}

/// Workloads that were proven to be up to date, by UID, target and how their pods look. Outlives one look, and can be
/// lost.
///
/// Pods of one workload may look different: those that were replaced, and those that are to come.
#[derive(Debug, Default)]
pub struct Proven(Mutex<HashSet<u64>>);

impl Proven {
    /// The UID of the pod's owner is part of it: a pod with a forged owner proves nothing about others.
    fn key(finding: &Finding, candidate: &Candidate) -> u64 {
        let owner = candidate.pod.metadata.controller().map(|owner| &owner.uid);
        let mut hasher = DefaultHasher::new();
        (&finding.uid, &finding.target, owner, &candidate.suspicions).hash(&mut hasher);
        hasher.finish()
    }

    fn contains(&self, finding: &Finding, candidate: &Candidate) -> bool {
        let key = Self::key(finding, candidate);
        lock(&self.0).contains(&key)
    }

    fn insert(&self, finding: &Finding, candidate: &Candidate) {
        // Far more workloads than a cluster has: a sign of many targets, of which the old ones are of no use.
        const LIMIT: usize = 100_000;
        let mut known = lock(&self.0);
        if known.len() >= LIMIT {
            known.clear();
        }
        known.insert(Self::key(finding, candidate));
    }
}

/// The means of judging.
pub struct Judge<'a> {
    /// Client for reads.
    pub client: &'a Client,
    /// Asks injection.
    pub prover: &'a Prover,
    /// The namespaces.
    pub namespaces: &'a Namespaces,
    /// What injection gives now.
    pub mesh: &'a Mesh,
    /// What is looked for.
    pub scope: Scope,
    /// What was proven before.
    pub proven: &'a Proven,
    /// Counts judgements.
    pub metrics: &'a Metrics,
    /// Whether istiod has had the time to take its configuration in, so that a "no" is final.
    pub settled: bool,
    /// What unknown owners say about their pods, by the hash of their identity: several pods of one owner ask once.
    pub scales: &'a Mutex<HashMap<u64, Option<Scale>>>,
    /// Held while something large is proven, which needs memory several times.
    pub large: &'a tokio::sync::Mutex<()>,
}

/// What stands behind a pod.
enum Resolved {
    /// A workload, and whether its ownership is verified already.
    Workload(Kind, ObjectId, Arc<Workload>, bool),
    /// Nothing that can be believed, for this reason.
    Forged(String),
}

impl Judge<'_> {
    /// Judges the workload behind a pod.
    pub(crate) async fn judge(
        &self,
        claim: &Claim,
        candidate: &Candidate,
        workloads: &Workloads,
        parents: &Parents,
    ) -> Verdict {
        let started = Instant::now();
        let verdict = self.try_judge(claim, candidate, workloads, parents).await;
        let (kind, id) = named(claim);
        self.metrics.judged(kind, started.elapsed());
        verdict.unwrap_or_else(|why| Verdict::Unproven(id.clone(), sanitized(&why, SHOWN)))
    }

    async fn try_judge(
        &self,
        claim: &Claim,
        candidate: &Candidate,
        workloads: &Workloads,
        parents: &Parents,
    ) -> Result<Verdict, String> {
        let (kind, id, workload, verified) = match self.resolve(claim, candidate, workloads, parents).await? {
            Resolved::Workload(kind, id, workload, verified) => (kind, id, workload, verified),
            Resolved::Forged(why) => return Ok(self.forged(candidate, &why)),
        };
        let template = workload.spec.template.as_ref();
        let target = self.target(&id, template);
        let mut finding = self.finding(kind, id, &workload, candidate, target);
        if kind == Kind::Other {
            let named = candidate.pod.metadata.controller().map(|owner| owner.uid.as_str());
            match self.scale(&finding.workload).await {
                Some(scale) if Some(scale.uid.as_str()) != named => {
                    return Ok(self.forged(candidate, &owner::absent(&finding.workload)));
                }
                Some(scale) => finding.replicas = scale.replicas,
                // Not verified, so that it must not be taken for what really has that UID.
                None => {
                    finding.replicas = 0;
                    finding.uid = format!("?{}", finding.uid);
                }
            }
        }
        if self.scope == Scope::Removal {
            finding.reasons = vec![Reason::Removal];
            // The mesh does not wait for the weekend to go.
            finding.steering.window = None;
        } else if self.proven.contains(&finding, candidate) {
            return Ok(Verdict::Fresh);
        } else {
            match kind {
                // Nothing is done about these, so that a look at the pod is proof enough.
                Kind::Pod | Kind::Job | Kind::CronJob => finding.reasons.clone_from(&candidate.suspicions),
                _ => self.prove(&mut finding, candidate, template).await?,
            }
        }
        if finding.reasons.is_empty() {
            if self.settled {
                self.proven.insert(&finding, candidate);
            }
            return Ok(Verdict::Fresh);
        }
        if !verified && let Some(why) = self.disowned(&finding, candidate, &workload, parents).await? {
            return Ok(self.forged(candidate, &why));
        }
        Ok(Verdict::Stale(Box::new(finding)))
    }

    /// The end of the chain of owners, with its present state.
    async fn resolve(
        &self,
        claim: &Claim,
        candidate: &Candidate,
        workloads: &Workloads,
        parents: &Parents,
    ) -> Result<Resolved, String> {
        let pod = &candidate.pod.metadata;
        if let Claim::Forged(_, why) = claim {
            return Ok(Resolved::Forged(why.clone()));
        }
        if let Claim::Known(kind, id) = claim {
            if matches!(kind, Kind::Pod | Kind::Other) {
                let uid = pod.controller().map_or_else(|| pod.uid.clone(), |owner| owner.uid.clone());
                return Ok(Resolved::Workload(*kind, id.clone(), behind(pod, uid), true));
            }
            let read = workloads.get(self.client, id).await.map_err(|error| one_line(&error))?;
            let selects = |workload: &Arc<Workload>| {
                workload.spec.selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels))
            };
            if let Some(workload) = read.filter(selects) {
                return Ok(Resolved::Workload(*kind, id.clone(), workload, false));
            }
        }
        let chain = owner::follow(self.client, parents, pod).await.map_err(|error| one_line(&error))?;
        let (kind, id, uid) = match chain {
            Chain::Ends(kind, id, uid) => (kind, id, uid),
            Chain::Broken(why) => return Ok(Resolved::Forged(why)),
        };
        let workload: Option<Workload> =
            requests::get(self.client, &id).await.map_err(|error| one_line(&error))?;
        let Some(workload) = workload else { return Ok(Resolved::Forged(owner::absent(&id))) };
        Ok(match owner::disowns(kind, &id, &uid, &workload, pod) {
            Some(why) => Resolved::Forged(why),
            None => Resolved::Workload(kind, id, Arc::new(workload), true),
        })
    }

    /// Why the pod does not belong to the workload that it is taken for by convention; `None` if it does.
    async fn disowned(
        &self,
        finding: &Finding,
        candidate: &Candidate,
        workload: &Workload,
        parents: &Parents,
    ) -> Result<Option<String>, String> {
        let pod = &candidate.pod.metadata;
        let chain = owner::follow(self.client, parents, pod).await.map_err(|error| one_line(&error))?;
        Ok(match chain {
            Chain::Broken(why) => Some(why),
            Chain::Ends(kind, id, uid) if id.same_object(&finding.workload) => {
                owner::disowns(kind, &id, &uid, workload, pod)
            }
            Chain::Ends(_, id, _) => Some(format!("it belongs to {id}, not to {}", finding.workload)),
        })
    }

    /// What a pod shows whose owner cannot be believed: it is listed by itself, and nothing follows from it.
    fn forged(&self, candidate: &Candidate, why: &str) -> Verdict {
        let pod = &candidate.pod.metadata;
        let reasons =
            if self.scope == Scope::Removal { vec![Reason::Removal] } else { candidate.suspicions.clone() };
        if reasons.is_empty() {
            return Verdict::Fresh;
        }
        let workload = behind(pod, pod.uid.clone());
        let finding = self.finding(Kind::Pod, pod_id(pod), &workload, candidate, self.mesh.hash.clone());
        let unverified = Some(sanitized(why, SHOWN));
        Verdict::Stale(Box::new(Finding { reasons, unverified, ..finding }))
    }

    /// Notes in `finding` why it is outdated, and what its pods would get.
    async fn prove(
        &self,
        finding: &mut Finding,
        candidate: &Candidate,
        template: Option<&Template>,
    ) -> Result<(), String> {
        let live = candidate.injected.as_ref();
        let probe = match template {
            Some(template) => probe::from_template(template, &candidate.pod),
            None => probe::from_pod(&candidate.pod, live.unwrap_or(&Injected::default())),
        };
        let is_large = template
            .and_then(|template| template.spec.as_ref())
            .is_some_and(|spec| spec.text().len() > LARGE);
        let alone = (is_large && !candidate.large).then(|| self.large.lock());
        let _alone = match alone {
            Some(alone) => Some(alone.await),
            None => None,
        };
        let wanted = self.prover.injected(&probe).await.map_err(|error| one_line(&error))?;
        let foreign = |revision: &str| revision != OUR_REVISION;
        // Another control plane gives the proxy, and will go on to.
        if wanted.as_ref().is_some_and(|wanted| foreign(&wanted.revision))
            && live.is_none_or(|live| foreign(&live.revision))
        {
            return Ok(());
        }
        finding.reasons = reasons(&candidate.pod.metadata.annotations, live, wanted.as_ref());
        // Only evictions need it, since they choose among the pods.
        if method(finding) == Some(Method::Evict) {
            finding.wanted = wanted.map(Arc::new);
        }
        Ok(())
    }

    fn target(&self, id: &ObjectId, template: Option<&Template>) -> String {
        if self.scope == Scope::Removal {
            return self.mesh.hash.clone();
        }
        let namespace = id.namespace.as_deref().and_then(|namespace| self.namespaces.get(namespace));
        let label = |key: &&str| namespace.and_then(|namespace| namespace.labels.get(*key)).cloned();
        let labels: Vec<String> = INJECTION_LABELS.iter().map(|key| label(key).unwrap_or_default()).collect();
        memory::target(&self.mesh.hash, &hash(&[&labels.join(","), &probe::template_hash(template)]))
    }

    fn finding(
        &self,
        kind: Kind,
        id: ObjectId,
        workload: &Workload,
        candidate: &Candidate,
        target: String,
    ) -> Finding {
        let pod = &candidate.pod.metadata;
        let namespace = self.namespaces.get(&pod.namespace).map(|namespace| namespace.annotations.clone());
        let replicas = wanted(workload);
        let has_status = !matches!(kind, Kind::Pod | Kind::Job | Kind::CronJob | Kind::Other);
        // The label of a pod is its author's word.
        let module = workload.metadata.labels.get(MODULE_LABEL).is_some_and(|module| !module.is_empty());
        let labels =
            workload.spec.template.as_ref().map_or(&pod.labels, |template| &template.metadata.labels);
        Finding {
            kind,
            uid: workload.metadata.uid.clone(),
            generation: workload.metadata.generation,
            kyma: pod.namespace == OPERATOR_NAMESPACE || (has_status && module),
            gateway: candidate.injected.as_ref().is_some_and(Injected::is_gateway),
            reasons: Vec::new(),
            target,
            replicas,
            replacement: if has_status {
                replacement(kind, workload, replicas)
            } else {
                Replacement::OnDelete
            },
            rollout: if has_status { rollout(kind, workload) } else { Rollout::Complete },
            paused: workload.spec.paused,
            pod_created: pod.creation_timestamp.as_ref().map_or(0, |created| created.0.as_second()),
            labels: labels.clone(),
            steering: Steering::of(&workload.metadata.annotations, &namespace.unwrap_or_default()),
            wanted: None,
            unverified: None,
            workload: id,
        }
    }

    /// What an unknown owner says about its pods.
    async fn scale(&self, id: &ObjectId) -> Option<Scale> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let key = hasher.finish();
        let known = lock(self.scales).get(&key).cloned();
        if let Some(scale) = known {
            return scale;
        }
        let scale = scale::scale(self.client, id).await;
        let mut scales = lock(self.scales);
        if scales.len() >= SCALES {
            scales.clear();
        }
        scales.insert(key, scale.clone());
        scale
    }
}

/// A pod in place of its workload, about which nothing else is known.
fn behind(pod: &Meta, uid: String) -> Arc<Workload> {
    Arc::new(Workload { metadata: Meta { uid, ..pod.clone() }, ..Workload::default() })
}
