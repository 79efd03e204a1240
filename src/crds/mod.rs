//! Custom resource definitions of Istio: which may be written, and when the API server serves them.
//!
//! The definition of the operator's own resource is in [`crate::api`].

pub mod compatibility;
pub mod policy;
pub mod warmup;
