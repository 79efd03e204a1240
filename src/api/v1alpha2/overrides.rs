//! Patches of rendered objects, for settings that have neither a field nor a value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schema;

/// A change to one kind of rendered object. Exactly one of `strategicMerge` and `json` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectPatch {
    /// Kind of the object, such as `Deployment`.
    pub kind: String,
    /// Name of the object, such as `istiod`.
    pub name: String,
    /// Strategic merge patch, as `kubectl patch --type=strategic` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_map")]
    pub strategic_merge: Option<Map<String, Value>>,
    /// JSON patch (RFC 6902), as `kubectl patch --type=json` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Vec<JsonOperation>>,
}

/// One operation of a JSON patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JsonOperation {
    /// `add`, `remove`, `replace`, `move`, `copy` or `test`.
    pub op: String,
    /// JSON pointer to the field, such as `/spec/replicas`.
    pub path: String,
    /// JSON pointer to the source of a `move` or `copy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Value of an `add`, `replace` or `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub value: Option<Value>,
}
