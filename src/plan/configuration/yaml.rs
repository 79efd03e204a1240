//! The YAML that configurations are written in.
//! The only place that knows which parser is used.

use serde_json::Value;

pub use serde_saphyr::Error;

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    serde_saphyr::from_str(text)
}
