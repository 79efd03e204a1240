//! Whether an existing CRD may be replaced: never by one that knows less.
//!
//! Pure. A CRD that loses a version or a field loses the users' data in it, and no later apply restores that. The label
//! `operator.istio.io/version`, which `istioctl` sets, too, has the Istio version of a CRD. Without it (Helm, or the Go operator,
//! which writes "unknown") the schemas are compared.

use std::collections::BTreeSet;

use semver::Version;
use serde_json::{Map, Value};

use crate::text::list_limited;

/// Label with the Istio version of an object.
pub const VERSION_LABEL: &str = "operator.istio.io/version";
/// Longest list of losses in a message.
const MAX_NAMED_LOSSES: usize = 5;

/// The decision about an existing CRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrdDecision {
    /// It is replaced by ours.
    Replace,
    /// It is kept: it belongs to this newer Istio, and has all fields of ours.
    KeepNewer(Version),
    /// It is kept, and users have to decide: ours lacks the listed versions and fields.
    WouldLose(Vec<String>),
}

impl CrdDecision {
    /// The warning for users, if any.
    #[must_use]
    pub fn warning(&self, crd_name: &str, istio_version: &str) -> Option<String> {
        let Self::WouldLose(losses) = self else { return None };
        Some(format!(
            "CustomResourceDefinition {crd_name} is not replaced: the CRD of Istio {istio_version} lacks {}. Install the Istio \
             version that it belongs to, or remove the additional versions and fields once nothing uses them",
            list_limited(losses, MAX_NAMED_LOSSES)
        ))
    }
}

/// Decides about the CRD `live`, given `ours` of the version to install.
#[must_use]
pub fn decide(ours: &Value, live: &Value) -> CrdDecision {
    let unknown_storage = unknown_stored_versions(ours, live);
    match (version(ours), version(live)) {
        (Some(ours), Some(live)) if live > ours => CrdDecision::KeepNewer(live),
        _ if !unknown_storage.is_empty() => CrdDecision::WouldLose(unknown_storage),
        (Some(_), Some(_)) => CrdDecision::Replace,
        _ => match losses(ours, live) {
            losses if losses.is_empty() => CrdDecision::Replace,
            losses => CrdDecision::WouldLose(losses),
        },
    }
}

/// The Istio version of an object by its label, without a variant: all builds of a version have the same CRDs.
#[must_use]
pub fn version(object: &Value) -> Option<Version> {
    let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(VERSION_LABEL)?.as_str())?;
    let version = Version::parse(label).ok()?;
    Some(Version::new(version.major, version.minor, version.patch))
}

/// Versions in which objects may still be stored and that ours does not have. The API server refuses a CRD without them,
/// whatever its label says.
fn unknown_stored_versions(ours: &Value, live: &Value) -> Vec<String> {
    let known: BTreeSet<&str> = versions(ours).map(|(name, _)| name).collect();
    let stored = live.pointer("/status/storedVersions").and_then(Value::as_array);
    stored
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|version| !known.contains(version))
        .map(|version| format!("stored version {version}"))
        .collect()
}

/// The versions and fields that `live` serves and `ours` does not.
fn losses(ours: &Value, live: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, version) in versions(live).filter(|(_, version)| is_served(version)) {
        match versions(ours).find(|(own, version)| *own == name && is_served(version)) {
            None => missing.push(format!("version {name}")),
            Some((_, own)) => {
                let schema = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned();
                if let (Some(live), Some(own)) = (schema(version), schema(own)) {
                    collect_missing_fields(&own, &live, name, &mut missing);
                }
            }
        }
    }
    missing
}

fn versions(crd: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    versions.into_iter().flatten().filter_map(|version| Some((version.get("name")?.as_str()?, version)))
}

fn is_served(version: &Value) -> bool {
    version.get("served").and_then(Value::as_bool).unwrap_or(false)
}

