//! Whether a CustomResourceDefinition in the cluster may become ours: never a step back.
//!
//! Pure. A definition that loses a version or a field loses the users' data in it, and no later apply brings that back.
//! The label `operator.istio.io/version`, which `istioctl` sets too, says of which Istio a definition is. Without it
//! (Helm, the Go operator, which writes "unknown") the content is compared.

use std::collections::BTreeSet;

use semver::Version;
use serde_json::{Map, Value};

/// Label with the version of Istio that an object is of.
pub const VERSION_LABEL: &str = "operator.istio.io/version";
/// Losses that a message names; more would not make it clearer.
const NAMED: usize = 5;

/// What becomes of a definition that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours is applied.
    Replace,
    /// It is of a newer Istio, which knows all of ours: it stays.
    Newer(Version),
    /// Users would lose what is listed: it stays, and somebody has to decide.
    Loses(Vec<String>),
}

impl Verdict {
    /// What a user has to know and do, if anything.
    #[must_use]
    pub fn warning(&self, definition: &str, istio_version: &str) -> Option<String> {
        let Self::Loses(losses) = self else { return None };
        let more = losses.len().saturating_sub(NAMED);
        let named = losses[..losses.len().min(NAMED)].join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Some(format!(
            "CustomResourceDefinition {definition} stays as it is, because that of Istio {istio_version} lacks {named}{more}: \
             install the Istio that it belongs to, or delete what it has more once nothing uses it"
        ))
    }
}

/// Decides about the definition `live`, given `ours` of the version to install.
#[must_use]
pub fn judge(ours: &Value, live: &Value) -> Verdict {
    let unknown_storage = unknown_stored_versions(ours, live);
    match (version(ours), version(live)) {
        (Some(ours), Some(live)) if live > ours => Verdict::Newer(live),
        _ if !unknown_storage.is_empty() => Verdict::Loses(unknown_storage),
        (Some(_), Some(_)) => Verdict::Replace,
        _ => match losses(ours, live) {
            losses if losses.is_empty() => Verdict::Replace,
            losses => Verdict::Loses(losses),
        },
    }
}

/// The version of Istio that an object says it is of, without flavour; builds of one version have the same definitions.
#[must_use]
pub fn version(object: &Value) -> Option<Version> {
    let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(VERSION_LABEL)?.as_str())?;
    let version = Version::parse(label).ok()?;
    Some(Version::new(version.major, version.minor, version.patch))
}

/// Versions in which objects may still be stored and which ours does not have. The API server refuses a definition
/// without them, whatever its label says.
fn unknown_stored_versions(ours: &Value, live: &Value) -> Vec<String> {
    let known: BTreeSet<&str> = versions(ours).map(|(name, _)| name).collect();
    let stored = live.pointer("/status/storedVersions").and_then(Value::as_array);
    stored
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|version| !known.contains(version))
        .map(|version| format!("the stored version {version}"))
        .collect()
}

/// What `live` serves and `ours` would not.
fn losses(ours: &Value, live: &Value) -> Vec<String> {
    let mut lost = Vec::new();
    for (name, version) in versions(live).filter(|(_, version)| is_served(version)) {
        match versions(ours).find(|(own, version)| *own == name && is_served(version)) {
            None => lost.push(format!("the version {name}")),
            Some((_, own)) => {
                let schema = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned();
                if let (Some(live), Some(own)) = (schema(version), schema(own)) {
                    lost_fields(&own, &live, name, &mut lost);
                }
            }
        }
    }
    lost
}

fn versions(definition: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    versions.into_iter().flatten().filter_map(|version| Some((version.get("name")?.as_str()?, version)))
}

fn is_served(version: &Value) -> bool {
    version.get("served").and_then(Value::as_bool).unwrap_or(false)
}

/// Adds the fields below `path` that the schema `live` keeps and `ours` would drop.
fn lost_fields(ours: &Value, live: &Value, path: &str, lost: &mut Vec<String>) {
    if keeps_everything(ours) {
        return;
    }
    if keeps_everything(live) {
        lost.push(format!("{path}.*"));
    }
    for (name, live) in properties(live) {
        let path = format!("{path}.{name}");
        match ours.get("properties").and_then(|own| own.get(name)) {
            Some(own) => lost_fields(own, live, &path, lost),
            None if ours.get("additionalProperties").is_some() => {}
            None => lost.push(path),
        }
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        match (live.get(inner), ours.get(inner)) {
            (Some(live), Some(ours)) => lost_fields(ours, live, &format!("{path}{suffix}"), lost),
            (Some(_), None) => lost.push(format!("{path}{suffix}")),
            (None, _) => {}
        }
    }
}

