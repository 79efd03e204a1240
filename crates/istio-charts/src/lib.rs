//! Istio as the operator gets it: the charts of a version, and the objects that an installation of them consists of.
//!
//! Three steps that build on each other: [`Bundle`] hands out charts, profiles and definitions; [`helm`] renders one chart
//! as Helm does; [`install`] turns an `IstioOperator` document into the objects of Istio's components. No Kubernetes
//! client, and nothing here knows the operator's own resource.

mod bundle;
mod chart;
mod embedded;
pub mod helm;
pub mod install;
mod names;
mod yaml;

pub use bundle::{Bundle, BundleError, Crds};
pub use chart::{Chart, ChartError, Dependency, Maintainer, Metadata, merge_values, parse_values};
pub use gotemplate::{Functions, Limits};
pub use install::strategic_merge;
pub use install::{Component, ComponentName, Error, add_owner_labels, default_of, render};
pub use names::{UnknownValue, ValueNames, most_alike};
