//! Proves what is outdated: what injection gives a workload now, and how that differs from what its pods have.
//! This module must not change anything; pods are only created in dry runs.

pub mod compare;
pub mod dry_run;
pub mod injector;
pub mod probe_pod;
