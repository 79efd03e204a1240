//! Evaluates one candidate: reads its workload, asks injection what it gives now, and compares.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use thiserror::Error;

use super::scanner::{Candidate, Namespaces, ScanScope};
use crate::api::names::{MODULE_LABEL, OPERATOR_NAMESPACE};
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::discovery::workloads::Workloads;
use crate::dataplane::injection::compare::stale_reasons;
use crate::dataplane::injection::dry_run::{self, InjectionDryRun};
use crate::dataplane::injection::probe_pod;
use crate::dataplane::model::{Injected, Meta, PodTemplate, RestartTarget, Workload, WorkloadUid, hash};
use crate::dataplane::reasons::{StaleReason, removal};
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::requests::{self, LARGE_OBJECT_BYTES};
use crate::dataplane::schedule::stale_workload::{
    RestartAnnotations, RestartStrategy, StaleWorkload, restart_strategy,
};
use crate::dataplane::workload::disruption::{PodReplacement, selector_matches};
use crate::dataplane::workload::owner::{
    self, IntermediateOwners, OwnerChain, OwnerRef, owner_identity, pod_id,
};
use crate::dataplane::workload::rollout::{RolloutStatus, desired_replicas, rollout_status};
use crate::dataplane::workload::scale::{self, Scale};
use crate::dataplane::workload::{WorkloadKind, WorkloadSource, pod};
use crate::kubernetes::object::ObjectId;
use crate::lock::lock;
use crate::telemetry::format_error_chain;
use crate::text::sanitized;

/// Revision of the control plane that the operator installs.
const OUR_REVISION: &str = "default";
/// Labels of a namespace on which injection depends.
const INJECTION_LABELS: [&str; 4] =
    ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "topology.istio.io/network"];

/// Bytes of a text that says why a workload could not be evaluated.
pub(crate) const MAX_TEXT_BYTES: usize = 300;
/// Owners whose scale is cached: far more than a cluster has.
const MAX_CACHED_SCALES: usize = 20_000;

