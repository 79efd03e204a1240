//! What the API server answers instead of an object, as a `Status`.

use serde_json::{Value, json};

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    /// The `Status`, or plain text for a path that is not served.
    pub(crate) body: Value,
}

impl ApiError {
    fn new(code: u16, reason: &str, message: &str) -> Self {
        Self { code, body: status(code, reason, message) }
    }

    pub(crate) fn not_found(resource: &str, name: &str) -> Self {
        Self::new(404, "NotFound", &format!("{resource} {name:?} not found"))
    }

    pub(crate) fn not_served() -> Self {
        Self { code: 404, body: Value::String("404 page not found\n".to_owned()) }
    }

    pub(crate) fn already_exists(resource: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", &format!("{resource} {name:?} already exists"))
    }

    pub(crate) fn conflict(resource: &str, name: &str, why: &str) -> Self {
        Self::new(409, "Conflict", &format!("Operation cannot be fulfilled on {resource} {name:?}: {why}"))
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", &message.into())
    }

    pub(crate) fn unsupported_media_type(media_type: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", &format!("the body has the media type {media_type:?}"))
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(crate) fn expired() -> Self {
        Self::new(410, "Expired", "The provided continue parameter or resource version is too old")
    }

    pub(crate) fn invalid(field: &str, message: &str) -> Self {
        let mut error = Self::new(422, "Invalid", &format!("{field}: Invalid value: {message}"));
        error.body["details"] =
            json!({"causes": [{"reason": "FieldValueInvalid", "message": message, "field": field}]});
        error
    }

    /// A conflict of server-side apply, with a cause for each field.
    pub(crate) fn apply_conflict(fields: &[(String, String)]) -> Self {
        let causes: Vec<Value> = fields
            .iter()
            .map(|(field, manager)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager:?}"), "field": field})
            })
            .collect();
        let message = format!("Apply failed with {} conflicts", causes.len());
        let mut error = Self::new(409, "Conflict", &message);
        error.body["details"] = json!({"causes": causes});
        error
    }

    pub(crate) fn disruption_budget(name: &str) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let mut error = Self::new(429, "TooManyRequests", message);
        let cause = json!({"reason": "DisruptionBudget", "message": format!("The disruption budget {name} does not allow it")});
        error.body["details"] = json!({"causes": [cause]});
        error
    }
}

/// A `Status` that reports a failure.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code})
}

/// The reason that the API server gives with a code.
pub(crate) fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}
