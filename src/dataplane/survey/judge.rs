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
use crate::dataplane::look::owner::{self, Claim, named};
use crate::dataplane::look::scale;
use crate::dataplane::look::workloads::Workloads;
use crate::dataplane::memory;
use crate::dataplane::objects::{Meta, Template, Workload};
use crate::dataplane::prove::compare::reasons;
use crate::dataplane::prove::probe;
use crate::dataplane::prove::prover::Prover;
use crate::dataplane::reason::Reason;
use crate::dataplane::requests;
use crate::dataplane::tell::metrics::Metrics;
use crate::lock::lock;
use crate::object::ObjectId;
use crate::telemetry::one_line;

/// Revision of the control plane that the operator installs.
const OUR_REVISION: &str = "default";
/// Labels of a namespace on which injection depends.
const INJECTION_LABELS: [&str; 4] =
    ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "topology.istio.io/network"];

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
    fn key(finding: &Finding, suspicions: &[Reason]) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&finding.uid, &finding.target, suspicions).hash(&mut hasher);
        hasher.finish()
    }

    fn contains(&self, finding: &Finding, suspicions: &[Reason]) -> bool {
        let key = Self::key(finding, suspicions);
        lock(&self.0).contains(&key)
    }

    fn insert(&self, finding: &Finding, suspicions: &[Reason]) {
        // Far more workloads than a cluster has: a sign of many targets, of which the old ones are of no use.
        const LIMIT: usize = 100_000;
        let mut known = lock(&self.0);
        if known.len() >= LIMIT {
            known.clear();
        }
        known.insert(Self::key(finding, suspicions));
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
    /// How many pods unknown owners want, by identity: several pods of one owner ask once.
    pub scales: &'a Mutex<HashMap<ObjectId, i64>>,
}

impl Judge<'_> {
    /// Judges the workload behind a pod.
    pub(crate) async fn judge(&self, claim: &Claim, candidate: &Candidate, workloads: &Workloads) -> Verdict {
        let started = Instant::now();
        let verdict = self.try_judge(claim, candidate, workloads).await;
        let (kind, id) = named(claim);
        self.metrics.judged(kind, started.elapsed());
        verdict.unwrap_or_else(|why| Verdict::Unproven(id.clone(), why))
    }

    async fn try_judge(
        &self,
        claim: &Claim,
        candidate: &Candidate,
        workloads: &Workloads,
    ) -> Result<Verdict, String> {
        let Some((kind, id, workload)) = self.resolve(claim, candidate, workloads).await? else {
            return Ok(Verdict::Fresh);
        };
        let template = workload.spec.template.as_ref();
        let target = self.target(&id, template);
        let mut finding = self.finding(kind, id, &workload, candidate, target);
        if finding.kind == Kind::Other {
            finding.replicas = self.scale(&finding.workload).await;
        }
        if self.scope == Scope::Removal {
            finding.reasons = vec![Reason::Removal];
            // The mesh does not wait for the weekend to go.
            finding.steering.window = None;
            return Ok(Verdict::Stale(Box::new(finding)));
        }
        if self.proven.contains(&finding, &candidate.suspicions) {
            return Ok(Verdict::Fresh);
        }
        match kind {
            // Nothing is done about these, so that a look at the pod is proof enough.
            Kind::Pod | Kind::Job | Kind::CronJob => finding.reasons.clone_from(&candidate.suspicions),
            _ => self.prove(&mut finding, candidate, template).await?,
        }
        if finding.reasons.is_empty() {
            if self.settled {
                self.proven.insert(&finding, &candidate.suspicions);
            }
            return Ok(Verdict::Fresh);
        }
        Ok(Verdict::Stale(Box::new(finding)))
    }

    /// The end of the chain of owners, with its present state; `None` if it is gone.
    async fn resolve(
        &self,
        claim: &Claim,
        candidate: &Candidate,
        workloads: &Workloads,
    ) -> Result<Option<(Kind, ObjectId, Arc<Workload>)>, String> {
        let pod = &candidate.pod.metadata;
        if let Claim::Known(kind, id) = claim {
            if matches!(kind, Kind::Pod | Kind::Other) {
                let owner = pod.controller();
                let uid = owner.map_or_else(|| pod.uid.clone(), |owner| owner.uid.clone());
                let workload = Workload { metadata: Meta { uid, ..pod.clone() }, ..Workload::default() };
                return Ok(Some((*kind, id.clone(), Arc::new(workload))));
            }
            let read = workloads.get(self.client, id).await.map_err(|error| one_line(&error))?;
            let selects = |workload: &Arc<Workload>| {
                workload.spec.selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels))
            };
            if let Some(workload) = read.filter(selects) {
                return Ok(Some((*kind, id.clone(), workload)));
            }
        }
        let Some((kind, id)) = owner::follow(self.client, pod).await.map_err(|error| one_line(&error))?
        else {
            return Ok(None);
        };
        let workload: Option<Workload> =
            requests::get(self.client, &id).await.map_err(|error| one_line(&error))?;
        Ok(workload.map(|workload| (kind, id, Arc::new(workload))))
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
        let module = pod.labels.get(MODULE_LABEL).is_some_and(|module| !module.is_empty());
        let replicas = wanted(workload);
        let has_status = !matches!(kind, Kind::Pod | Kind::Job | Kind::CronJob | Kind::Other);
        let labels =
            workload.spec.template.as_ref().map_or(&pod.labels, |template| &template.metadata.labels);
        Finding {
            kind,
            uid: workload.metadata.uid.clone(),
            generation: workload.metadata.generation,
            kyma: pod.namespace == OPERATOR_NAMESPACE || module,
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
            workload: id,
        }
    }

    /// How many pods an unknown owner wants; 0 if it does not tell.
    async fn scale(&self, id: &ObjectId) -> i64 {
        let known = lock(self.scales).get(id).copied();
        if let Some(replicas) = known {
            return replicas;
        }
        let replicas = scale::wanted(self.client, id).await.unwrap_or(0);
        lock(self.scales).insert(id.clone(), replicas);
        replicas
    }
}