/// A candidate could not be evaluated.
#[derive(Debug, Error)]
pub enum Error {
    /// An owner in the chain above the pod could not be read.
    #[error(transparent)]
    Owner(#[from] owner::Error),
    /// The workload could not be read.
    #[error("failed to read {workload}")]
    Workload {
        /// The workload.
        workload: ObjectId,
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// Injection could not be asked.
    #[error(transparent)]
    DryRun(#[from] dry_run::Error),
}

/// The result of an evaluation.
#[derive(Debug)]
pub enum Evaluation {
    /// The sidecar is what injection gives now, or belongs to another control plane.
    UpToDate,
    /// The workload is outdated.
    Stale(Box<StaleWorkload>),
    /// The workload could not be evaluated; the text says why.
    Unknown(ObjectId, String),
}

/// Workloads that were proven to be up to date, by UID, target and the appearance of their pods. It is kept between scans and
/// may be lost.
///
/// Pods of one workload may look different during a rollout: those that were replaced, and those that were not.
#[derive(Debug, Default)]
pub struct UpToDateCache(Mutex<HashSet<u64>>);

impl UpToDateCache {
    /// The UID of the pod's owner is part of the key: a pod with a forged owner proves nothing about other pods.
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
        // Far more workloads than a cluster has: most entries are for former targets.
        const LIMIT: usize = 100_000;
        let mut keys = lock(&self.0);
        if keys.len() >= LIMIT {
            keys.clear();
        }
        keys.insert(Self::key(stale, candidate));
    }
}

/// The inputs of evaluations.
pub struct Evaluator<'a> {
    /// Client for reads.
    pub client: &'a Client,
    /// Asks injection in dry runs.
    pub dry_run: &'a InjectionDryRun,
    /// The namespaces.
    pub namespaces: &'a Namespaces,
    /// What injection gives now.
    pub mesh: &'a Mesh,
    /// Which workloads are proven by a dry run.
    pub scope: ScanScope,
    /// Workloads that were proven to be up to date before.
    pub up_to_date: &'a UpToDateCache,
    /// Measures evaluations.
    pub metrics: &'a DataPlaneMetrics,
    /// Whether every istiod is expected to use the present configuration, so that "up to date" is final.
    pub config_propagated: bool,
    /// The scale of owners of unknown kinds, by the hash of their identity, so that it is read once for several pods.
    pub scales: &'a Mutex<HashMap<u64, Option<Scale>>>,
    /// Held while a large object is evaluated, which needs a multiple of its size as memory.
    pub large_object_lock: &'a tokio::sync::Mutex<()>,
}

/// The owner of a pod, with its present state.
enum ResolvedOwner {
    /// A workload, and whether it is verified that it owns the pod.
    Workload(WorkloadKind, ObjectId, Arc<Workload>, bool),
    /// The owner reference is not trusted; the text says why.
    Forged(String),
}

impl Evaluator<'_> {
    /// Evaluates the workload behind a pod.
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
        evaluation.unwrap_or_else(|error| {
            Evaluation::Unknown(id.clone(), sanitized(&format_error_chain(&error), MAX_TEXT_BYTES))
        })
    }

    async fn try_evaluate(
        &self,
        owner_ref: &OwnerRef,
        candidate: &Candidate,
        workloads: &Workloads,
        owners: &IntermediateOwners,
    ) -> Result<Evaluation, Error> {
        let (kind, id, workload, verified) =
            match self.resolve_owner(owner_ref, candidate, workloads, owners).await? {
                ResolvedOwner::Workload(kind, id, workload, verified) => (kind, id, workload, verified),
                ResolvedOwner::Forged(why) => return Ok(self.evaluate_forged(candidate, &why)),
            };
        let template = workload.spec.template.as_ref();
        let target = self.restart_target(&id, template);
        let mut stale = self.stale_workload(kind, id, &workload, candidate, target);
        if kind.source() == WorkloadSource::Scale {
            let owner_uid = candidate.pod.metadata.controller().map(|owner| owner.uid.as_str());
            match self.scale(&stale.workload).await {
                Some(scale) if Some(scale.uid.as_str()) != owner_uid => {
                    return Ok(
                        self.evaluate_forged(candidate, &owner::missing_owner_message(&stale.workload))
                    );
                }
                Some(scale) => stale.replicas = scale.replicas,
                None => {
                    stale.replicas = 0;
                    stale.uid = WorkloadUid::unverified(stale.uid.as_str());
                }
            }
        }
        if self.scope == ScanScope::Uninstall {
            stale.reasons = vec![StaleReason::plain(&removal::SPEC)];
            // An uninstall does not wait for maintenance windows.
            stale.restart_annotations.window = None;
        } else if self.up_to_date.contains(&stale, candidate) {
            return Ok(Evaluation::UpToDate);
        } else if kind.never_restarted().is_some() {
            // Nothing follows from it, so that the cheap check is enough.
            stale.reasons.clone_from(&candidate.reasons);
        } else {
            self.find_stale_reasons(&mut stale, candidate, template).await?;
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

    /// Finds the end of the chain of owners, with its present state.
    async fn resolve_owner(
        &self,
        owner_ref: &OwnerRef,
        candidate: &Candidate,
        workloads: &Workloads,
        owners: &IntermediateOwners,
    ) -> Result<ResolvedOwner, Error> {
        let pod = &candidate.pod.metadata;
        if let OwnerRef::Forged(_, why) = owner_ref {
            return Ok(ResolvedOwner::Forged(why.clone()));
        }
        if let OwnerRef::Terminal(kind, id) = owner_ref {
            if kind.source() != WorkloadSource::Object {
                let uid = pod.controller().map_or_else(|| pod.uid.clone(), |owner| owner.uid.clone());
                return Ok(ResolvedOwner::Workload(*kind, id.clone(), pod_as_workload(pod, uid), true));
            }
            let read = workloads.get(self.client, id).await.map_err(|source| read_error(id, source))?;
            let selects = |workload: &Arc<Workload>| {
                workload.spec.selector.as_ref().is_none_or(|selector| selector_matches(selector, &pod.labels))
            };
            if let Some(workload) = read.filter(selects) {
                return Ok(ResolvedOwner::Workload(*kind, id.clone(), workload, false));
            }
        }
        let chain = owner::resolve_owner_chain(self.client, owners, pod).await?;
        let (kind, id, uid) = match chain {
            OwnerChain::Resolved(kind, id, uid) => (kind, id, uid),
            OwnerChain::Broken(why) => return Ok(ResolvedOwner::Forged(why)),
        };
        let workload: Option<Workload> =
            requests::get(self.client, &id).await.map_err(|source| read_error(&id, source))?;
        let Some(workload) = workload else {
            return Ok(ResolvedOwner::Forged(owner::missing_owner_message(&id)));
        };
        Ok(match owner::ownership_mismatch(kind, &id, &uid, &workload, pod) {
            Some(why) => ResolvedOwner::Forged(why),
            None => ResolvedOwner::Workload(kind, id, Arc::new(workload), true),
        })
    }

    /// Why the pod does not belong to the workload that its name and labels suggest; `None` if it does.
    async fn ownership_mismatch(
        &self,
        stale: &StaleWorkload,
        candidate: &Candidate,
        workload: &Workload,
        owners: &IntermediateOwners,
    ) -> Result<Option<String>, Error> {
        let pod = &candidate.pod.metadata;
        let chain = owner::resolve_owner_chain(self.client, owners, pod).await?;
        Ok(match chain {
            OwnerChain::Broken(why) => Some(why),
            OwnerChain::Resolved(kind, id, uid) if id.is_same_object(&stale.workload) => {
                owner::ownership_mismatch(kind, &id, &uid, workload, pod)
            }
            OwnerChain::Resolved(_, id, _) => {
                Some(format!("the pod belongs to {id}, not to {}", stale.workload))
            }
        })
    }

    /// Evaluates a pod whose owner is not trusted: it is listed by itself and never restarted.
    fn evaluate_forged(&self, candidate: &Candidate, why: &str) -> Evaluation {
        let pod = &candidate.pod.metadata;
        let reasons = if self.scope == ScanScope::Uninstall {
            vec![StaleReason::plain(&removal::SPEC)]
        } else {
            candidate.reasons.clone()
        };
        if reasons.is_empty() {
            return Evaluation::UpToDate;
        }
        let workload = pod_as_workload(pod, pod.uid.clone());
        let stale =
            self.stale_workload(pod::KIND, pod_id(pod), &workload, candidate, self.restart_target_of_mesh());
        let unverified = Some(sanitized(why, MAX_TEXT_BYTES));
        Evaluation::Stale(Box::new(StaleWorkload { reasons, owner_unverified: unverified, ..stale }))
    }

    /// Sets why a workload is outdated, and what injection gives its pods.
    async fn find_stale_reasons(
        &self,
        stale: &mut StaleWorkload,
        candidate: &Candidate,
        template: Option<&PodTemplate>,
    ) -> Result<(), Error> {
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
        let wanted = self.dry_run.inject(&probe).await?;
        let is_other_revision = |revision: &str| revision != OUR_REVISION;
        // Another control plane injected the sidecar and would do so again.
        if wanted.as_ref().is_some_and(|wanted| is_other_revision(&wanted.revision))
            && live.is_none_or(|live| is_other_revision(&live.revision))
        {
            return Ok(());
        }
        stale.reasons = stale_reasons(&candidate.pod.metadata.annotations, live, wanted.as_ref());
        // Only evictions choose among the pods.
        if restart_strategy(stale) == Some(RestartStrategy::Evict) {
            stale.desired_injection = wanted.map(Arc::new);
        }
        Ok(())
    }

    /// The target of workloads of which nothing but the mesh counts.
    fn restart_target_of_mesh(&self) -> RestartTarget {
        self.mesh.revision.as_str().into()
    }

    fn restart_target(&self, id: &ObjectId, template: Option<&PodTemplate>) -> RestartTarget {
        if self.scope == ScanScope::Uninstall {
            return self.restart_target_of_mesh();
        }
        let namespace = id.namespace.as_deref().and_then(|namespace| self.namespaces.get(namespace));
        let label = |key: &&str| namespace.and_then(|namespace| namespace.labels.get(*key)).cloned();
        let labels: Vec<String> = INJECTION_LABELS.iter().map(|key| label(key).unwrap_or_default()).collect();
        let own = hash(&[&labels.join(","), &probe_pod::template_hash(template)]);
        RestartTarget::new(&self.mesh.revision, &own)
    }

    fn stale_workload(
        &self,
        kind: WorkloadKind,
        id: ObjectId,
        workload: &Workload,
        candidate: &Candidate,
        target: RestartTarget,
    ) -> StaleWorkload {
        let pod = &candidate.pod.metadata;
        let namespace = self.namespaces.get(&pod.namespace).map(|namespace| namespace.annotations.clone());
        let replicas = desired_replicas(workload);
        // The author of a pod can set any label on it.
        let module = workload.metadata.labels.get(MODULE_LABEL).is_some_and(|module| !module.is_empty());
        let labels =
            workload.spec.template.as_ref().map_or(&pod.labels, |template| &template.metadata.labels);
        StaleWorkload {
            kind,
            uid: workload.metadata.uid.as_str().into(),
            generation: workload.metadata.generation,
            kyma: pod.namespace == OPERATOR_NAMESPACE || (kind.has_rollout() && module),
            gateway: candidate.injected.as_ref().is_some_and(Injected::is_gateway),
            reasons: Vec::new(),
            target,
            replicas,
            replacement: if kind.has_rollout() {
                kind.pod_replacement(workload, replicas)
            } else {
                PodReplacement::OnDelete
            },
            rollout: if kind.has_rollout() {
                rollout_status(kind, workload)
            } else {
                RolloutStatus::Complete
            },
            paused: workload.spec.paused,
            pod_created: pod.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |created| created.0),
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

    /// The scale of an owner of an unknown kind.
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

fn read_error(workload: &ObjectId, source: kube::Error) -> Error {
    Error::Workload { workload: workload.clone(), source: Box::new(source) }
}

/// A pod as its own workload, if nothing else is known.
fn pod_as_workload(pod: &Meta, uid: String) -> Arc<Workload> {
    Arc::new(Workload { metadata: Meta { uid, ..pod.clone() }, ..Workload::default() })
}
