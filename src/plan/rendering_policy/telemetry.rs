//! Extension providers of the mesh that only observe: traces, metrics and access logs.
//!
//! Providers that authorize requests decide who is trusted; they are set by `spec.config.authorizers`.

use serde_json::Value;

use super::formats;
use super::values::{is_log_file, is_settings};

/// Fields of a provider that say what it is.
const KINDS: [&str; 11] = [
    "datadog",
    "envoyFileAccessLog",
    "envoyHttpAls",
    "envoyOtelAls",
    "envoyTcpAls",
    "lightstep",
    "opentelemetry",
    "prometheus",
    "skywalking",
    "stackdriver",
    "zipkin",
];

/// Whether `value` is one provider that only observes.
pub(crate) fn is_provider(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| {
        fields.iter().all(|(name, settings)| match &**name {
            "name" => settings.is_string() && is_settings(settings),
            kind => KINDS.contains(&kind) && is_kind(kind, settings),
        })
    })
}

fn is_kind(kind: &str, settings: &Value) -> bool {
    let mut settings = settings.clone();
    // Formats may have line breaks; all else may not.
    let format = settings.as_object_mut().and_then(|fields| fields.shift_remove("logFormat"));
    let is_file = kind != "envoyFileAccessLog" || settings.get("path").is_none_or(is_log_file);
    is_file
        && format.is_none_or(|format| is_format(&format))
        && is_settings(&settings)
        && !reads_variable(&settings)
}

fn is_format(format: &Value) -> bool {
    match format {
        Value::String(text) => formats::is_harmless(text),
        Value::Array(items) => items.iter().all(is_format),
        Value::Object(fields) => {
            fields.iter().all(|(name, value)| formats::is_harmless(name) && is_format(value))
        }
        _ => true,
    }
}

/// Headers may be filled from a variable of istiod, which is not the author's to read.
fn reads_variable(settings: &Value) -> bool {
    match settings {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| matches!(&**name, "envName" | "env_name") || reads_variable(value)),
        Value::Array(items) => items.iter().any(reads_variable),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn providers_observe_and_do_not_authorize_or_read_secrets() {
        for (provider, is_open) in [
            (json!({"name": "a", "zipkin": {"service": "b", "port": 9411}}), true),
            (json!({"name": "a", "prometheus": {}}), true),
            (
                json!({"name": "a", "envoyFileAccessLog": {"path": "/dev/stdout", "logFormat": {"text": "%PROTOCOL%\n"}}}),
                true,
            ),
            (json!({"name": "a", "envoyFileAccessLog": {"path": "/etc/istio/proxy/x"}}), false),
            (
                json!({"name": "a", "envoyOtelAls": {"logFormat": {"labels": {"a": {"b": "%FILE_CONTENT(/x)%"}}}}}),
                false,
            ),
            (json!({"name": "a", "envoyExtAuthzHttp": {"service": "b", "port": 1}}), false),
            (json!({"name": "a", "envoy_ext_authz_grpc": {"service": "b", "port": 1}}), false),
            (json!({"name": "a", "sds": {"service": "b"}}), false),
            (
                json!({"name": "a", "opentelemetry": {"http": {"headers": [{"name": "x", "envName": "HOME"}]}}}),
                false,
            ),
            (json!({"name": 1}), false),
            (json!("a"), false),
        ] {
            assert_eq!(is_provider(&provider), is_open, "{provider}");
        }
    }
}
