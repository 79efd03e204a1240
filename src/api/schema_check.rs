//! Checks a resource against its CRD, for commands that read it from a file, which no API server has checked.
//!
//! Names, types and enums only. All other rules for values are checked by `validate`.

use serde::de::Error as _;
use serde_json::Value;

use super::CRD_YAML;

/// Fields that do not match the CRD, each with its path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SchemaViolations {
    /// Fields that the CRD does not have. The API server drops them, and `kubectl` rejects them.
    pub unknown: Vec<String>,
    /// Values that the API server rejects.
    pub invalid: Vec<String>,
}

/// Compares the spec of a resource with the CRD.
///
/// # Errors
/// The CRD is not valid YAML.
pub fn check_schema(spec: &Value) -> serde_json::Result<SchemaViolations> {
    let crd = gotemplate::yaml::parse_json(CRD_YAML).map_err(serde_json::Error::custom)?;
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let mut violations = SchemaViolations::default();
    violations.check_value(schema.unwrap_or(&Value::Null), "spec", spec);
    Ok(violations)
}

impl SchemaViolations {
    fn check_value(&mut self, schema: &Value, path: &str, value: &Value) {
        if value.is_null() {
            return;
        }
        if let Some(kind) = schema["type"].as_str().filter(|kind| !is_of(kind, value)) {
            self.invalid.push(format!("{path}: {value} is not of type {kind}"));
            return;
        }
        if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.contains(value)) {
            let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
            let suggestion =
                istio_charts::most_alike(value.as_str().unwrap_or_default(), choices.iter().copied());
            let advice = suggestion.map(|alike| format!(", did you mean {alike}?")).unwrap_or_default();
            self.invalid.push(format!("{path}: {value} is not one of {}{advice}", choices.join(", ")));
        }
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    self.check_field(schema, path, name, value);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.check_value(&schema["items"], &format!("{path}[{index}]"), item);
                }
            }
            _ => {}
        }
    }

    fn check_field(&mut self, schema: &Value, parent: &str, name: &str, value: &Value) {
        let path = format!("{parent}.{name}");
        let Some(properties) = schema["properties"].as_object() else {
            // A map with names of the user, or a part without a schema.
            return self.check_value(&schema["additionalProperties"], &path, value);
        };
        if let Some(field) = properties.get(name) {
            return self.check_value(field, &path, value);
        }
        let suggestion = istio_charts::most_alike(name, properties.keys().map(String::as_str));
        let advice = suggestion.map(|alike| format!(", did you mean {alike}?")).unwrap_or_default();
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

    fn violations_of(spec: &Value) -> SchemaViolations {
        check_schema(spec).unwrap()
    }

    #[test]
    fn a_spec_with_every_kind_of_field_matches_the_schema() {
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
        assert_eq!(violations_of(&spec), SchemaViolations::default());
        assert_eq!(violations_of(&Value::Null), SchemaViolations::default());
    }

    #[test]
    fn an_unknown_field_is_reported_with_a_suggestion() {
        for (spec, problem) in [
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
            assert_eq!(
                violations_of(&spec),
                SchemaViolations { unknown: vec![problem.to_owned()], invalid: vec![] }
            );
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_reported_with_its_path() {
        for (spec, problem) in [
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
            assert_eq!(
                violations_of(&spec),
                SchemaViolations { unknown: vec![], invalid: vec![problem.to_owned()] }
            );
        }
    }
}
