//! The mesh configuration of the document: what values and `spec.config` of the resource change in it.
//! Writes only what they set, so that lower layers stay in effect. A branch of a oneof replaces the other branches.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::merge::{merge as merge_layer, merge_user_values};
use super::mesh_oneofs;
use crate::api::names::ISTIO_NAMESPACE;
use crate::validate::{MeshOptions, ValidatedAuthorizer};

/// Where the document has the tracer that the chart writes into the mesh configuration.
const TRACER: &str = "/spec/values/global/proxy/tracer";
/// The tracers that the chart knows.
const TRACERS: [&str; 4] = ["zipkin", "lightstep", "datadog", "stackdriver"];
const NO_TRACER: &str = "none";

/// Merges the options of the whole mesh into the document.
pub(super) fn merge(document: &mut Value, mesh: &MeshOptions) {
    let mut config = json!({"enablePrometheusMerge": mesh.prometheus_merge});
    if let Some(trust_domain) = &mesh.trust_domain {
        config["trustDomain"] = json!(trust_domain);
    }
    let proxy = proxy_config(mesh);
    if !proxy.is_empty() {
        config["defaultConfig"] = Value::Object(proxy);
    }
    if !mesh.authorizers.is_empty() {
        config["extensionProviders"] = mesh.authorizers.iter().map(extension_provider).collect();
    }
    drop_replaced_branches(document, &config);
    merge_layer(document, &json!({"spec": {"meshConfig": config}}));
}

/// Merges a mesh configuration that is set by values.
pub(super) fn merge_values(document: &mut Value, mesh: &Value) {
    drop_replaced_branches(document, mesh);
    merge_user_values(document, &json!({"spec": {"meshConfig": mesh}}));
    let branches = mesh.pointer("/defaultConfig/tracing").and_then(Value::as_object);
    let is_other_tracer = |tracer: &Value| {
        let mut set = branches.into_iter().flatten().filter(|(_, value)| !value.is_null());
        set.any(|(name, _)| TRACERS.contains(&name.as_str()) && tracer != name.as_str())
    };
    if let Some(tracer) = document.pointer_mut(TRACER)
        && is_other_tracer(tracer)
    {
        *tracer = json!(NO_TRACER);
    }
}

/// Removes the tracer of the mesh configuration if `values` set another one: the chart writes that of
/// `global.proxy.tracer` into the mesh configuration, too.
pub(super) fn drop_replaced_tracer(document: &mut Value, values: &Value) {
    let tracer = values.pointer("/global/proxy/tracer").and_then(Value::as_str);
    if let Some(tracer) = tracer.filter(|tracer| TRACERS.contains(tracer)) {
        drop_replaced_branches(document, &json!({"defaultConfig": {"tracing": {tracer: {}}}}));
    }
}

fn drop_replaced_branches(document: &mut Value, mesh: &Value) {
    if let Some(base) = document.pointer_mut("/spec/meshConfig") {
        mesh_oneofs::drop_replaced_branches(base, mesh);
    }
}

/// Lets istiod see its own namespace, whatever namespaces are selected: it has the policies for the whole mesh, and istiod
/// would drop them without a word. Selectors add up.
pub(super) fn include_istio_namespace(document: &mut Value) {
    let own = istio_namespace_selector();
    let selectors = document.pointer_mut("/spec/meshConfig/discoverySelectors").and_then(Value::as_array_mut);
    if let Some(selectors) = selectors.filter(|selectors| !selectors.is_empty() && !selectors.contains(&own))
    {
        selectors.push(own);
    }
}

/// The selector of Istio's namespace.
pub(in crate::plan) fn istio_namespace_selector() -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": ISTIO_NAMESPACE}})
}

/// What the resource changes in the configuration of every proxy.
fn proxy_config(mesh: &MeshOptions) -> Map<String, Value> {
    let mut proxy = Map::new();
    let mut topology = Map::new();
    if let Some(count) = mesh.num_trusted_proxies {
        topology.insert("numTrustedProxies".into(), json!(count));
    }
    if let Some(details) = mesh.forward_client_cert_details {
        topology.insert("forwardClientCertDetails".into(), json!(details));
    }
    if !topology.is_empty() {
        proxy.insert("gatewayTopology".into(), Value::Object(topology));
    }
    if let Some(enabled) = mesh.dns_proxying {
        proxy.insert("proxyMetadata".into(), json!({"ISTIO_META_DNS_CAPTURE": enabled.to_string()}));
    }
    if !mesh.stats_inclusion_regexps.is_empty() {
        proxy.insert("proxyStatsMatcher".into(), json!({"inclusionRegexps": mesh.stats_inclusion_regexps}));
    }
    proxy
}

/// An authorizer as an extension provider of Istio's mesh configuration. Fields without a value are left out, as in
/// the JSON form of a protocol buffer.
fn extension_provider(authorizer: &ValidatedAuthorizer) -> Value {
    let headers = &authorizer.headers;
    let in_check = headers.in_check.as_ref();
    let to_downstream = headers.to_downstream.as_ref();
    let mut http = Map::new();
    let mut set = |key: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        };
        if !empty {
            http.insert(key.to_owned(), value);
        }
    };
    set("service", json!(authorizer.service));
    set("port", json!(authorizer.port));
    set("pathPrefix", json!(authorizer.path_prefix));
    set("timeout", json!(authorizer.timeout.map(proto_duration)));
    set("includeRequestHeadersInCheck", json!(in_check.and_then(|check| check.include.as_ref())));
    set("includeAdditionalHeadersInCheck", json!(in_check.and_then(|check| check.add.as_ref())));
    set(
        "headersToUpstreamOnAllow",
        json!(headers.to_upstream.as_ref().and_then(|upstream| upstream.on_allow.as_ref())),
    );
    set(
        "headersToDownstreamOnAllow",
        json!(to_downstream.and_then(|downstream| downstream.on_allow.as_ref())),
    );
    set("headersToDownstreamOnDeny", json!(to_downstream.and_then(|downstream| downstream.on_deny.as_ref())));
    json!({"name": authorizer.name, "envoyExtAuthzHttp": http})
}

/// A duration as protocol buffers write it in JSON: seconds with a fraction of 0, 3, 6 or 9 digits.
fn proto_duration(duration: Duration) -> String {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    if nanoseconds == 0 {
        format!("{seconds}s")
    } else if nanoseconds % 1_000_000 == 0 {
        format!("{seconds}.{:03}s", nanoseconds / 1_000_000)
    } else if nanoseconds % 1_000 == 0 {
        format!("{seconds}.{:06}s", nanoseconds / 1_000)
    } else {
        format!("{seconds}.{nanoseconds:09}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_fraction_in_groups_of_three_digits() {
        for (nanoseconds, expected) in [
            (1_000_000_000, "1s"),
            (90_000_000_000, "90s"),
            (500_000_000, "0.500s"),
            (1_900_000_000, "1.900s"),
            (1_000_000, "0.001s"),
            (1_001_000, "0.001001s"),
            (1_000_000_015, "1.000000015s"),
        ] {
            assert_eq!(proto_duration(Duration::from_nanos(nanoseconds)), expected);
        }
    }
}
