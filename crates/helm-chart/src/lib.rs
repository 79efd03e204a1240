#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod chart;
mod render;
#[cfg(feature = "schema")]
mod schema;
mod yaml;

pub use chart::{Chart, ChartError, Dependency, Maintainer, Metadata, merge_values, parse_values};
pub use gotemplate::{Environment, Functions, Limits};
pub use render::{
    Capabilities, DEFAULT_KUBERNETES_VERSION, Operation, Options, Release, RenderError, Rendering, render,
};
pub use yaml::Error as YamlError;
