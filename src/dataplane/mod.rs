//! Brings the data plane up to date: finds workloads whose injected proxy is not what injection would give them now, and
//! restarts them, safely and visibly. It runs beside the control plane's controller and never makes it wait.
//!
//! In the order of its work: `sweep` looks at pods, `detect` suspects, `judge` proves, `finding` decides, `wave` acts.

pub mod act;
pub mod compare;
pub mod components;
mod controller;
pub mod course;
pub mod detect;
pub mod disruption;
pub mod events;
pub mod evict;
pub mod finding;
pub mod follow;
pub mod injected;
pub mod injector;
pub mod judge;
#[cfg(test)]
mod laws;
pub mod memory;
pub mod mesh;
pub mod metrics;
pub mod names;
pub mod newcomers;
pub mod objects;
pub mod owner;
pub mod pace;
pub mod probe;
pub mod prove;
pub mod reason;
pub mod removal;
pub mod report;
pub mod requests;
pub mod rollout;
pub mod scale;
pub mod settings;
pub mod siblings;
pub mod survey;
pub mod sweep;
#[cfg(test)]
mod sweep_tests;
mod triggers;
pub mod wave;
pub mod window;
mod workloads;

pub use controller::{DataPlane, Installed, run};
