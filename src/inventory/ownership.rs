//! The origin of an object, and whether it may be deleted once it is no longer planned.
//!
//! Pure. A value in the `Istio` resource, or another version of the charts, can plan an object that exists already. Applying it
//! makes its fields ours, but not the object: an object that others made for another purpose is released and never deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use k8s_openapi::jiff::SignedDuration;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::Record;
use crate::api::names::{FIELD_MANAGER, ISTIO_NAMESPACE, OPERATOR_NAMESPACE};
use crate::kubernetes::object::ObjectId;
use crate::plan::access;

/// The objects that installers of Istio create, one per line: everything that the charts and the operator render without values
/// of the `Istio` resource. Written by `make generate`, compared with the charts by `cargo test --test permissions`.
const ISTIO_OBJECTS: &str = include_str!("istio_objects.txt");

/// How far the time of an entry in the managed fields may differ from the creation that it records: the API server takes both
/// in whole seconds, one after the other.
const CREATION_TOLERANCE: SignedDuration = SignedDuration::from_secs(1);

/// Where an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Our first write created it.
    Created,
    /// It existed before, as part of an Istio that another installer created.
    Istio,
    /// It existed before, for another purpose.
    Foreign,
}

impl Origin {
    /// Where an object comes from, given its metadata as our first write returned it.
    #[must_use]
    pub fn of_first_write(id: &ObjectId, metadata: &ObjectMeta) -> Self {
        if was_created_by_us(metadata) {
            Self::Created
        } else if is_istio_object(id) {
            Self::Istio
        } else {
            Self::Foreign
        }
    }
}

/// Whether an object that is no longer planned may be deleted; otherwise it is only released.
///
/// Inventories of version 0.1 do not record origins. Then an object may be deleted if installers of Istio create it, or if it is
/// in the namespace of the control plane or of the operator.
#[must_use]
pub fn may_be_deleted(id: &ObjectId, record: &Record) -> bool {
    match record.origin {
        Some(Origin::Created | Origin::Istio) => true,
        Some(Origin::Foreign) => false,
        None => is_istio_object(id) || is_in_own_namespace(id),
    }
}

/// Whether installers of Istio create an object, by its identity alone.
#[must_use]
pub fn is_istio_object(id: &ObjectId) -> bool {
    access::is_operator_role_binding(id) || ISTIO_OBJECTS.lines().any(|line| line == describe(id))
}

/// Whether an object is in the namespace of the control plane or of the operator.
#[must_use]
pub fn is_in_own_namespace(id: &ObjectId) -> bool {
    id.namespace
        .as_deref()
        .is_some_and(|namespace| [ISTIO_NAMESPACE, OPERATOR_NAMESPACE].contains(&namespace))
}

/// The line of an object in the list: kind, group, namespace and name, without the version.
#[must_use]
pub fn describe(id: &ObjectId) -> String {
    let group = if id.group.is_empty() { String::new() } else { format!(".{}", id.group) };
    let namespace = id.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{}{group} {namespace}{}", id.kind, id.name)
}

/// Whether our apply created an object: then we alone manage its fields, and have done so since its creation.
///
/// If in doubt, no: a creation that goes unnoticed leaves an object behind, the opposite error would delete one of others.
fn was_created_by_us(metadata: &ObjectMeta) -> bool {
    let entries: Vec<&ManagedFieldsEntry> =
        metadata.managed_fields.iter().flatten().filter(|entry| is_of_whole_object(entry)).collect();
    let [only] = entries.as_slice() else { return false };
    let is_ours =
        only.manager.as_deref() == Some(FIELD_MANAGER) && only.operation.as_deref() == Some("Apply");
    let (Some(written), Some(created)) = (&only.time, &metadata.creation_timestamp) else { return false };
    is_ours && written.0.duration_since(created.0).abs() <= CREATION_TOLERANCE
}

