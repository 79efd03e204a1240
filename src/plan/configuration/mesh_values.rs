//! The mesh configuration that a user sets (`spec.values.meshConfig`): which fields there are, and what each holds.
//!
//! Pure. The charts pass it on whole. istiod ignores a field that it does not know, and does not start with one of the wrong
//! type, so both are reported before anything is applied. `mesh_names.txt` has the fields of the newest Istio; a test compares
//! it with Istio's own definition.

use std::collections::BTreeMap;

use serde_json::Value;

use super::mesh_fields::{FieldKind, MeshField};
use crate::text::escaped;
use crate::validate::Problem;

const NAMES: &str = include_str!("mesh_names.txt");
/// In the place of a name in a path: any name.
const ANY: &str = "*";
/// Most characters of a value in a message.
const MAX_SHOWN: usize = 80;
/// Most names that suggestions are made for.
const MAX_SUGGESTIONS: usize = 20;

/// What is wrong with a mesh configuration at `place` (such as `spec.values.meshConfig`) for Istio `version`. Nothing is
/// known of versions to come.
pub(super) fn check(mesh: &Value, place: &str, version: &str) -> Vec<Problem> {
    if minor(version) > minor(version_of_names()) {
        return Vec::new();
    }
    let fields = NAMES.lines().skip(1).filter_map(|line| {
        let (path, holds) = line.split_once(' ')?;
        Some((path, MeshField::parse(holds)))
    });
    let mut check = MeshConfigCheck { fields: fields.collect(), problems: Vec::new() };
    check.value(&FieldKind::Message, "", place, mesh);
    check.problems
}

/// From the first line, which names the module that the fields come from: `# istio.io/api v1.31.0`.
fn version_of_names() -> &'static str {
    NAMES.lines().next().and_then(|line| line.rsplit_once(" v")).map_or("", |(_, version)| version)
}

fn minor(version: &str) -> Option<(u64, u64)> {
    let version = semver::Version::parse(version).ok()?;
    Some((version.major, version.minor))
}

/// A value as a message shows it.
fn quoted(value: &Value) -> String {
    escaped(&value.to_string(), MAX_SHOWN)
}

struct MeshConfigCheck {
    fields: BTreeMap<&'static str, MeshField>,
    problems: Vec<Problem>,
}

impl MeshConfigCheck {
    /// Checks a value that should be of `kind`; its fields are known by the path `known` and shown by the path `shown`.
    fn value(&mut self, kind: &FieldKind, schema_path: &str, display_path: &str, value: &Value) {
        match (kind, value) {
            // Removes the field.
            (_, Value::Null) => {}
            (FieldKind::Message, Value::Object(map)) => {
                for (name, value) in map {
                    self.field(
                        schema_path,
                        name,
                        &format!("{display_path}.{}", escaped(name, MAX_SHOWN)),
                        value,
                    );
                }
            }
            (kind, value) if kind.accepts(value) => {}
            (kind, value) => self.add(display_path, format!("{} is not {kind}", quoted(value))),
        }
    }

