//! The YAML that configurations are written in.
//! The only place that knows which parser is used.

pub use gotemplate::yaml::Error;
pub(super) use gotemplate::yaml::parse_json as parse;
