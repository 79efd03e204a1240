//! The `Istio` custom resource: its Rust types, the CustomResourceDefinition generated from them, its conditions and
//! the names that are part of the contract with users, and whether a resource fits its definition.
//! Holds no decisions and talks to no cluster.

pub mod bounds;
pub mod conditions;
#[cfg(test)]
mod crd;
pub mod last_applied;
pub mod names;
mod schema_check;
pub mod v1alpha2;

pub use self::schema_check::{SchemaViolations, check_schema};
pub use self::v1alpha2::{Istio, IstioSpec, IstioStatus};

/// The CustomResourceDefinition to install in a cluster, as YAML. Generated from the types: a test compares it with them,
/// and writes it.
pub const CRD_YAML: &str = include_str!("../../crds/istios.operator.kyma-project.io.yaml");
