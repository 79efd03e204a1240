//! Legacy resources: objects that a previous installer created, `istioctl` or the Go operator. Listed once, at the adoption.
//!
//! Labels alone prove nothing, because others copy them; the installer's field manager, which is also ours, must have applied the
//! object, too. Gateways are an exception: one that is not planned may be in use, so that only those of the Go operator, which
//! deletes them itself, are legacy resources.

use istio_charts::ComponentName;
use kube::api::{DynamicObject, ListParams, ObjectMeta};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;

use crate::api::names::ISTIO_NAMESPACE;
use crate::inventory::Record;
use crate::inventory::ownership::{self, Origin};
use crate::kubernetes::object::{ObjectId, ObjectKind, resource};
use crate::kubernetes::ok_if_not_found;
use crate::plan::stage_of;
use crate::ssa::apply::own_entry_digest;

/// The kinds that Istio's installer prunes, of those that its charts render.
const KINDS: [(&str, &str, &str); 13] = [
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
    ("", "v1", "ServiceAccount"),
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"),
    ("apps", "v1", "DaemonSet"),
    ("apps", "v1", "Deployment"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
];
/// Istio's installer sets both labels on everything that it applies.
const INSTALLER_SELECTOR: &str = "operator.istio.io/managed=Reconcile,operator.istio.io/component";
/// The owner that the Go operator sets on its objects.
const GO_OPERATOR: &str = "default-operator";

/// The objects of one kind could not be listed.
#[derive(Debug, Error)]
#[error("failed to list objects of kind {kind}")]
pub struct Error {
    /// The kind.
    pub kind: &'static str,
    /// The response of the API server.
    pub source: Box<kube::Error>,
}

/// The objects of the default revision that a previous installer created, whether they are planned or not.
pub async fn find_legacy_resources(client: &Client) -> Result<Vec<(ObjectId, Record)>, Error> {
    let mut found = Vec::new();
    for (group, version, kind) in KINDS {
        found.extend(list(client.clone(), group, version, kind).await?);
    }
    Ok(found)
}

async fn list(
    client: Client,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
) -> Result<Vec<(ObjectId, Record)>, Error> {
    let resource = resource(group, version, kind);
    let object_kind = ObjectKind::of(&resource);
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let found = ok_if_not_found(api.list_metadata(&ListParams::default().labels(INSTALLER_SELECTOR)).await);
    let found = found.map_err(|source| Error { kind, source: Box::new(source) })?;
    let made = found.into_iter().flat_map(|list| list.items).filter_map(|object| {
        let metadata = object.metadata;
        let component = installer_component(kind, &metadata)?;
        let id = object_kind.object(&metadata);
        let stage = stage_of(component, &json!({"kind": kind}));
        let record = Record { uid: metadata.uid, origin: Some(Origin::Istio), ..Record::planned(stage) };
        is_in_installation(&id).then_some((id, record))
    });
    Ok(made.collect())
}

/// Whether an object belongs to an installation in the namespace of the control plane. The operator must not delete others, and
/// has no permission to.
fn is_in_installation(id: &ObjectId) -> bool {
    match id.namespace.as_deref() {
        Some(namespace) => namespace == ISTIO_NAMESPACE,
        None => ownership::is_istio_object(id),
    }
}

/// The component of an object that a previous installer created for the default revision.
fn installer_component(kind: &str, metadata: &ObjectMeta) -> Option<ComponentName> {
    let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let component = label("operator.istio.io/component")?;
    let component = ComponentName::ALL.into_iter().find(|name| name.as_str() == component)?;
    let is_gateway = matches!(component, ComponentName::IngressGateways | ComponentName::EgressGateways);
    let is_default = label("istio.io/rev").is_none_or(|revision| revision == "default");
    let is_prunable = label("install.operator.istio.io/owning-resource-not-pruned") != Some("true");
    let is_of_go_operator = label("install.operator.istio.io/owning-resource") == Some(GO_OPERATOR);
    (is_default
        && is_prunable
        && (!is_gateway || is_of_go_operator)
        && own_entry_digest(kind, metadata).is_some())
    .then_some(component)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "cases read better with values")]
    fn metadata(labels: Value, manager: &str) -> ObjectMeta {
        let mut all = json!({"operator.istio.io/component": "Pilot", "istio.io/rev": "default"});
        all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        let managers = json!([{"manager": manager, "operation": "Apply", "fieldsV1": {"f:data": {}}}]);
        serde_json::from_value(json!({"name": "x", "labels": all, "managedFields": managers})).unwrap()
    }

    #[test]
    fn only_objects_of_the_installation_are_legacy_resources() {
        let id = |kind: &str, namespace: Option<&str>, name: &str| match namespace {
            Some(namespace) => ObjectId::namespaced("v1", kind, namespace, name),
            None => ObjectId::cluster_scoped("rbac.authorization.k8s.io/v1", kind, name),
        };
        for (id, expected) in [
            (id("ConfigMap", Some("istio-system"), "retired"), true),
            (id("ConfigMap", Some("kube-system"), "coredns"), false),
            (id("ClusterRole", None, "istio-cni"), true),
            (id("ClusterRole", None, "cluster-admin"), false),
        ] {
            assert_eq!(is_in_installation(&id), expected, "{id}");
        }
    }

    #[test]
    fn objects_applied_for_the_default_revision_are_legacy_resources() {
        let owner = "install.operator.istio.io/owning-resource";
        for (case, labels, manager, expected) in [
            ("istiod", json!({}), "istio-operator", true),
            ("copied labels", json!({}), "endpointslice-controller", false),
            ("another revision", json!({"istio.io/rev": "canary"}), "istio-operator", false),
            ("unknown component", json!({"operator.istio.io/component": "Mine"}), "istio-operator", false),
            (
                "kept",
                json!({"install.operator.istio.io/owning-resource-not-pruned": "true"}),
                "istio-operator",
                false,
            ),
            (
                "gateway of istioctl",
                json!({"operator.istio.io/component": "EgressGateways", owner: "unknown"}),
                "istio-operator",
                false,
            ),
            (
                "gateway of the Go operator",
                json!({"operator.istio.io/component": "EgressGateways", owner: "default-operator"}),
                "istio-operator",
                true,
            ),
        ] {
            assert_eq!(
                installer_component("ConfigMap", &metadata(labels, manager)).is_some(),
                expected,
                "{case}"
            );
        }
    }
}
