//! Looking: what the mesh gives, what a pod has injected, to whom it belongs, and what makes the next look due. Decides
//! and changes nothing.

pub mod detect;
pub mod mesh;
pub mod newcomers;
pub mod owner;
pub mod pod;
pub mod scale;
pub(crate) mod triggers;
pub(crate) mod workloads;
