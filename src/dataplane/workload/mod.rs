//! The kinds of owners that can stand behind a pod: how each is recognized, restarted and followed. One file per kind; the
//! rest of the data plane asks [`OwnerKind`] and never compares kinds.
//! This module must not decide whether a workload is restarted: that is the schedule's job.
//!
//! To add a kind, see `docs/development/add-owner-kind.md`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use self::disruption::PodReplacement;
use self::rollout::RolloutStatus;
use crate::dataplane::model::Workload;
use crate::kubernetes::object::ObjectId;

mod argo_rollout;
mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
mod job;
pub mod owner;
pub mod pod;
mod replica_set;
mod replication_controller;
pub mod rollout;
pub mod scale;
pub mod stateful_set;
mod unknown;

/// Every kind that a controlling owner reference of a pod, or of a pod's owner, may name.
const KINDS: &[WorkloadKind] = &[
    argo_rollout::KIND,
    cron_job::KIND,
    daemon_set::KIND,
    deployment::KIND,
    job::KIND,
    replica_set::KIND,
    replication_controller::KIND,
    stateful_set::KIND,
];

/// Group, version and kind of an object, as Kubernetes writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the API that is read and patched.
    pub version: &'static str,
    /// Kind; also the value of the label `kind` of metrics.
    pub kind: &'static str,
}

/// What is read to learn about a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadSource {
    /// The object itself, with its pod template and status.
    Object,
    /// The pod, which has no owner.
    Pod,
    /// The scale subresource of an object about whose kind nothing else is known.
    Scale,
}

/// How a workload is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartStrategy {
    /// An annotation on its pod template starts a rollout.
    Template,
    /// The field `spec.restartAt` of an Argo Rollout.
    RestartAt,
    /// Its outdated pods are evicted one by one.
    Evict,
}

/// Why workloads of a kind are never restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverRestarted {
    /// Nothing would recreate the pod.
    NoController,
    /// Its pods run to completion.
    RunsToCompletion,
    /// The pods of its next run get a new sidecar.
    NextRun,
}

/// What the data plane has to know about one kind of owner. The defaults are those of a workload whose controller creates
/// pods and replaces one that is evicted.
pub trait OwnerKind: Sync {
    /// How Kubernetes names the kind.
    #[must_use]
    fn gvk(&self) -> Gvk;

    /// What is read to learn about a workload of this kind.
    #[must_use]
    fn source(&self) -> WorkloadSource {
        WorkloadSource::Object
    }

    /// Whether controllers of this kind create objects of kind `owned`. Owner references that say otherwise are forged.
    #[must_use]
    fn can_create(&self, owned: WorkloadKind) -> bool {
        owned == pod::KIND
    }

    /// Whether objects of this kind are usually owned in turn, so that their owner has to be looked up.
    #[must_use]
    fn is_intermediate(&self) -> bool {
        false
    }

    /// For a kind that creates `ReplicaSet`s: the pod label with the hash that ends the name of the `ReplicaSet`. The name of
    /// the workload then follows from the pod, without a request.
    #[must_use]
    fn replica_set_hash_label(&self) -> Option<&'static str> {
        None
    }

    /// Whether several workloads of one namespace are listed instead of read one by one. Needs the verb `list`.
    #[must_use]
    fn is_listed(&self) -> bool {
        false
    }

    /// Whether `spec.selector` of a workload has to select its pods.
    #[must_use]
    fn has_selector(&self) -> bool {
        true
    }

    /// Whether a workload named `name` would give a pod the name `pod`.
    #[must_use]
    fn can_name_pod(&self, _name: &str, _pod: &str) -> bool {
        true
    }

    /// Whether pods may hold state; workloads without state are restarted first.
    #[must_use]
    fn is_stateful(&self) -> bool {
        true
    }

    /// Whether each node has a pod of its own. Its absence during a restart is not an interruption that another pod could
    /// prevent.
    #[must_use]
    fn is_node_agent(&self) -> bool {
        false
    }

    /// Why no workload of this kind is restarted, if so.
    #[must_use]
    fn never_restarted(&self) -> Option<NeverRestarted> {
        None
    }

    /// How a workload is restarted whose pods are replaced as `replacement` says and that wants `replicas` pods; `None` if it
    /// cannot be.
    #[must_use]
    fn restart_strategy(&self, _replacement: &PodReplacement, _replicas: i64) -> Option<RestartStrategy> {
        Some(RestartStrategy::Evict)
    }

    /// How the pods of a workload that wants `replicas` pods are replaced when its template changes.
    #[must_use]
    fn pod_replacement(&self, _workload: &Workload, replicas: i64) -> PodReplacement {
        PodReplacement::Rolling { min_available: (replicas - 1).max(0) }
    }

    /// How far the rollout of a workload is, once its controller has seen the change.
    #[must_use]
    fn rollout_status(&self, workload: &Workload) -> RolloutStatus {
        let wanted = rollout::desired_replicas(workload);
        rollout::by_counts(wanted, wanted, workload.status.ready_replicas)
    }
}

/// A kind of owner. Two are equal if they have the same name in the same API.
#[derive(Clone, Copy)]
pub struct WorkloadKind(&'static dyn OwnerKind);

impl WorkloadKind {
    /// The kind that Kubernetes calls `kind` in the API group `group`.
    #[must_use]
    pub fn find(group: &str, kind: &str) -> Self {
        let is_named = |known: &&Self| known.gvk().group == group && known.gvk().kind == kind;
        KINDS.iter().find(is_named).copied().unwrap_or(unknown::KIND)
    }

    /// The kinds that are listed by namespace.
    pub fn listed() -> impl Iterator<Item = Self> {
        KINDS.iter().copied().filter(|kind| kind.is_listed())
    }

    /// Kind as Kubernetes writes it; `Other` for a kind that is not known.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.gvk().kind
    }

    /// The identity of an object of this kind.
    #[must_use]
    pub fn object(self, namespace: &str, name: &str) -> ObjectId {
        let Gvk { group, version, kind } = self.gvk();
        ObjectId {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    /// Whether workloads of this kind have a rollout that can be followed and restarted.
    #[must_use]
    pub fn has_rollout(self) -> bool {
        self.source() == WorkloadSource::Object && self.never_restarted().is_none()
    }
}

impl Deref for WorkloadKind {
    type Target = dyn OwnerKind;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl fmt::Debug for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for WorkloadKind {
    fn eq(&self, other: &Self) -> bool {
        self.gvk() == other.gvk()
    }
}

impl Eq for WorkloadKind {}

impl PartialOrd for WorkloadKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WorkloadKind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gvk().cmp(&other.gvk())
    }
}

impl Hash for WorkloadKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.gvk().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_is_found_by_its_group_and_name() {
        for kind in KINDS {
            assert_eq!(WorkloadKind::find(kind.gvk().group, kind.name()), *kind);
        }
        assert_eq!(KINDS.iter().collect::<BTreeSet<_>>().len(), KINDS.len());
        assert_eq!(WorkloadKind::find("example.com", "Widget"), unknown::KIND);
        // Spark's driver pods own their executors; like any unknown owner, they are asked for a scale.
        assert_eq!(WorkloadKind::find("", "Pod"), unknown::KIND);
    }

    #[test]
    fn a_kind_without_a_rollout_says_why_it_is_not_restarted() {
        for kind in KINDS {
            assert_eq!(kind.has_rollout(), kind.never_restarted().is_none(), "{kind:?}");
            let strategy = kind.restart_strategy(&PodReplacement::Recreate, 1);
            assert_eq!(kind.has_rollout(), strategy.is_some(), "{kind:?}");
        }
    }
}
