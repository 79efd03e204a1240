//! What the administrator of the operator decides about values and patches: how far authors of `Istio` resources are trusted
//! with them, and the administrator's own values below every resource.
//!
//! Pure: text and values in, values out. The command line reads the file.

use std::sync::{Arc, LazyLock};

use gotemplate::yaml;
use serde_json::{Map, Value};
use thiserror::Error;

/// How far the author of an `Istio` resource is trusted with `spec.values` and `spec.patches`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OverrideMode {
    /// Only values on the allow-list, and only changes of rendered objects that cannot reach beyond Istio's own
    /// configuration
    #[default]
    Restricted,
    /// Everything that Istio's charts take. Whoever may write an Istio resource is then as powerful as a cluster admin
    Unrestricted,
}

/// A values file of the administrator cannot be used.
#[derive(Debug, Error)]
pub enum AdministratorValuesError {
    /// The text is not YAML.
    #[error("administrator values are not valid YAML")]
    Yaml(#[from] yaml::Error),
    /// The text is YAML, but not a map.
    #[error("administrator values are not a map of values of Istio's charts, such as `pilot: {{…}}`")]
    NotAMap,
}

/// Values of Istio's charts that the operator's administrator sets for every resource, without restrictions.
///
/// They apply over the operator's own configuration and below the resource. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdministratorValues(Option<Arc<Map<String, Value>>>);

impl AdministratorValues {
    /// Reads the text of a values file. An empty file holds no values.
    ///
    /// # Errors
    /// If the text is not YAML, or not a map.
    pub fn parse(text: &str) -> Result<Self, AdministratorValuesError> {
        match yaml::parse_json(text)? {
            Value::Null => Ok(Self::default()),
            Value::Object(values) => Ok(values.into()),
            _ => Err(AdministratorValuesError::NotAMap),
        }
    }

    /// The values, by the names of Istio's charts.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl From<Map<String, Value>> for AdministratorValues {
    fn from(values: Map<String, Value>) -> Self {
        Self((!values.is_empty()).then(|| Arc::new(values)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_values_file_holds_a_map_or_nothing() {
        for (text, expected) in [
            ("", Some(json!({}))),
            ("# only a comment\n", Some(json!({}))),
            ("{}", Some(json!({}))),
            (
                "cni:\n  cniBinDir: /home/kubernetes/bin\n",
                Some(json!({"cni": {"cniBinDir": "/home/kubernetes/bin"}})),
            ),
            ("- a list", None),
            ("a text", None),
            ("a: [", None),
        ] {
            let values = AdministratorValues::parse(text).ok();
            assert_eq!(values.map(|values| Value::Object(values.as_map().clone())), expected, "{text}");
        }
    }
}
