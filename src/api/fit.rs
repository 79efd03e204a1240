//! Whether a resource fits its definition, for commands that read one from a file, where no API server has judged it.
//!
//! Names, types and choices only: what else the definition demands of a value is judged by `validate`.

use serde::de::Error as _;
use serde_json::Value;

use super::DEFINITION;

/// What does not fit, each with its path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Misfits {
    /// Fields that the definition does not have. The API server drops them, and `kubectl` refuses them.
    pub unknown: Vec<String>,
    /// Values that the API server refuses.
    pub wrong: Vec<String>,
}

/// Compares the spec of a resource with its definition.
///
/// # Errors
/// The definition is no YAML.
pub fn misfits(spec: &Value) -> serde_json::Result<Misfits> {
    let definition = gotemplate::yaml::parse_json(DEFINITION).map_err(serde_json::Error::custom)?;
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let mut misfits = Misfits::default();
    misfits.look(schema.unwrap_or(&Value::Null), "spec", spec);
    Ok(misfits)
}

impl Misfits {
    fn look(&mut self, schema: &Value, path: &str, value: &Value) {
        if value.is_null() {
            return;
        }
        if let Some(kind) = schema["type"].as_str().filter(|kind| !is_of(kind, value)) {
            self.wrong.push(format!("{path}: {value} is not of type {kind}"));
            return;
        }
        if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.contains(value)) {
            let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
            self.wrong.push(format!("{path}: {value} is not one of {}", choices.join(", ")));
        }
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    self.field(schema, path, name, value);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.look(&schema["items"], &format!("{path}[{index}]"), item);
                }
            }
            _ => {}
        }
    }

    fn field(&mut self, schema: &Value, parent: &str, name: &str, value: &Value) {
        let path = format!("{parent}.{name}");
        let Some(properties) = schema["properties"].as_object() else {
            // A map of the user's own names, or a part that the definition says nothing of.
            return self.look(&schema["additionalProperties"], &path, value);
        };
        if let Some(field) = properties.get(name) {
            return self.look(field, &path, value);
        }
        let alike = istio_charts::most_alike(name, properties.keys().map(String::as_str));
        let advice = alike.map(|alike| format!(", did you mean {alike}?")).unwrap_or_default();
        self.unknown.push(format!("{path}: the Istio resource has no such field{advice}"));
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(spec: &Value) -> Misfits {
        misfits(spec).unwrap()
    }

    #[test]
    fn a_spec_with_every_kind_of_field_fits() {
        let spec = json!({
            "config": {
                "numTrustedProxies": 1, "forwardClientCertDetails": "SANITIZE", "enableDNSProxying": null,
                "authorizers": [{"name": "a", "service": "b", "port": 1, "headers": {"inCheck": {"add": {"x-any": "c"}}}}],
            },
            "components": {
                "pilot": {"k8s": {"strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 1}}}},
                "cni": {"k8s": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}}},
            },
            "values": {"pilot": {"env": {"ANY": "x"}}},
            "patches": [{"kind": "Deployment", "name": "istiod", "strategicMerge": {"spec": {"any": 1}}}],
        });
        assert_eq!(found(&spec), Misfits::default());
        assert_eq!(found(&Value::Null), Misfits::default());
    }

    #[test]
    fn an_unknown_field_is_told_with_the_one_that_was_meant() {
        for (spec, told) in [
            (
                json!({"componentz": {}}),
                "spec.componentz: the Istio resource has no such field, did you mean components?",
            ),
            (
                json!({"config": {"authorizers": [{"name": "a", "prot": 1}]}}),
                "spec.config.authorizers[0].prot: the Istio resource has no such field, did you mean port?",
            ),
            (json!({"qqq": 1}), "spec.qqq: the Istio resource has no such field"),
        ] {
            assert_eq!(found(&spec), Misfits { unknown: vec![told.to_owned()], wrong: vec![] });
        }
    }

    #[test]
    fn a_value_of_another_type_is_told_with_its_place() {
        for (spec, told) in [
            (
                json!({"config": {"numTrustedProxies": "3"}}),
                "spec.config.numTrustedProxies: \"3\" is not of type integer",
            ),
            (json!({"config": []}), "spec.config: [] is not of type object"),
            (
                json!({"config": {"gatewayExternalTrafficPolicy": "Foo"}}),
                "spec.config.gatewayExternalTrafficPolicy: \"Foo\" is not one of Local, Cluster",
            ),
            (
                json!({"components": {"proxy": {"k8s": {"resources": {"limits": {"cpu": 2}}}}}}),
                "spec.components.proxy.k8s.resources.limits.cpu: 2 is not of type string",
            ),
        ] {
            assert_eq!(found(&spec), Misfits { unknown: vec![], wrong: vec![told.to_owned()] });
        }
    }
}
