//! Environment variables of rendered containers: one entry for each name.
//!
//! Pure. Istio's charts print the variables of a user beside their own, so that one name can occur twice. The API server
//! refuses such an object when it is applied, after half of the installation was written.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY};

/// Where containers are in a workload.
const CONTAINERS: [&str; 2] = ["/spec/template/spec/containers", "/spec/template/spec/initContainers"];

/// Keeps one entry of each variable of a rendered workload: the one that the configuration asks for, else the last one, which
/// is the one that the kubelet would take.
pub(super) fn merge_duplicates(object: &mut Value, configuration: &Value) {
    let sources = sources(object, configuration);
    for pointer in CONTAINERS {
        let containers = object.pointer_mut(pointer).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(env) = container.get_mut("env").and_then(Value::as_array_mut) {
                merge_entries(env, &sources);
            }
        }
    }
}

/// The name of a variable that a workload has more than once in a container.
pub(super) fn duplicate(object: &Value) -> Option<&str> {
    let containers = CONTAINERS.iter().filter_map(|pointer| object.pointer(pointer)?.as_array()).flatten();
    let lists = containers.filter_map(|container| container.get("env")?.as_array());
    lists.into_iter().find_map(|env| {
        let mut seen = HashSet::new();
        env.iter().filter_map(name).find(|name| !seen.insert(*name))
    })
}

/// The maps of variables in the configuration that reach a workload, most specific first.
fn sources<'c>(object: &Value, configuration: &'c Value) -> Vec<&'c Map<String, Value>> {
    let pointers: &[&str] = match object.pointer("/metadata/name").and_then(Value::as_str) {
        Some("istiod") => &["/spec/values/pilot/env"],
        Some(INGRESS_GATEWAY) => &[
            "/spec/values/gateways/istio-ingressgateway/env",
            "/spec/meshConfig/defaultConfig/proxyMetadata",
        ],
        Some(EGRESS_GATEWAY) => {
            &["/spec/values/gateways/istio-egressgateway/env", "/spec/meshConfig/defaultConfig/proxyMetadata"]
        }
        Some("ztunnel") => &["/spec/values/ztunnel/env"],
        _ => &[],
    };
    pointers.iter().filter_map(|pointer| configuration.pointer(pointer)?.as_object()).collect()
}

fn merge_entries(env: &mut Vec<Value>, sources: &[&Map<String, Value>]) {
    let mut seen = HashSet::new();
    let repeated: HashSet<String> = env
        .iter()
        .filter_map(name)
        .filter(|name| !seen.insert((*name).to_owned()))
        .map(str::to_owned)
        .collect();
    for repeated in repeated {
        let is_entry = |entry: &Value| name(entry) == Some(&repeated);
        let wanted = sources.iter().find_map(|source| source.get(&repeated).and_then(as_text));
        let is_wanted = |entry: &Value| {
            is_entry(entry) && wanted.is_some() && entry["value"].as_str() == wanted.as_deref()
        };
        let kept = env.iter().position(is_wanted).or_else(|| env.iter().rposition(is_entry));
        let mut position = 0;
        env.retain(|entry| {
            let is_kept = !is_entry(entry) || kept == Some(position);
            position += 1;
            is_kept
        });
    }
}

/// The value of a variable as the charts print it.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(name: &str, env: &Value) -> Value {
        json!({"metadata": {"name": name}, "spec": {"template": {"spec": {"containers": [{"name": "a", "env": env}]}}}})
    }

    #[test]
    fn the_entry_of_the_user_is_kept() {
        let configuration = json!({"spec": {
            "values": {
                "pilot": {"env": {"SAMPLING": 10}},
                "gateways": {"istio-ingressgateway": {"env": {"BOTH": "gateway"}}},
            },
            "meshConfig": {"defaultConfig": {"proxyMetadata": {"BOTH": "mesh", "META": "mesh"}}},
        }});
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        for (name, env, expected) in [
            (
                "istiod",
                json!([variable("SAMPLING", "10"), variable("A", "1"), variable("SAMPLING", "1")]),
                json!([variable("SAMPLING", "10"), variable("A", "1")]),
            ),
            (
                "istiod",
                json!([variable("B", "first"), {"name": "B", "valueFrom": {}}]),
                json!([{"name": "B", "valueFrom": {}}]),
            ),
            (
                "istio-ingressgateway",
                json!([
                    variable("META", "chart"),
                    variable("BOTH", "gateway"),
                    variable("BOTH", "mesh"),
                    variable("META", "mesh")
                ]),
                json!([variable("BOTH", "gateway"), variable("META", "mesh")]),
            ),
        ] {
            let mut object = workload(name, &env);
            assert!(duplicate(&object).is_some());
            merge_duplicates(&mut object, &configuration);
            assert_eq!(object, workload(name, &expected), "{name}");
            assert_eq!(duplicate(&object), None);
        }
    }
}
