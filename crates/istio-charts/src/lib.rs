//! The charts of an Istio version, and the objects of an installation.
//!
//! [`Bundle`] provides charts, profiles and CustomResourceDefinitions; [`render`] turns an `IstioOperator` document into the objects of
//! Istio's components; [`ValueNames`] knows the names of the charts' values. Charts are loaded and rendered by
//! [`helm_chart`]. No Kubernetes client, and no knowledge of the operator's own resource.

mod bundle;
mod embedded;
pub mod install;
mod names;

pub use bundle::{Bundle, BundleError, Crds};
pub use gotemplate::{Functions, Limits};
pub use install::strategic_merge;
pub use install::{Component, ComponentName, Error, add_owner_labels, default_of, render};
pub use names::{UnknownValue, ValueNames, most_alike};
