//! Brings the data plane up to date: finds workloads whose injected proxy is not what injection would give them now, and
//! restarts them, safely and visibly. It runs beside the control plane's controller and never makes it wait.
//!
//! Its rooms, each of which uses only those before it: `look` at pods, `prove` what is outdated, `decide`, `tell`; `survey`,
//! which goes through these and changes nothing; and `act`. The `controller` goes through all of them again and again;
//! `memory` is what survives it. What they all speak of stands beside them: `objects`, `part`, `container`, `kind`, `injected`, `reason`.

pub mod act;
pub mod amounts;
pub mod container;
mod controller;
pub mod decide;
mod digest;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod injected;
pub mod kind;
pub mod look;
pub mod memory;
pub mod names;
pub mod objects;
pub mod part;
pub mod prove;
pub mod reason;
pub mod requests;
pub mod survey;
pub mod tell;

pub use controller::{DataPlaneInputs, InstalledGeneration, run};
