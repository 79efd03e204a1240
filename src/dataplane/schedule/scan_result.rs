//! What a scan found, and what was decided about it. Data only.

use std::collections::HashSet;

use super::stale_workload::{Decision, StaleWorkload};
use super::stale_workload_list::StaleWorkloads;
use crate::kubernetes::object::ObjectId;

/// What a scan found.
#[derive(Debug, Default)]
pub struct ScanResult {
    /// Workloads with an injected proxy.
    pub total: usize,
    /// Those that are outdated.
    pub stale_workloads: StaleWorkloads,
    /// Hashes of their owners.
    pub stale_owners: HashSet<u64>,
    /// Outdated workloads that were not kept; the next scan finds them again.
    pub more_stale: usize,
    /// Workloads whose sidecar is missing; only a scan of all pods finds them.
    pub missing_sidecars: usize,
    /// Workloads that could not be evaluated, and why.
    pub unknown: Vec<(ObjectId, String)>,
    /// Number of further ones.
    pub more_unknown: usize,
    /// Pods that are too large to be read.
    pub skipped_pods: usize,
    /// Hashes of the owners that the cheap check found, for the watch that follows.
    pub candidate_owners: HashSet<u64>,
    /// Resource version from which a watch of the pods continues.
    pub resource_version: String,
    /// Whether a maintenance window of a namespace or of an outdated workload is open.
    pub window_open: bool,
}

impl ScanResult {
    /// Adds what another scan found.
    pub fn merge(&mut self, mut other: Self) {
        self.more_stale += other.stale_workloads.take_dropped();
        self.total += other.total;
        self.more_stale += other.more_stale;
        self.more_unknown += other.more_unknown;
        self.skipped_pods += other.skipped_pods;
        other.stale_workloads.into_vec().into_iter().for_each(|stale| self.stale_workloads.push(stale));
        self.stale_owners.extend(other.stale_owners);
        self.candidate_owners.extend(other.candidate_owners);
        self.unknown.extend(other.unknown);
    }
}

/// What a scan found, and what was decided.
#[derive(Debug)]
pub struct Assessment {
    /// What was found, without the outdated workloads.
    pub scan: ScanResult,
    /// Each outdated workload and what is done about it, in the order of restarts.
    pub decisions: Vec<(StaleWorkload, Decision)>,
}
