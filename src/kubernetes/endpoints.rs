//! Which endpoints of an `EndpointSlice` receive traffic.
//! Pure; the rule is that of the API reference: an endpoint without the condition `ready` counts as ready.

use serde_json::Value;

/// Whether any endpoint of the `EndpointSlice` is ready.
#[must_use]
pub fn has_ready_endpoint(slice: &Value) -> bool {
    let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    endpoints
        .into_iter()
        .any(|endpoint| is_ready(endpoint.pointer("/conditions/ready").and_then(Value::as_bool)))
}

/// Whether an endpoint is ready, given its condition `ready`.
#[must_use]
pub const fn is_ready(ready: Option<bool>) -> bool {
    !matches!(ready, Some(false))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoint_without_the_condition_is_ready() {
        for (slice, expected) in [
            (json!({}), false),
            (json!({"endpoints": []}), false),
            (json!({"endpoints": [{"conditions": {"ready": false}}]}), false),
            (json!({"endpoints": [{"conditions": {"ready": true}}]}), true),
            (json!({"endpoints": [{"conditions": {"ready": null}}]}), true),
            (json!({"endpoints": [{"conditions": {"ready": false}}, {}]}), true),
        ] {
            assert_eq!(has_ready_endpoint(&slice), expected, "{slice}");
        }
    }
}