fn is_of_whole_object(entry: &ManagedFieldsEntry) -> bool {
    entry.subresource.as_deref().unwrap_or_default().is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Stage;

    const CREATED: &str = "2026-01-01T00:00:10Z";

    fn id(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
        ObjectId {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
        }
    }

    fn entry(manager: &str, operation: &str, subresource: &str, time: &str) -> Value {
        json!({"manager": manager, "operation": operation, "subresource": subresource, "time": time})
    }

    fn metadata(entries: &[Value]) -> ObjectMeta {
        serde_json::from_value(json!({"creationTimestamp": CREATED, "managedFields": entries})).unwrap()
    }

    #[test]
    fn only_an_object_that_our_first_write_created_is_created() {
        let ours = entry(FIELD_MANAGER, "Apply", "", CREATED);
        let status = entry("kube-controller-manager", "Update", "status", CREATED);
        for (case, entries, expected) in [
            ("ours alone", vec![ours.clone()], true),
            ("a status beside it", vec![ours.clone(), status], true),
            ("the second turned", vec![entry(FIELD_MANAGER, "Apply", "", "2026-01-01T00:00:11Z")], true),
            ("applied later", vec![entry(FIELD_MANAGER, "Apply", "", "2026-01-01T00:00:12Z")], false),
            ("another manager", vec![ours.clone(), entry("kubectl", "Update", "", CREATED)], false),
            (
                "without managed fields before",
                vec![ours, entry("before-first-apply", "Update", "", CREATED)],
                false,
            ),
            ("not applied", vec![entry(FIELD_MANAGER, "Update", "", CREATED)], false),
            ("of another manager", vec![entry("helm", "Apply", "", CREATED)], false),
            ("nothing known", vec![], false),
        ] {
            assert_eq!(was_created_by_us(&metadata(&entries)), expected, "{case}");
        }
    }

    #[test]
    fn an_existing_object_is_of_istio_or_foreign_by_its_identity() {
        let before = metadata(&[entry("kubectl", "Update", "", CREATED)]);
        for (id, expected) in [
            (id("", "ConfigMap", Some("istio-system"), "istio"), Origin::Istio),
            (id("rbac.authorization.k8s.io", "ClusterRole", None, "istio-cni"), Origin::Istio),
            (
                id(
                    "rbac.authorization.k8s.io",
                    "RoleBinding",
                    Some("istio-system"),
                    "istio-manager-control-plane",
                ),
                Origin::Istio,
            ),
            (id("", "ConfigMap", Some("kube-system"), "coredns"), Origin::Foreign),
            (id("", "ConfigMap", Some("kube-system"), "istio"), Origin::Foreign),
            (id("", "ConfigMap", Some("istio-system"), "of-a-user"), Origin::Foreign),
            (id("rbac.authorization.k8s.io", "ClusterRole", None, "cluster-admin"), Origin::Foreign),
            (id("example.com", "ClusterRole", None, "istio-cni"), Origin::Foreign),
        ] {
            assert_eq!(Origin::of_first_write(&id, &before), expected, "{id}");
        }
    }

    #[test]
    fn without_origins_only_istio_objects_may_be_deleted() {
        let unknown = Record::planned(Stage::Configuration);
        for (id, expected) in [
            (id("", "ConfigMap", Some("istio-system"), "istio"), true),
            (id("", "ConfigMap", Some("istio-system"), "added-by-a-value"), true),
            (id("", "ConfigMap", Some("kyma-system"), "x"), true),
            (id("", "ConfigMap", Some("kube-system"), "coredns"), false),
            (id("", "Namespace", None, "istio-system"), true),
            (id("", "Namespace", None, "shop"), false),
            (id("rbac.authorization.k8s.io", "ClusterRole", None, "cluster-admin"), false),
        ] {
            assert_eq!(may_be_deleted(&id, &unknown), expected, "{id}");
        }
    }

    proptest! {
        #[test]
        fn a_foreign_object_is_never_deleted(group in "[a-z.]{0,5}", kind in "[A-Z][a-z]{1,9}", name in "[a-z-]{1,20}") {
            let record = Record { origin: Some(Origin::Foreign), ..Record::planned(Stage::Configuration) };
            for namespace in [None, Some("istio-system"), Some("kyma-system"), Some("kube-system")] {
                prop_assert!(!may_be_deleted(&id(&group, &kind, namespace, &name), &record));
            }
        }
    }
}
