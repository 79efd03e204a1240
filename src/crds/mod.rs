//! The CRDs of Istio: which may be replaced, and how their storage is warmed up.
//!
//! It must not know the plan, the inventory or readiness. The CRD of the operator's own resource is in [`crate::api`].

pub mod compatibility;
pub mod policy;
pub mod warmup;
