//! Looking: what the mesh gives, what a pod has injected, to whom it belongs, and what makes the next look due. Decides
//! and changes nothing.

pub mod mesh;
pub mod pod;
pub mod pod_watcher;
pub mod prefilter;
pub(crate) mod triggers;
pub(crate) mod workloads;
