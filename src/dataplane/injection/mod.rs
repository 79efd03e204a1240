//! Proof: what injection gives a workload now, and how that differs from what its pods have. Writes nothing; pods are
//! made in dry runs only.

pub mod compare;
pub mod dry_run;
pub mod injector;
pub mod probe_pod;
