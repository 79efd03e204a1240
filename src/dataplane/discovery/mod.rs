//! Finds what may be outdated: what the mesh gives, what a pod has injected, to whom it belongs, and what triggers a scan.
//! This module must not decide or change anything.

pub mod mesh;
pub mod pod;
pub mod pod_watcher;
pub mod prefilter;
pub(crate) mod triggers;
pub(crate) mod workloads;
