//! Schemas that cannot be derived from a Rust type: Kubernetes' own rules for numbers, affinity and conditions.
//! Used by the derived schemas of this version only.

use k8s_openapi::api::core::v1::Affinity;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::restarter::{MAX_FAILURES, MAX_ROLLOUT_SECONDS, MAX_ROLLOUTS, MAX_SHARE_PERCENT, RESTART_REASONS};

/// A map whose content is defined elsewhere.
pub(super) fn any_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A value of any type.
pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A 32-bit unsigned number.
pub(super) fn unsigned_32_bit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
}

/// A number of concurrent rollouts.
pub(super) fn rollouts(_: &mut SchemaGenerator) -> Schema {
    positive(MAX_ROLLOUTS)
}

/// A number of seconds that a rollout may take.
pub(super) fn rollout_seconds(_: &mut SchemaGenerator) -> Schema {
    positive(MAX_ROLLOUT_SECONDS)
}

/// A number of failed rollouts.
pub(super) fn failures(_: &mut SchemaGenerator) -> Schema {
    positive(MAX_FAILURES)
}

/// A share of the mesh in percent.
pub(super) fn share_percent(_: &mut SchemaGenerator) -> Schema {
    positive(MAX_SHARE_PERCENT)
}

/// Reasons of `restartAlsoFor`.
pub(super) fn restart_reasons(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "enum": RESTART_REASONS},
        "maxItems": RESTART_REASONS.len()
    })
}

fn positive(max: u32) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": max})
}

/// A 32-bit number, any value. What a port may be is judged by the validation, which can say what is wrong.
pub(super) fn int32(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32"})
}

/// A number of replicas.
pub(super) fn replicas(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 0, "maximum": i32::MAX})
}

/// `maxSurge` of a rolling update. May exceed 100 %.
pub(super) fn max_surge(_: &mut SchemaGenerator) -> Schema {
    int_or_percentage("^[0-9]+%?$")
}

/// `maxUnavailable` of a rolling update. At most 100 %.
pub(super) fn max_unavailable(_: &mut SchemaGenerator) -> Schema {
    int_or_percentage("^((100|[0-9]{1,2})%|[0-9]+)$")
}

fn int_or_percentage(pattern: &str) -> Schema {
    json_schema!({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": pattern,
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == string || (self >= 0 && self <= 2147483647)",
            "message": "must be a number from 0 to 2147483647 or a percentage"
        }]
    })
}

/// `core/v1` Affinity with the list and map types that Kubernetes gives it, which the generated types lack.
pub(super) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Affinity>();
    schema.ensure_object().values_mut().for_each(mark_atomic);
    schema
}

/// Every list inside an affinity is atomic, so are its selectors: two writers never share one of them.
fn mark_atomic(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("type") == Some(&json!("array")) {
                map.insert("x-kubernetes-list-type".into(), json!("atomic"));
            }
            let is_selector = |properties: &Value| {
                ["nodeSelectorTerms", "matchFields", "matchLabels"]
                    .iter()
                    .any(|name| properties.get(name).is_some())
            };
            if map.get("properties").is_some_and(is_selector) {
                map.insert("x-kubernetes-map-type".into(), json!("atomic"));
            }
            map.values_mut().for_each(mark_atomic);
        }
        Value::Array(items) => items.iter_mut().for_each(mark_atomic),
        _ => {}
    }
}

/// Standard conditions, with the bounds that Kubernetes gives them. An atomic list, as in the Go operator: making it a
/// map by type would change who owns which part of it.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "description": "One aspect of the state of this resource.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "When the condition last changed from one status to another.",
                    "type": "string",
                    "format": "date-time"
                },
                "message": {
                    "description": "Details of the last transition, for people. May be empty.",
                    "type": "string",
                    "maxLength": 32768
                },
                "observedGeneration": {
                    "description": "`metadata.generation` that the condition is about.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0
                },
                "reason": {
                    "description": "Reason of the last transition, for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "status": {
                    "description": "Whether the condition holds.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"]
                },
                "type": {
                    "description": "What the condition is about.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                }
            }
        }
    })
}
