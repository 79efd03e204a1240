//! The `Istio` custom resource: its Rust types, the CustomResourceDefinition generated from them, its conditions and
//! the names that are part of the contract with users, and whether a resource fits its definition.
//! Holds no decisions and talks to no cluster.

pub mod conditions;
mod crd;
mod fit;
pub mod last_applied;
pub mod names;
pub mod v1alpha2;

pub use crd::{crd, crd_yaml};
pub use fit::{Misfits, misfits};
pub use v1alpha2::{Istio, IstioSpec, IstioStatus};
