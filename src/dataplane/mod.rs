//! Keeps the sidecars of the mesh up to date: finds workloads whose sidecar differs from what injection gives now and restarts
//! them, throttled and visibly. It runs beside the controller of the control plane and never blocks it.
//!
//! Modules, each of which uses only those before it: [`model`] (what is read), [`workload`] (one file per owner kind),
//! [`reasons`] (one file per stale reason), [`discovery`] of pods, [`injection`] dry runs, [`schedule`] (decisions),
//! [`report`], [`scan`] (all of these without a change to the cluster), and [`restart`]. [`restart_ledger`] is what survives
//! the process. The loop around them is `crate::controllers::dataplane`.

pub(crate) mod clock;
pub mod discovery;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod injection;
pub mod model;
pub mod names;
pub mod reasons;
pub mod report;
pub mod requests;
pub mod restart;
pub mod restart_ledger;
pub mod scan;
pub mod schedule;
pub mod workload;

pub use crate::controllers::dataplane::{DataPlaneInputs, InstalledGeneration, run};
