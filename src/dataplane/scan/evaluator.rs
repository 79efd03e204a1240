//! The judgement on one candidate: its workload is read, injection is asked what it gives now, and the difference is a
//! finding or none.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kube::Client;

use super::scanner::{Candidate, Namespaces, ScanScope};
use crate::api::names::{MODULE_LABEL, OPERATOR_NAMESPACE};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::discovery::workloads::Workloads;
use crate::dataplane::hash::hash;
use crate::dataplane::injected::Injected;
use crate::dataplane::injection::compare::stale_reasons;
use crate::dataplane::injection::dry_run::InjectionDryRun;
use crate::dataplane::injection::probe_pod;
use crate::dataplane::reasons::StaleReason;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::requests::{self, LARGE_OBJECT_BYTES};
use crate::dataplane::restart_ledger;
use crate::dataplane::schedule::stale_workload::{
    RestartAnnotations, RestartStrategy, StaleWorkload, restart_strategy,
};
use crate::dataplane::types::{Meta, PodTemplate, Workload};
use crate::dataplane::workload::disruption::{PodReplacement, pod_replacement, selector_matches};
use crate::dataplane::workload::kind::WorkloadKind;
use crate::dataplane::workload::owner::{
    self, IntermediateOwners, OwnerChain, OwnerRef, owner_identity, pod_id,
};
use crate::dataplane::workload::rollout::{RolloutStatus, desired_replicas, rollout_status};
use crate::dataplane::workload::scale::{self, Scale};
use crate::kubernetes::object::ObjectId;
use crate::lock::lock;
use crate::telemetry::format_error_chain;
use crate::text::sanitized;

/// Revision of the control plane that the operator installs.
const OUR_REVISION: &str = "default";
/// Labels of a namespace on which injection depends.
const INJECTION_LABELS: [&str; 4] =
    ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "topology.istio.io/network"];

/// Bytes of a text that says why something could not be found out.
pub(crate) const MAX_TEXT_BYTES: usize = 300;
/// Owners whose scale is kept: far more than a cluster has.
const MAX_CACHED_SCALES: usize = 20_000;

/// What came out.
#[derive(Debug)]
pub enum Evaluation {
    /// The proxy is what injection gives now, or none of our business.
    UpToDate,
    /// It is outdated.
    Stale(Box<StaleWorkload>),
    /// It could not be found out.
    Unknown(ObjectId, String),
}

/// Workloads that were proven to be up to date, by UID, target and how their pods look. Outlives one look, and can be
/// lost.
///
/// Pods of one workload may look different: those that were replaced, and those that are to come.
#[derive(Debug, Default)]
pub struct UpToDateCache(Mutex<HashSet<u64>>);

impl UpToDateCache {
    /// The UID of the pod's owner is part of it: a pod with a forged owner proves nothing about others.
    fn key(stale: &StaleWorkload, candidate: &Candidate) -> u64 {
        let owner = candidate.pod.metadata.controller().map(|owner| &owner.uid);
        let mut hasher = DefaultHasher::new();
        (&stale.uid, &stale.target, owner, &candidate.reasons).hash(&mut hasher);
        hasher.finish()
    }

    fn contains(&self, stale: &StaleWorkload, candidate: &Candidate) -> bool {
        let key = Self::key(stale, candidate);
        lock(&self.0).contains(&key)
    }

    fn insert(&self, stale: &StaleWorkload, candidate: &Candidate) {
        // Far more workloads than a cluster has: a sign of many targets, of which the old ones are of no use.
        const LIMIT: usize = 100_000;
        let mut keys = lock(&self.0);
        if keys.len() >= LIMIT {
            keys.clear();
        }
        keys.insert(Self::key(stale, candidate));
    }
}

/// The means of judging.
pub struct Evaluator<'a> {
    /// Client for reads.
    pub client: &'a Client,
    /// Asks injection.
    pub dry_run: &'a InjectionDryRun,
    /// The namespaces.
    pub namespaces: &'a Namespaces,
    /// What injection gives now.
    pub mesh: &'a Mesh,
    /// What is looked for.
    pub scope: ScanScope,
    /// What was proven before.
    pub up_to_date: &'a UpToDateCache,
    /// Counts judgements.
    pub metrics: &'a DataPlaneMetrics,
    /// Whether istiod has had the time to take its configuration in, so that a "no" is final.
    pub config_propagated: bool,
    /// What unknown owners say about their pods, by the hash of their identity: several pods of one owner ask once.
    pub scales: &'a Mutex<HashMap<u64, Option<Scale>>>,
    /// Held while something large is proven, which needs memory several times.
    pub large_object_lock: &'a tokio::sync::Mutex<()>,
}

