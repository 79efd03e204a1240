//! YAML text as JSON values, read as Go reads it.

use gotemplate::ConversionError;
use serde_json::Value;

/// Why a text is not YAML, or has no JSON form.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text does not parse.
    #[error("{}", .0)]
    Syntax(gotemplate::yaml::Error),
    /// A value that JSON cannot hold, such as infinity.
    #[error("{}", .0)]
    NoJson(ConversionError),
}

/// Parses the first document of a text; an empty text is null.
pub(crate) fn parse(text: &str) -> Result<Value, Error> {
    gotemplate::yaml::parse(text).map_err(Error::Syntax)?.to_json().map_err(Error::NoJson)
}