fn keeps_everything(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

#[cfg(test)]
mod tests {
    use istio_charts::Bundle;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::validate::version::release;

    fn definition(version: Option<&str>, versions: &[(&str, bool, Value)]) -> Value {
        let versions: Vec<Value> = versions
            .iter()
            .map(|(name, served, schema)| json!({"name": name, "served": served, "schema": {"openAPIV3Schema": schema}}))
            .collect();
        let mut definition =
            json!({"metadata": {"name": "gateways.networking.istio.io"}, "spec": {"versions": versions}});
        if let Some(version) = version {
            definition["metadata"]["labels"] = json!({VERSION_LABEL: version});
        }
        definition
    }

    fn spec(fields: &[&str]) -> Value {
        let fields: Map<String, Value> =
            fields.iter().map(|f| ((*f).to_owned(), json!({"type": "string"}))).collect();
        json!({"properties": {"spec": {"properties": fields}}})
    }

    fn ours() -> Value {
        definition(Some("1.31.0"), &[("v1", true, spec(&["hosts", "ports"]))])
    }

    #[test]
    fn a_stamped_definition_is_only_ever_replaced_by_a_newer_one() {
        for (live, verdict) in [
            ("1.30.3", Verdict::Replace),
            ("1.31.0", Verdict::Replace),
            ("1.31.0-distroless", Verdict::Replace),
            ("1.31.1", Verdict::Newer(Version::new(1, 31, 1))),
            ("1.32.0-alpha", Verdict::Newer(Version::new(1, 32, 0))),
        ] {
            // What an older one has more is gone by the decision of Istio, not by ours.
            let live = definition(Some(live), &[("v1", true, spec(&["hosts", "gone"]))]);
            assert_eq!(judge(&ours(), &live), verdict, "{live}");
        }
    }

    #[test]
    fn an_unstamped_definition_is_replaced_only_without_loss() {
        for (name, live, losses) in [
            ("same", vec![("v1", true, spec(&["hosts", "ports"]))], vec![]),
            ("less", vec![("v1", true, spec(&["hosts"]))], vec![]),
            ("more fields", vec![("v1", true, spec(&["hosts", "tls"]))], vec!["v1.spec.tls"]),
            ("more versions", vec![("v1", true, spec(&[])), ("v2", true, spec(&[]))], vec!["the version v2"]),
            ("a version that is not served", vec![("v1alpha1", false, spec(&["old"]))], vec![]),
        ] {
            for stamp in [None, Some("unknown")] {
                let expected = match losses.as_slice() {
                    [] => Verdict::Replace,
                    losses => Verdict::Loses(losses.iter().map(ToString::to_string).collect()),
                };
                assert_eq!(judge(&ours(), &definition(stamp, &live)), expected, "{name}");
            }
        }
    }

    #[test]
    fn a_definition_whose_objects_are_stored_in_an_unknown_version_stays() {
        for stamp in [None, Some("1.30.3")] {
            let mut live = definition(stamp, &[("v1", true, spec(&["hosts"]))]);
            live["status"] = json!({"storedVersions": ["v1alpha3", "v1"]});
            let verdict = judge(&ours(), &live);
            assert_eq!(verdict, Verdict::Loses(vec!["the stored version v1alpha3".to_owned()]));
            let warning = verdict.warning("gateways.networking.istio.io", "1.31.0").unwrap();
            assert!(
                warning.contains("gateways.networking.istio.io") && warning.contains("v1alpha3"),
                "{warning}"
            );
        }
    }

    #[test]
    fn fields_are_compared_in_lists_and_maps_too() {
        let nested = |field: &str| {
            json!({"properties": {
                "list": {"items": {"properties": {field: {}}}},
                "map": {"additionalProperties": {"properties": {field: {}}}},
            }})
        };
        let ours = definition(None, &[("v1", true, nested("a"))]);
        let live = definition(None, &[("v1", true, nested("b"))]);
        let Verdict::Loses(losses) = judge(&ours, &live) else { panic!("not noticed") };
        assert_eq!(losses, ["v1.list[].b", "v1.map.*.b"]);
        let open = definition(None, &[("v1", true, json!({"x-kubernetes-preserve-unknown-fields": true}))]);
        assert_eq!(judge(&open, &live), Verdict::Replace);
        assert_eq!(
            judge(&live, &open),
            Verdict::Loses(vec!["v1.*".to_owned()]),
            "it keeps whatever users write"
        );
        let closed = definition(None, &[("v1", true, json!({"properties": {"list": {}, "map": {}}}))]);
        let lost = ["v1.list[]", "v1.map.*"].map(str::to_owned);
        assert_eq!(judge(&closed, &live), Verdict::Loses(lost.into()));
    }

    /// Istio's own definitions, without their label as the Go operator and Helm leave them.
    fn unstamped(bundle: &Bundle) -> Vec<Value> {
        let definitions = bundle.crds().map(|definition| {
            let mut definition = definition.unwrap();
            definition["metadata"]["labels"] = Value::Null;
            definition
        });
        definitions.collect()
    }

    #[test]
    fn istios_own_definitions_replace_themselves_but_not_those_of_a_newer_istio() {
        const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let definitions = unstamped(&Bundle::embedded());
        assert!(definitions.len() > 10);
        for ours in &definitions {
            assert_eq!(judge(ours, ours), Verdict::Replace);
            let mut newer = ours.clone();
            newer.pointer_mut(SPEC).unwrap()["ofTheFuture"] = json!({"type": "string"});
            assert_eq!(judge(&newer, ours), Verdict::Replace);
            let version = ours.pointer("/spec/versions/0/name").and_then(Value::as_str).unwrap();
            let lost = format!("{version}.spec.ofTheFuture");
            assert_eq!(judge(ours, &newer), Verdict::Loses(vec![lost]), "{}", ours["metadata"]["name"]);
        }
    }

    /// With real charts of older versions at hand: each may be upgraded, and none may come back.
    #[test]
    #[ignore = "needs charts of older versions, ISTIO_BUNDLES=<folder> (see the Makefile)"]
    fn definitions_of_real_older_versions_are_replaced_and_do_not_come_back() {
        let folder = std::path::PathBuf::from(std::env::var_os("ISTIO_BUNDLES").unwrap());
        let ours = unstamped(&Bundle::embedded());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let version = entry.unwrap().file_name().into_string().unwrap();
            let Some(older) =
                release(&version).filter(|version| version < &release(Bundle::embedded().version()).unwrap())
            else {
                continue;
            };
            let theirs = unstamped(&Bundle::open(&folder, &version).unwrap());
            let same = |definition: &&Value| {
                ours.iter().find(|ours| ours["metadata"]["name"] == definition["metadata"]["name"])
            };
            let pairs = || theirs.iter().map(|theirs| (same(&theirs).unwrap(), theirs));
            for (ours, theirs) in pairs() {
                assert_eq!(judge(ours, theirs), Verdict::Replace, "{older}: {}", theirs["metadata"]["name"]);
            }
            let kept = pairs().filter(|(ours, theirs)| judge(theirs, ours) != Verdict::Replace).count();
            assert!(kept > 0, "{older} has all fields of {}", Bundle::embedded().version());
        }
    }

    #[test]
    fn a_long_list_of_losses_is_cut_and_counted() {
        let losses = (0..9).map(|i| format!("v1.field{i}")).collect();
        let warning = Verdict::Loses(losses).warning("x", "1.31.0").unwrap();
        assert!(warning.contains("v1.field4 and 4 more"), "{warning}");
        assert_eq!(Verdict::Replace.warning("x", "1.31.0"), None);
    }

    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = Just(json!({"type": "string"}));
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::btree_map("[a-c]", inner.clone(), 0..4)
                    .prop_map(|p| json!({"properties": p})),
                inner.clone().prop_map(|items| json!({"items": items})),
                inner.prop_map(|values| json!({"additionalProperties": values})),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_definition_always_replaces_itself(schema in any_schema()) {
            let definition = definition(None, &[("v1", true, schema)]);
            prop_assert_eq!(judge(&definition, &definition), Verdict::Replace);
        }

        #[test]
        fn no_field_is_ever_lost_silently(schema in any_schema(), field in "[d-f]") {
            let mut more = schema.clone();
            more["properties"][field.as_str()] = json!({"type": "string"});
            let ours = definition(None, &[("v1", true, schema.clone())]);
            let live = definition(None, &[("v1", true, more)]);
            let lost = judge(&ours, &live) == Verdict::Loses(vec![format!("v1.{field}")]);
            prop_assert!(lost || schema.get("additionalProperties").is_some());
        }
    }
}
