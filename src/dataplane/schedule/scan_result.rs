//! What a look found, and what was decided about it. Data only.

use std::collections::HashSet;

use super::stale_workload::{Decision, StaleWorkload};
use super::stale_workload_list::StaleWorkloads;
use crate::kubernetes::object::ObjectId;

/// What a look found.
#[derive(Debug, Default)]
pub struct ScanResult {
    /// Workloads with an injected proxy.
    pub total: usize,
    /// Those that are outdated.
    pub stale_workloads: StaleWorkloads,
    /// Hashes of their owners.
    pub stale_owners: HashSet<u64>,
    /// Outdated ones that were not kept; the next look finds them again.
    pub more_stale: usize,
    /// Outdated ones whose pods lack the label of injection; they are seen only by looking at all pods.
    pub missing_sidecars: usize,
    /// Workloads about which nothing could be found out, and why.
    pub unknown: Vec<(ObjectId, String)>,
    /// Further ones of which there only is a count.
    pub more_unknown: usize,
    /// Pods that are too large to be read.
    pub skipped_pods: usize,
    /// Hashes of the owners that were suspected, for the watch that follows.
    pub candidate_owners: HashSet<u64>,
    /// Version from which a watch of the pods goes on.
    pub resource_version: String,
    /// Whether a maintenance window is open, of a namespace or of an outdated workload.
    pub window_open: bool,
}

impl ScanResult {
    /// Adds what another look found.
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

/// What was found and decided.
#[derive(Debug)]
pub struct Assessment {
    /// What was found, without the findings.
    pub scan: ScanResult,
    /// Each outdated workload and what is to be done about it, in the order of restarts.
    pub decisions: Vec<(StaleWorkload, Decision)>,
}
