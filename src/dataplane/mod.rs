//! Brings the data plane up to date: finds workloads whose injected proxy is not what injection would give them now, and
//! restarts them, safely and visibly. It runs beside the control plane's controller and never makes it wait.
//!
//! Its rooms, each of which uses only those before it: `look` at pods, `prove` what is outdated, `decide`, `tell`; `survey`,
//! which goes through these and changes nothing; and `act`. The `controller` goes through all of them again and again;
//! `memory` is what survives it. What they all speak of stands beside them: `objects`, `part`, `container`, `kind`, `injected`, `reason`.

pub mod container;
pub mod discovery;
#[cfg(test)]
pub(crate) mod fixtures;
mod hash;
pub mod injected;
pub mod injection;
pub mod names;
pub mod raw_json;
pub mod reasons;
pub mod report;
pub mod requests;
pub mod resources;
pub mod restart;
pub mod restart_ledger;
pub mod scan;
pub mod schedule;
pub mod types;
pub mod workload;

pub use crate::controllers::dataplane::{DataPlaneInputs, InstalledGeneration, run};
