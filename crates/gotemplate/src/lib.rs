#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[cfg_attr(not(feature = "dates"), allow(dead_code, reason = "most of it serves the functions on dates"))]
mod date;
mod encoding;
mod environment;
mod error;
mod exec;
mod format;
mod functions;
mod json;
mod limits;
mod merge;
#[cfg(feature = "regex")]
pub mod regular_expression;
pub mod semver;
mod syntax;
mod templates;
mod value;
pub mod yaml;

pub use date::Time;
pub use environment::{CallResult, Certificates, Environment, MissingKey};
pub use error::{Error, ErrorKind};
pub use functions::feature_of;
pub use limits::{Functions, Limits};
pub use templates::Templates;
pub use value::{ConversionError, List, Map, MapType, Object, SerializeError, Value};