/// What stands behind a pod.
enum ResolvedOwner {
    /// A workload, and whether its ownership is verified already.
    Workload(WorkloadKind, ObjectId, Arc<Workload>, bool),
    /// Nothing that can be believed, for this reason.
    Forged(String),
}

impl Evaluator<'_> {
    /// Judges the workload behind a pod.
    pub(crate) async fn evaluate(
        &self,
        owner_ref: &OwnerRef,
        candidate: &Candidate,
        workloads: &Workloads,
        owners: &IntermediateOwners,
    ) -> Evaluation {
        let started = Instant::now();
        let evaluation = self.try_evaluate(owner_ref, candidate, workloads, owners).await;
        let (kind, id) = owner_identity(owner_ref);
        self.metrics.record_evaluation(kind, started.elapsed());
        evaluation.unwrap_or_else(|why| Evaluation::Unknown(id.clone(), sanitized(&why, MAX_TEXT_BYTES)))
    }

    async fn try_evaluate(
        &self,
        owner_ref: &OwnerRef,
        candidate: &Candidate,
        workloads: &Workloads,
        owners: &IntermediateOwners,
    ) -> Result<Evaluation, String> {
        let (kind, id, workload, verified) =
            match self.resolve_owner(owner_ref, candidate, workloads, owners).await? {
                ResolvedOwner::Workload(kind, id, workload, verified) => (kind, id, workload, verified),
                ResolvedOwner::Forged(why) => return Ok(self.evaluate_forged(candidate, &why)),
            };
        let template = workload.spec.template.as_ref();
        let target = self.restart_target(&id, template);
        let mut stale = self.stale_workload(kind, id, &workload, candidate, target);
        if kind == WorkloadKind::Other {
            let owner_uid = candidate.pod.metadata.controller().map(|owner| owner.uid.as_str());
            match self.scale(&stale.workload).await {
                Some(scale) if Some(scale.uid.as_str()) != owner_uid => {
                    return Ok(
                        self.evaluate_forged(candidate, &owner::missing_owner_message(&stale.workload))
                    );
                }
                Some(scale) => stale.replicas = scale.replicas,
                // Not verified, so that it must not be taken for what really has that UID.
                None => {
                    stale.replicas = 0;
                    stale.uid = format!("?{}", stale.uid);
                }
            }
        }
        if self.scope == ScanScope::Uninstall {
            stale.reasons = vec![StaleReason::Removal];
            // The mesh does not wait for the weekend to go.
            stale.restart_annotations.window = None;
        } else if self.up_to_date.contains(&stale, candidate) {
            return Ok(Evaluation::UpToDate);
        } else {
            match kind {
                // Nothing is done about these, so that a look at the pod is proof enough.
                WorkloadKind::Pod | WorkloadKind::Job | WorkloadKind::CronJob => {
                    stale.reasons.clone_from(&candidate.reasons)
                }
                _ => self.find_stale_reasons(&mut stale, candidate, template).await?,
            }
        }
        if stale.reasons.is_empty() {
            if self.config_propagated {
                self.up_to_date.insert(&stale, candidate);
            }
            return Ok(Evaluation::UpToDate);
        }
        if !verified && let Some(why) = self.ownership_mismatch(&stale, candidate, &workload, owners).await? {
            return Ok(self.evaluate_forged(candidate, &why));
        }
        Ok(Evaluation::Stale(Box::new(stale)))
    }

    /// The end of the chain of owners, with its present state.
    async fn resolve_owner(
        &self,
        owner_ref: &OwnerRef,
        candidate: &Candidate,
        workloads: &Workloads,
        owners: &IntermediateOwners,
    ) -> Result<ResolvedOwner, String> {
        let pod = &candidate.pod.metadata;
        if let OwnerRef::Forged(_, why) = owner_ref {
            return Ok(ResolvedOwner::Forged(why.clone()));
        }
        if let OwnerRef::Terminal(kind, id) = owner_ref {
            if matches!(kind, WorkloadKind::Pod | WorkloadKind::Other) {
                let uid = pod.controller().map_or_else(|| pod.uid.clone(), |owner| owner.uid.clone());
                return Ok(ResolvedOwner::Workload(*kind, id.clone(), pod_as_workload(pod, uid), true));
            }
            let read = workloads.get(self.client, id).await.map_err(|error| format_error_chain(&error))?;
            let selects = |workload: &Arc<Workload>| {
                workload.spec.selector.as_ref().is_none_or(|selector| selector_matches(selector, &pod.labels))
            };
            if let Some(workload) = read.filter(selects) {
                return Ok(ResolvedOwner::Workload(*kind, id.clone(), workload, false));
            }
        }
        let chain = owner::resolve_owner_chain(self.client, owners, pod)
            .await
            .map_err(|error| format_error_chain(&error))?;
        let (kind, id, uid) = match chain {
            OwnerChain::Resolved(kind, id, uid) => (kind, id, uid),
            OwnerChain::Broken(why) => return Ok(ResolvedOwner::Forged(why)),
        };
        let workload: Option<Workload> =
            requests::get(self.client, &id).await.map_err(|error| format_error_chain(&error))?;
        let Some(workload) = workload else {
            return Ok(ResolvedOwner::Forged(owner::missing_owner_message(&id)));
        };
        Ok(match owner::ownership_mismatch(kind, &id, &uid, &workload, pod) {
            Some(why) => ResolvedOwner::Forged(why),
            None => ResolvedOwner::Workload(kind, id, Arc::new(workload), true),
        })
    }

    /// Why the pod does not belong to the workload that it is taken for by convention; `None` if it does.
    async fn ownership_mismatch(
        &self,
        stale: &StaleWorkload,
        candidate: &Candidate,
        workload: &Workload,
        owners: &IntermediateOwners,
    ) -> Result<Option<String>, String> {
        let pod = &candidate.pod.metadata;
        let chain = owner::resolve_owner_chain(self.client, owners, pod)
            .await
            .map_err(|error| format_error_chain(&error))?;
        Ok(match chain {
            OwnerChain::Broken(why) => Some(why),
            OwnerChain::Resolved(kind, id, uid) if id.is_same_object(&stale.workload) => {
                owner::ownership_mismatch(kind, &id, &uid, workload, pod)
            }
            OwnerChain::Resolved(_, id, _) => Some(format!("it belongs to {id}, not to {}", stale.workload)),
        })
    }

    /// What a pod shows whose owner cannot be believed: it is listed by itself, and nothing follows from it.
    fn evaluate_forged(&self, candidate: &Candidate, why: &str) -> Evaluation {
        let pod = &candidate.pod.metadata;
        let reasons = if self.scope == ScanScope::Uninstall {
            vec![StaleReason::Removal]
        } else {
            candidate.reasons.clone()
        };
        if reasons.is_empty() {
            return Evaluation::UpToDate;
        }
        let workload = pod_as_workload(pod, pod.uid.clone());
        let stale =
            self.stale_workload(WorkloadKind::Pod, pod_id(pod), &workload, candidate, self.mesh.hash.clone());
        let unverified = Some(sanitized(why, MAX_TEXT_BYTES));
        Evaluation::Stale(Box::new(StaleWorkload { reasons, owner_unverified: unverified, ..stale }))
    }

    /// Notes in `finding` why it is outdated, and what its pods would get.
    async fn find_stale_reasons(
        &self,
        stale: &mut StaleWorkload,
        candidate: &Candidate,
        template: Option<&PodTemplate>,
    ) -> Result<(), String> {
        let live = candidate.injected.as_ref();
        let probe = match template {
            Some(template) => probe_pod::from_template(template, &candidate.pod),
            None => probe_pod::from_pod(&candidate.pod, live.unwrap_or(&Injected::default())),
        };
        let is_large = template
            .and_then(|template| template.spec.as_ref())
            .is_some_and(|spec| spec.text().len() > LARGE_OBJECT_BYTES);
        let guard = (is_large && !candidate.large).then(|| self.large_object_lock.lock());
        let _guard = match guard {
            Some(guard) => Some(guard.await),
            None => None,
        };
        let wanted = self.dry_run.inject(&probe).await.map_err(|error| format_error_chain(&error))?;
        let is_other_revision = |revision: &str| revision != OUR_REVISION;
        // Another control plane gives the proxy, and will go on to.
        if wanted.as_ref().is_some_and(|wanted| is_other_revision(&wanted.revision))
            && live.is_none_or(|live| is_other_revision(&live.revision))
        {
            return Ok(());
        }
        stale.reasons = stale_reasons(&candidate.pod.metadata.annotations, live, wanted.as_ref());
        // Only evictions need it, since they choose among the pods.
        if restart_strategy(stale) == Some(RestartStrategy::Evict) {
            stale.desired_injection = wanted.map(Arc::new);
        }
        Ok(())
    }

    fn restart_target(&self, id: &ObjectId, template: Option<&PodTemplate>) -> String {
        if self.scope == ScanScope::Uninstall {
            return self.mesh.hash.clone();
        }
        let namespace = id.namespace.as_deref().and_then(|namespace| self.namespaces.get(namespace));
        let label = |key: &&str| namespace.and_then(|namespace| namespace.labels.get(*key)).cloned();
        let labels: Vec<String> = INJECTION_LABELS.iter().map(|key| label(key).unwrap_or_default()).collect();
        restart_ledger::restart_target(
            &self.mesh.hash,
            &hash(&[&labels.join(","), &probe_pod::template_hash(template)]),
        )
    }

    fn stale_workload(
        &self,
        kind: WorkloadKind,
        id: ObjectId,
        workload: &Workload,
        candidate: &Candidate,
        target: String,
    ) -> StaleWorkload {
        let pod = &candidate.pod.metadata;
        let namespace = self.namespaces.get(&pod.namespace).map(|namespace| namespace.annotations.clone());
        let replicas = desired_replicas(workload);
        let has_status = !matches!(
            kind,
            WorkloadKind::Pod | WorkloadKind::Job | WorkloadKind::CronJob | WorkloadKind::Other
        );
        // The label of a pod is its author's word.
        let module = workload.metadata.labels.get(MODULE_LABEL).is_some_and(|module| !module.is_empty());
        let labels =
            workload.spec.template.as_ref().map_or(&pod.labels, |template| &template.metadata.labels);
        StaleWorkload {
            kind,
            uid: workload.metadata.uid.clone(),
            generation: workload.metadata.generation,
            kyma: pod.namespace == OPERATOR_NAMESPACE || (has_status && module),
            gateway: candidate.injected.as_ref().is_some_and(Injected::is_gateway),
            reasons: Vec::new(),
            target,
            replicas,
            replacement: if has_status {
                pod_replacement(kind, workload, replicas)
            } else {
                PodReplacement::OnDelete
            },
            rollout: if has_status { rollout_status(kind, workload) } else { RolloutStatus::Complete },
            paused: workload.spec.paused,
            pod_created: pod.creation_timestamp.as_ref().map_or(0, |created| created.0.as_second()),
            labels: labels.clone(),
            restart_annotations: RestartAnnotations::from_annotations(
                &workload.metadata.annotations,
                &namespace.unwrap_or_default(),
            ),
            desired_injection: None,
            owner_unverified: None,
            workload: id,
        }
    }

    /// What an unknown owner says about its pods.
    async fn scale(&self, id: &ObjectId) -> Option<Scale> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let key = hasher.finish();
        let cached = lock(self.scales).get(&key).cloned();
        if let Some(scale) = cached {
            return scale;
        }
        let scale = scale::read_scale(self.client, id).await;
        let mut scales = lock(self.scales);
        if scales.len() >= MAX_CACHED_SCALES {
            scales.clear();
        }
        scales.insert(key, scale.clone());
        scale
    }
}

/// A pod in place of its workload, about which nothing else is known.
fn pod_as_workload(pod: &Meta, uid: String) -> Arc<Workload> {
    Arc::new(Workload { metadata: Meta { uid, ..pod.clone() }, ..Workload::default() })
}
