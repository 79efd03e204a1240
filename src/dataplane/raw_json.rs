//! A part of an object that stays text until somebody asks. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON, unparsed: most parts of most pods are compared with others or dropped, and nobody looks inside.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// The part as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The part as JSON.
    #[must_use]
    pub fn value(&self) -> Value {
        self.parse().unwrap_or_default()
    }

    /// The part in another form; `None` if it does not have that form.
    #[must_use]
    pub fn parse<'p, T: Deserialize<'p>>(&'p self) -> Option<T> {
        serde_json::from_str(self.0.get()).ok()
    }
}

/// The same text. Equal values may be written differently, which [`RawJson::value`] tells.
impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}
