//! Brings the data plane up to date: finds workloads whose injected proxy is not what injection would give them now, and
//! restarts them, safely and visibly. It runs beside the control plane's controller and never makes it wait.
//!
//! Its rooms, in the order of its work: `look` at pods, `prove` what is outdated, `decide`, `act`, `tell`. The `controller`
//! goes through them again and again; `memory` is what survives it.

pub mod act;
mod controller;
pub mod decide;
pub mod look;
pub mod memory;
pub mod names;
pub mod objects;
pub mod prove;
pub mod requests;
pub mod tell;

pub use controller::{DataPlane, Installed, run};