/// Adds the fields below `path` that the schema `live` has and `ours` would drop.
fn collect_missing_fields(ours: &Value, live: &Value, path: &str, missing: &mut Vec<String>) {
    if preserves_unknown_fields(ours) {
        return;
    }
    if preserves_unknown_fields(live) {
        missing.push(format!("{path}.*"));
    }
    for (name, live) in properties(live) {
        let path = format!("{path}.{name}");
        match ours.get("properties").and_then(|own| own.get(name)) {
            Some(own) => collect_missing_fields(own, live, &path, missing),
            None if ours.get("additionalProperties").is_some() => {}
            None => missing.push(path),
        }
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        match (live.get(inner), ours.get(inner)) {
            (Some(live), Some(ours)) => {
                collect_missing_fields(ours, live, &format!("{path}{suffix}"), missing);
            }
            (Some(_), None) => missing.push(format!("{path}{suffix}")),
            (None, _) => {}
        }
    }
}

fn preserves_unknown_fields(schema: &Value) -> bool {
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
    use crate::validate::version::release_version;

    fn crd(version: Option<&str>, versions: &[(&str, bool, Value)]) -> Value {
        let versions: Vec<Value> = versions
            .iter()
            .map(|(name, served, schema)| json!({"name": name, "served": served, "schema": {"openAPIV3Schema": schema}}))
            .collect();
        let mut crd =
            json!({"metadata": {"name": "gateways.networking.istio.io"}, "spec": {"versions": versions}});
        if let Some(version) = version {
            crd["metadata"]["labels"] = json!({VERSION_LABEL: version});
        }
        crd
    }

    fn spec(fields: &[&str]) -> Value {
        let fields: Map<String, Value> =
            fields.iter().map(|f| ((*f).to_owned(), json!({"type": "string"}))).collect();
        json!({"properties": {"spec": {"properties": fields}}})
    }

    fn ours() -> Value {
        crd(Some("1.31.0"), &[("v1", true, spec(&["hosts", "ports"]))])
    }

    #[test]
    fn a_labeled_crd_is_replaced_only_by_a_newer_one() {
        for (live, decision) in [
            ("1.30.3", CrdDecision::Replace),
            ("1.31.0", CrdDecision::Replace),
            ("1.31.0-distroless", CrdDecision::Replace),
            ("1.31.1", CrdDecision::KeepNewer(Version::new(1, 31, 1))),
            ("1.32.0-alpha", CrdDecision::KeepNewer(Version::new(1, 32, 0))),
        ] {
            // Additional fields of an older version were removed by Istio.
            let live = crd(Some(live), &[("v1", true, spec(&["hosts", "gone"]))]);
            assert_eq!(decide(&ours(), &live), decision, "{live}");
        }
    }

    #[test]
    fn an_unlabeled_crd_is_replaced_only_without_loss() {
        for (name, live, losses) in [
            ("same", vec![("v1", true, spec(&["hosts", "ports"]))], vec![]),
            ("less", vec![("v1", true, spec(&["hosts"]))], vec![]),
            ("more fields", vec![("v1", true, spec(&["hosts", "tls"]))], vec!["v1.spec.tls"]),
            ("more versions", vec![("v1", true, spec(&[])), ("v2", true, spec(&[]))], vec!["version v2"]),
            ("a version that is not served", vec![("v1alpha1", false, spec(&["old"]))], vec![]),
        ] {
            for stamp in [None, Some("unknown")] {
                let expected = match losses.as_slice() {
                    [] => CrdDecision::Replace,
                    losses => CrdDecision::WouldLose(losses.iter().map(ToString::to_string).collect()),
                };
                assert_eq!(decide(&ours(), &crd(stamp, &live)), expected, "{name}");
            }
        }
    }

    #[test]
    fn a_crd_with_objects_stored_in_an_unknown_version_stays() {
        for stamp in [None, Some("1.30.3")] {
            let mut live = crd(stamp, &[("v1", true, spec(&["hosts"]))]);
            live["status"] = json!({"storedVersions": ["v1alpha3", "v1"]});
            let decision = decide(&ours(), &live);
            assert_eq!(decision, CrdDecision::WouldLose(vec!["stored version v1alpha3".to_owned()]));
            let warning = decision.warning("gateways.networking.istio.io", "1.31.0").unwrap();
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
        let ours = crd(None, &[("v1", true, nested("a"))]);
        let live = crd(None, &[("v1", true, nested("b"))]);
        let CrdDecision::WouldLose(losses) = decide(&ours, &live) else { panic!("not noticed") };
        assert_eq!(losses, ["v1.list[].b", "v1.map.*.b"]);
        let open = crd(None, &[("v1", true, json!({"x-kubernetes-preserve-unknown-fields": true}))]);
        assert_eq!(decide(&open, &live), CrdDecision::Replace);
        assert_eq!(
            decide(&live, &open),
            CrdDecision::WouldLose(vec!["v1.*".to_owned()]),
            "it keeps everything that users write"
        );
        let closed = crd(None, &[("v1", true, json!({"properties": {"list": {}, "map": {}}}))]);
        let missing = ["v1.list[]", "v1.map.*"].map(str::to_owned);
        assert_eq!(decide(&closed, &live), CrdDecision::WouldLose(missing.into()));
    }

    /// Istio's CRDs without the label, as the Go operator and Helm install them.
    fn unlabeled_crds(bundle: &Bundle) -> Vec<Value> {
        let crds = bundle.crds().map(|crd| {
            let mut crd = crd.unwrap();
            crd["metadata"]["labels"] = Value::Null;
            crd
        });
        crds.collect()
    }

    #[test]
    fn istio_crds_replace_themselves_but_not_those_of_a_newer_istio() {
        const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let crds = unlabeled_crds(&Bundle::embedded());
        assert!(crds.len() > 10);
        for ours in &crds {
            assert_eq!(decide(ours, ours), CrdDecision::Replace);
            let mut newer = ours.clone();
            newer.pointer_mut(SPEC).unwrap()["ofTheFuture"] = json!({"type": "string"});
            assert_eq!(decide(&newer, ours), CrdDecision::Replace);
            let version = ours.pointer("/spec/versions/0/name").and_then(Value::as_str).unwrap();
            let missing = format!("{version}.spec.ofTheFuture");
            assert_eq!(
                decide(ours, &newer),
                CrdDecision::WouldLose(vec![missing]),
                "{}",
                ours["metadata"]["name"]
            );
        }
    }

    /// With the charts of real older versions: each may be upgraded, and none may return.
    #[test]
    #[ignore = "needs charts of older versions, ISTIO_BUNDLES=<folder> (see the Makefile)"]
    fn crds_of_real_older_versions_are_replaced_and_never_return() {
        let folder = std::path::PathBuf::from(std::env::var_os("ISTIO_BUNDLES").unwrap());
        let ours = unlabeled_crds(&Bundle::embedded());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let version = entry.unwrap().file_name().into_string().unwrap();
            let Some(older) = release_version(&version)
                .filter(|version| version < &release_version(Bundle::embedded().version()).unwrap())
            else {
                continue;
            };
            let theirs = unlabeled_crds(&Bundle::open(&folder, &version).unwrap());
            let same =
                |crd: &&Value| ours.iter().find(|ours| ours["metadata"]["name"] == crd["metadata"]["name"]);
            let pairs = || theirs.iter().map(|theirs| (same(&theirs).unwrap(), theirs));
            for (ours, theirs) in pairs() {
                assert_eq!(
                    decide(ours, theirs),
                    CrdDecision::Replace,
                    "{older}: {}",
                    theirs["metadata"]["name"]
                );
            }
            let blocked =
                pairs().filter(|(ours, theirs)| decide(theirs, ours) != CrdDecision::Replace).count();
            assert!(blocked > 0, "{older} has all fields of {}", Bundle::embedded().version());
        }
    }

    #[test]
    fn a_long_list_of_losses_is_cut_and_counted() {
        let losses = (0..9).map(|i| format!("v1.field{i}")).collect();
        let warning = CrdDecision::WouldLose(losses).warning("x", "1.31.0").unwrap();
        assert!(warning.contains("v1.field4 and 4 more"), "{warning}");
        assert_eq!(CrdDecision::Replace.warning("x", "1.31.0"), None);
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
        fn a_crd_always_replaces_itself(schema in any_schema()) {
            let crd = crd(None, &[("v1", true, schema)]);
            prop_assert_eq!(decide(&crd, &crd), CrdDecision::Replace);
        }

        #[test]
        fn no_field_is_ever_dropped_silently(schema in any_schema(), field in "[d-f]") {
            let mut more = schema.clone();
            more["properties"][field.as_str()] = json!({"type": "string"});
            let ours = crd(None, &[("v1", true, schema.clone())]);
            let live = crd(None, &[("v1", true, more)]);
            let is_reported = decide(&ours, &live) == CrdDecision::WouldLose(vec![format!("v1.{field}")]);
            prop_assert!(is_reported || schema.get("additionalProperties").is_some());
        }
    }
}
