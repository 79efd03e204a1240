//! What a look found, and what was decided about it. Data only.

use std::collections::HashSet;

use super::finding::{Decision, Finding};
use super::kept::Kept;
use crate::object::ObjectId;

/// What a look found.
#[derive(Debug, Default)]
pub struct Found {
    /// Workloads with an injected proxy.
    pub total: usize,
    /// Those that are outdated.
    pub findings: Kept,
    /// Hashes of their owners.
    pub stale: HashSet<u64>,
    /// Outdated ones that were not kept; the next look finds them again.
    pub more: usize,
    /// Outdated ones whose pods lack the label of injection; they are seen only by looking at all pods.
    pub missing: usize,
    /// Workloads about which nothing could be found out, and why.
    pub unproven: Vec<(ObjectId, String)>,
    /// Further ones of which there only is a count.
    pub more_unproven: usize,
    /// Pods that are too large to be read.
    pub skipped: usize,
    /// Hashes of the owners that were suspected, for the watch that follows.
    pub suspects: HashSet<u64>,
    /// Version from which a watch of the pods goes on.
    pub version: String,
    /// Whether a maintenance window is open, of a namespace or of an outdated workload.
    pub window_open: bool,
}

impl Found {
    /// Adds what another look found.
    pub fn add(&mut self, mut other: Self) {
        self.more += other.findings.take_dropped();
        self.total += other.total;
        self.more += other.more;
        self.more_unproven += other.more_unproven;
        self.skipped += other.skipped;
        other.findings.into_findings().into_iter().for_each(|finding| self.findings.push(finding));
        self.stale.extend(other.stale);
        self.suspects.extend(other.suspects);
        self.unproven.extend(other.unproven);
    }
}

/// What was found and decided.
#[derive(Debug)]
pub struct Survey {
    /// What was found, without the findings.
    pub found: Found,
    /// Each outdated workload and what is to be done about it, in the order of restarts.
    pub decisions: Vec<(Finding, Decision)>,
}
