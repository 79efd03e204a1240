//! What the installer before us made: `istioctl`, or the Go operator. Looked for once, when an installation is taken over.
//!
//! Labels alone prove nothing, since others copy them; what counts besides is that the installer's field manager, which is
//! ours now, applied the object. Gateways are an exception: one that we would not make may well be in use, so only those
//! that the Go operator made, which deletes them itself, are among the leftovers.

use istio_charts::ComponentName;
use kube::api::{DynamicObject, ListParams, ObjectMeta};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;

use crate::api::names::ISTIO_NAMESPACE;
use crate::inventory::Record;
use crate::inventory::ownership::{self, Origin};
use crate::kubernetes::object::{ObjectId, resource};
use crate::kubernetes::ok_if_not_found;
use crate::plan::stage_of;
use crate::ssa::apply::own_entry_digest;

/// The kinds that Istio's installer itself prunes, of those that its charts render.
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
/// Istio's installer puts both labels on all that it applies.
const INSTALLER_SELECTOR: &str = "operator.istio.io/managed=Reconcile,operator.istio.io/component";
/// The owner that the Go operator writes on its objects.
const GO_OPERATOR: &str = "default-operator";

/// The objects of one kind could not be listed.
#[derive(Debug, Error)]
#[error("cannot list objects of kind {kind}")]
pub struct Error {
    /// The kind.
    pub kind: &'static str,
    /// What the API server said.
    pub source: Box<kube::Error>,
}

/// The objects of the default revision that an installer made, whether they are planned or not.
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
    let api: Api<DynamicObject> = Api::all_with(client, &resource(group, version, kind));
    let found = ok_if_not_found(api.list_metadata(&ListParams::default().labels(INSTALLER_SELECTOR)).await);
    let found = found.map_err(|source| Error { kind, source: Box::new(source) })?;
    let made = found.into_iter().flat_map(|list| list.items).filter_map(|object| {
        let metadata = object.metadata;
        let component = installer_component(kind, &metadata)?;
        let id = ObjectId {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            namespace: metadata.namespace,
            name: metadata.name?,
        };
        let stage = stage_of(component, &json!({"kind": kind}));
        let record = Record { uid: metadata.uid, origin: Some(Origin::Istio), ..Record::planned(stage) };
        is_in_installation(&id).then_some((id, record))
    });
    Ok(made.collect())
}

/// Whether an object is where an installation in the namespace of the control plane has its objects. Others are not ours to
/// remove, nor may the operator.
fn is_in_installation(id: &ObjectId) -> bool {
    match id.namespace.as_deref() {
        Some(namespace) => namespace == ISTIO_NAMESPACE,
        None => ownership::is_istio_object(id),
    }
}

/// The component of an object that an installer made for the default revision.
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
        let id = |kind: &str, namespace: Option<&str>, name: &str| ObjectId {
            group: if kind == "ClusterRole" { "rbac.authorization.k8s.io".into() } else { String::new() },
            version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
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
