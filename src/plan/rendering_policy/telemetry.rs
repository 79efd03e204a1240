//! Extension providers and trace tags of the mesh that only observe: traces, metrics, and access logs.
//!
//! Pure. Providers that authorize requests decide who is trusted; they are set by `spec.config.authorizers`.

use serde_json::{Map, Value};

use super::values::{is_plain_structure, text};
use crate::plan::shapes::{is_log_file, is_remote_host};
use crate::validate::envoy_format::{self, POD_VARIABLES, is_credential_header};

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
/// Lists of headers that are sent. Envoy takes their values for formats, and may refuse all of its configuration for a name.
const SENT_HEADERS: [&str; 2] = ["headers", "initialMetadata"];
/// Lists of headers whose values are logged.
const LOGGED_HEADERS: [&str; 3] =
    ["additionalRequestHeadersToLog", "additionalResponseHeadersToLog", "additionalResponseTrailersToLog"];

/// Whether `value` is one provider that only observes.
pub(super) fn is_provider(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| {
        fields.iter().all(|(name, settings)| match &**name {
            "name" => settings.is_string() && is_plain_structure(settings),
            kind => KINDS.contains(&kind) && is_kind(kind, settings),
        })
    })
}

fn is_kind(kind: &str, settings: &Value) -> bool {
    let mut settings = settings.clone();
    // Formats may have line breaks; all else may not.
    let format = settings.as_object_mut().and_then(|fields| fields.shift_remove("logFormat"));
    let is_file = kind != "envoyFileAccessLog"
        || settings.get("path").is_none_or(|path| text(path).is_some_and(is_log_file));
    is_file
        && format.is_none_or(|format| is_format(&format))
        && is_plain_structure(&settings)
        && is_harmless(&settings)
}

fn is_format(format: &Value) -> bool {
    let is_accepted = |text: &str| envoy_format::check(text).is_ok();
    match format {
        Value::String(text) => is_accepted(text),
        Value::Array(items) => items.iter().all(is_format),
        Value::Object(fields) => fields.iter().all(|(name, value)| is_accepted(name) && is_format(value)),
        _ => true,
    }
}

/// Whether settings neither read a credential nor point proxies at their own pod or node.
fn is_harmless(settings: &Value) -> bool {
    match settings {
        Value::Object(fields) => fields.iter().all(|(name, value)| match &**name {
            // A variable of istiod.
            "envName" | "env_name" => false,
            "service" => text(value).is_some_and(is_remote_service),
            list if SENT_HEADERS.contains(&list) => is_list_of(value, is_sent_header),
            list if LOGGED_HEADERS.contains(&list) => {
                is_list_of(value, |header| text(header).is_some_and(|name| !is_credential_header(name)))
            }
            _ => is_harmless(value),
        }),
        Value::Array(items) => items.iter().all(is_harmless),
        _ => true,
    }
}

fn is_remote_service(service: &str) -> bool {
    is_remote_host(service.split_once('/').map_or(service, |(_, host)| host))
}

fn is_sent_header(header: &Value) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            && !name.eq_ignore_ascii_case("host")
    };
    header.as_object().is_some_and(|fields| {
        fields.iter().all(|(field, value)| match &**field {
            "name" => text(value).is_some_and(is_name),
            "value" => text(value).is_some_and(|value| !value.contains('%')),
            _ => false,
        })
    })
}

/// Whether `value` is tags of traces that read neither a credential of the user nor a variable that can hold one.
pub(super) fn is_custom_tags(value: &Value) -> bool {
    is_plain_structure(value)
        && value.as_object().is_some_and(|tags| {
            tags.values().all(|tag| tag.as_object().is_some_and(|sources| sources.iter().all(is_tag_source)))
        })
}

fn is_tag_source((source, settings): (&String, &Value)) -> bool {
    let name = settings.get("name").and_then(text).unwrap_or_default();
    let has_only = |names: &[&str]| {
        settings.as_object().is_some_and(|fields: &Map<String, Value>| {
            fields.keys().all(|field| names.contains(&field.as_str()))
        })
    };
    match &**source {
        "literal" => has_only(&["value"]),
        "header" => has_only(&["name", "defaultValue"]) && !is_credential_header(name),
        "environment" => has_only(&["name", "defaultValue"]) && POD_VARIABLES.contains(&name),
        _ => false,
    }
}

fn is_list_of(value: &Value, is_item: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(is_item))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn providers_observe_and_do_not_authorize_or_read_secrets() {
        let otel = |settings: Value| json!({"name": "a", "opentelemetry": settings});
        for (provider, is_open) in [
            (json!({"name": "a", "zipkin": {"service": "b", "port": 9411}}), true),
            (json!({"name": "a", "prometheus": {}}), true),
            (
                json!({"name": "a", "envoyFileAccessLog": {"path": "/dev/stdout", "logFormat": {"text": "%PROTOCOL%\n"}}}),
                true,
            ),
            (otel(json!({"http": {"headers": [{"name": "x-tenant", "value": "a"}]}})), true),
            (
                otel(json!({"grpc": {"initialMetadata": [{"name": "x", "value": "%ENVIRONMENT(SECRET)%"}]}})),
                false,
            ),
            (otel(json!({"http": {"headers": [{"name": "x", "value": "%NOSUCH%"}]}})), false),
            (otel(json!({"http": {"headers": [{"name": ":method", "value": "GET"}]}})), false),
            (otel(json!({"http": {"headers": [{"name": "x", "envName": "HOME"}]}})), false),
            (otel(json!({"service": "169.254.169.254", "port": 80})), false),
            (otel(json!({"service": "ns/127.0.0.1", "port": 80})), false),
            (json!({"name": "a", "envoyHttpAls": {"additionalRequestHeadersToLog": ["x-request-id"]}}), true),
            (json!({"name": "a", "envoyHttpAls": {"additionalRequestHeadersToLog": ["Cookie"]}}), false),
            (json!({"name": "a", "envoyFileAccessLog": {"path": "/etc/istio/proxy/x"}}), false),
            (
                json!({"name": "a", "envoyOtelAls": {"logFormat": {"labels": {"a": {"b": "%FILE_CONTENT(/x)%"}}}}}),
                false,
            ),
            (json!({"name": "a", "envoyExtAuthzHttp": {"service": "b", "port": 1}}), false),
            (json!({"name": "a", "envoy_ext_authz_grpc": {"service": "b", "port": 1}}), false),
            (json!({"name": "a", "sds": {"service": "b"}}), false),
            (json!({"name": 1}), false),
            (json!("a"), false),
        ] {
            assert_eq!(is_provider(&provider), is_open, "{provider}");
        }
    }

    #[test]
    fn tags_of_traces_do_not_read_credentials() {
        for (tags, is_open) in [
            (json!({"a": {"literal": {"value": "b"}}, "c": {"header": {"name": "x-request-id"}}}), true),
            (json!({"a": {"environment": {"name": "POD_NAME", "defaultValue": "-"}}}), true),
            (json!({"a": {"environment": {"name": "TOKEN"}}}), false),
            (json!({"a": {"header": {"name": "Authorization"}}}), false),
            (json!({"a": {"formatter": {"value": "%ENVIRONMENT(TOKEN)%"}}}), false),
        ] {
            assert_eq!(is_custom_tags(&tags), is_open, "{tags}");
        }
    }
}