    fn field(&mut self, parent: &str, name: &str, display_path: &str, value: &Value) {
        let path = |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        let found =
            [name, ANY].iter().find_map(|name| Some((path(name), self.fields.get(&*path(name))?.clone())));
        let Some((schema_path, field)) = found else {
            return self.add(display_path, self.unknown_field(name, parent));
        };
        match value {
            Value::Array(items) if field.is_list => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&field.kind, &schema_path, &format!("{display_path}[{index}]"), item);
                }
            }
            Value::Null => {}
            value if field.is_list => self.add(display_path, format!("{} is not a list", quoted(value))),
            value => self.value(&field.kind, &schema_path, display_path, value),
        }
    }

    fn unknown_field(&self, name: &str, parent: &str) -> String {
        if let Some(known) = self.camel_case_match(name, parent) {
            return format!(
                "write {known} (camelCase): Istio reads both spellings, but the operator can merge only this one with its own \
                 configuration"
            );
        }
        let suggestion = self.closest_name(name, parent);
        let advice = suggestion.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
        format!("the mesh configuration of Istio has no such field{advice}")
    }

    /// The field that is meant by `name_with_underscores`.
    fn camel_case_match(&self, name: &str, parent: &str) -> Option<&'static str> {
        let joined = name.replace('_', "");
        let mut known = self.child_names(parent);
        known.find(|known| name.contains('_') && known.eq_ignore_ascii_case(&joined))
    }

    /// Costs a comparison with each name; a resource with very many wrong names gets suggestions for the first ones.
    fn closest_name(&self, name: &str, parent: &str) -> Option<&'static str> {
        let is_early = self.problems.len() < MAX_SUGGESTIONS && name.len() <= MAX_SHOWN;
        is_early.then(|| istio_charts::most_alike(name, self.child_names(parent))).flatten()
    }

    /// The names of the fields at a place.
    fn child_names(&self, parent: &str) -> impl Iterator<Item = &'static str> {
        self.fields.keys().filter_map(move |path| {
            let rest = path.strip_prefix(parent)?;
            let name = if parent.is_empty() { rest } else { rest.strip_prefix('.')? };
            (!name.contains('.') && name != ANY).then_some(name)
        })
    }

    fn add(&mut self, display_path: &str, message: String) {
        self.problems.push(Problem::warning(display_path, message));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HERE: &str = "spec.values.meshConfig";

    fn problems_of(mesh: &Value) -> Vec<String> {
        check(mesh, HERE, "1.31.0").iter().map(Problem::to_string).collect()
    }

    #[test]
    fn known_mesh_options_are_accepted() {
        let mesh = json!({
            "accessLogFile": "/dev/stdout",
            "enableTracing": true,
            "connectTimeout": "10s",
            "protocolDetectionTimeout": "100ms",
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "defaultConfig": {
                "concurrency": 2,
                "drainDuration": "0.250s",
                "terminationDrainDuration": "1m30s",
                "proxyMetadata": {"ANY.name": "x"},
                "tracing": null,
                "image": {"imageType": "distroless"},
            },
            "extensionProviders": [{"name": "a", "zipkin": {"service": "b", "port": 9411}}],
            "discoverySelectors": [{"matchLabels": {"a": "b"}}],
            "trustDomainAliases": ["a", "b"],
        });
        assert_eq!(problems_of(&mesh), [""; 0]);
        assert_eq!(problems_of(&Value::Null), [""; 0]);
    }

    #[test]
    fn an_unknown_name_is_reported_with_a_suggestion() {
        for (mesh, problem) in [
            (
                json!({"accessLogFil": "x"}),
                "accessLogFil: the mesh configuration of Istio has no such field, did you mean accessLogFile?",
            ),
            (
                json!({"trust_domain": "x"}),
                "trust_domain: write trustDomain (camelCase): Istio reads both spellings, but the operator can merge only this one with its own configuration",
            ),
            (
                json!({"default_config": {}}),
                "default_config: write defaultConfig (camelCase): Istio reads both spellings, but the operator can merge only this one with its own configuration",
            ),
            (
                json!({"defaultConfig": {"gatewayTopology": {"numTrustedProxy": 1}}}),
                "defaultConfig.gatewayTopology.numTrustedProxy: the mesh configuration of Istio has no such field, did you mean numTrustedProxies?",
            ),
            (
                json!({"extensionProviders": [{"name": "a"}, {"zipkn": {}}]}),
                "extensionProviders[1].zipkn: the mesh configuration of Istio has no such field, did you mean zipkin?",
            ),
            (
                json!({"h2_upgrade_policy": "UPGRADE"}),
                "h2_upgrade_policy: write h2UpgradePolicy (camelCase): Istio reads both spellings, but the operator can merge only this one with its own configuration",
            ),
            (json!({"qqqqq": 1}), "qqqqq: the mesh configuration of Istio has no such field"),
        ] {
            assert_eq!(problems_of(&mesh), [format!("{HERE}.{problem}")]);
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_reported_with_the_expected_type() {
        for (mesh, problem) in [
            (json!({"enableTracing": "yes"}), "enableTracing: \"yes\" is not true or false"),
            (json!({"accessLogFile": 1}), "accessLogFile: 1 is not a text"),
            (
                json!({"connectTimeout": "10 seconds"}),
                "connectTimeout: \"10 seconds\" is not a duration such as 1.5s, 100ms, or 1m",
            ),
            (
                json!({"connectTimeout": 10}),
                "connectTimeout: 10 is not a duration such as 1.5s, 100ms, or 1m",
            ),
            (
                json!({"defaultConfig": {"proxyMetadata": {"A": true}}}),
                "defaultConfig.proxyMetadata.A: true is not a text",
            ),
            (json!({"defaultConfig": []}), "defaultConfig: [] is not a map"),
            (json!({"trustDomainAliases": "a"}), "trustDomainAliases: \"a\" is not a list"),
            (
                json!({"outboundTrafficPolicy": {"mode": "ALLOW_ALL"}}),
                "outboundTrafficPolicy.mode: \"ALLOW_ALL\" is not one of REGISTRY_ONLY, ALLOW_ANY, ALLOW_ANY_DYNAMIC_DNS",
            ),
        ] {
            assert_eq!(problems_of(&mesh), [format!("{HERE}.{problem}")]);
        }
    }

    #[test]
    fn fields_of_future_versions_are_not_checked() {
        assert_eq!(check(&json!({"fieldOfTomorrow": 1}), HERE, "1.99.0"), []);
        assert_eq!(check(&json!({"fieldOfTomorrow": 1}), HERE, "1.30.3").len(), 1);
    }
}
