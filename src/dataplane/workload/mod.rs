//! The kinds of workloads that own pods: their identity, rollout, and what a restart interrupts.
//!
//! Whether a workload is restarted is decided in [`crate::dataplane::schedule`].

pub mod disruption;
pub mod kind;
pub mod owner;
pub mod rollout;
pub mod scale;
