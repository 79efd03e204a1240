//! A part of an object that stays text until it is needed. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Unparsed JSON: most parts of most pods are only compared or dropped.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The parsed value.
    #[must_use]
    pub fn value(&self) -> Value {
        self.parse().unwrap_or_default()
    }

    /// The value as `T`; `None` if it does not have this form.
    #[must_use]
    pub fn parse<'p, T: Deserialize<'p>>(&'p self) -> Option<T> {
        serde_json::from_str(self.0.get()).ok()
    }
}

/// Compares the texts. Equal values may be written differently; compare [`RawJson::value`] then.
impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}
