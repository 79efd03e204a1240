#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[cfg_attr(not(feature = "dates"), allow(dead_code, reason = "most of it serves the functions on dates"))]
mod date;
mod encoding;
mod error;
mod exec;
mod format;
mod functions;
mod json;
mod merge;
#[cfg(feature = "regex")]
pub mod regular_expression;
pub mod semver;
mod syntax;
mod templates;
mod value;
pub mod yaml;

pub use date::Time;
pub use encoding::base64;
pub use error::Error;
pub use format::float as print_float;
pub use functions::feature_of;
pub use merge::{merge, merge_overwrite};
pub use templates::{Certificates, Environment, Functions, Limits, Templates};
pub use value::{ConversionError, List, Map, MapType, Object, Value};
