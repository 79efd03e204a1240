//! The kinds of workloads, by what can be done with them. Pure vocabulary.

/// What stands at the end of a pod's chain of owners, by what can be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// Rolls out when its template changes.
    Deployment,
    /// Rolls out when its template changes, one pod after the other.
    StatefulSet,
    /// Rolls out when its template changes, node by node.
    DaemonSet,
    /// Argo's Deployment; restarts at a time that is written to it.
    Rollout,
    /// Makes a new pod for one that goes.
    ReplicaSet,
    /// Makes a new pod for one that goes.
    ReplicationController,
    /// Ends by itself.
    Job,
    /// Ends by itself and comes again.
    CronJob,
    /// Owned by nobody: what goes does not come back.
    Pod,
    /// Unknown; may make a new pod for one that goes.
    Other,
}
