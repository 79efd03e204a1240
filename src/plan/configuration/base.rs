//! The configuration before any setting of a user, by the size of the cluster.
//!
//! Pure. The documents are `base.yaml` and `evaluation.yaml` next to this file.

use gotemplate::yaml;
use serde_json::Value;

use super::{Size, merge};

const PRODUCTION: &str = include_str!("base.yaml");
const EVALUATION: &str = include_str!("evaluation.yaml");

/// The base document for a cluster of a size.
pub(super) fn document(size: Size) -> Result<Value, yaml::Error> {
    let mut document = yaml::parse_json(PRODUCTION)?;
    if size == Size::Evaluation {
        merge::merge(&mut document, &yaml::parse_json(EVALUATION)?);
    }
    Ok(document)
}
