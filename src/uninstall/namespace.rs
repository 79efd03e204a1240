//! Finds objects of users in the namespace of the control plane.
//!
//! Deleting a namespace deletes everything in it. Users keep TLS Secrets of gateways and plug-in CAs there, so it is deleted only
//! when nothing but objects of istiod and Kubernetes itself remains.

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use thiserror::Error;

use crate::api::names::CONTROL_PLANE_ROLE;
use crate::kubernetes::is_not_found;
use crate::kubernetes::object::{ObjectId, ObjectKind, resource};

/// A kind of which users create objects in namespaces.
#[derive(Clone, Copy)]
struct NamespacedKind {
    group: &'static str,
    kind: &'static str,
}

const KINDS: [NamespacedKind; 19] = [
    NamespacedKind { group: "", kind: "ConfigMap" },
    NamespacedKind { group: "", kind: "PersistentVolumeClaim" },
    NamespacedKind { group: "", kind: "Pod" },
    NamespacedKind { group: "", kind: "Secret" },
    NamespacedKind { group: "", kind: "Service" },
    NamespacedKind { group: "", kind: "ServiceAccount" },
    NamespacedKind { group: "apps", kind: "DaemonSet" },
    NamespacedKind { group: "apps", kind: "Deployment" },
    NamespacedKind { group: "apps", kind: "StatefulSet" },
    NamespacedKind { group: "autoscaling", kind: "HorizontalPodAutoscaler" },
    NamespacedKind { group: "batch", kind: "CronJob" },
    NamespacedKind { group: "batch", kind: "Job" },
    NamespacedKind { group: "gateway.networking.k8s.io", kind: "Gateway" },
    NamespacedKind { group: "gateway.networking.k8s.io", kind: "HTTPRoute" },
    NamespacedKind { group: "networking.k8s.io", kind: "Ingress" },
    NamespacedKind { group: "networking.k8s.io", kind: "NetworkPolicy" },
    NamespacedKind { group: "policy", kind: "PodDisruptionBudget" },
    NamespacedKind { group: "rbac.authorization.k8s.io", kind: "Role" },
    NamespacedKind { group: "rbac.authorization.k8s.io", kind: "RoleBinding" },
];
const PAGE_SIZE: u32 = 50;

/// Objects that istiod and Kubernetes themselves create in the namespace.
const SYSTEM_OBJECTS: [(&str, &str); 12] = [
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "istio-ca-crl"),
    ("ConfigMap", "istio-gateway-deployment-default"),
    ("ConfigMap", "istio-gateway-status-leader"),
    ("ConfigMap", "istio-ip-autoallocate"),
    ("ConfigMap", "istio-leader"),
    ("ConfigMap", "istio-namespace-controller-election"),
    ("ConfigMap", "istio-node-untaint"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("Secret", "istio-ca-secret"),
    ("ServiceAccount", "default"),
    // The operator's access, which is needed until everything else is gone.
    ("RoleBinding", CONTROL_PLANE_ROLE),
];

/// The objects in the namespace could not be listed. Then it is kept.
#[derive(Debug, Error)]
#[error("failed to list objects of kind {kind} in namespace {namespace}")]
pub struct Error {
    kind: &'static str,
    namespace: String,
    source: Box<kube::Error>,
}

/// The objects in `namespace` that neither Istio nor Kubernetes creates.
pub async fn find_user_objects(client: &Client, namespace: &str) -> Result<Vec<ObjectId>, Error> {
    stream::iter(KINDS)
        .map(|kind| list(client.clone(), namespace.to_owned(), kind))
        .buffer_unordered(4)
        .try_fold(Vec::new(), |mut all, found| async move {
            all.extend(found);
            Ok(all)
        })
        .await
}

async fn list(
    client: Client,
    namespace: String,
    NamespacedKind { group, kind }: NamespacedKind,
) -> Result<Vec<ObjectId>, Error> {
    let resource = resource(group, "v1", kind);
    let object_kind = ObjectKind::of(&resource);
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let page = match api.list_metadata(&ListParams::default().limit(PAGE_SIZE)).await {
        Ok(page) => page,
        // The Gateway API is not installed everywhere.
        Err(error) if is_not_found(&error) => return Ok(Vec::new()),
        Err(source) => return Err(Error { kind, namespace, source: Box::new(source) }),
    };
    let of_a_user = page.items.into_iter().filter(|object| {
        let metadata = &object.metadata;
        let is_terminating = metadata.deletion_timestamp.is_some();
        // An owned object is deleted with its owner, which is checked itself.
        let is_owned = metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
        !is_terminating && !is_owned && !is_system_object(kind, metadata.name.as_deref().unwrap_or_default())
    });
    Ok(of_a_user.map(|object| object_kind.object(&object.metadata)).collect())
}

fn is_system_object(kind: &str, name: &str) -> bool {
    SYSTEM_OBJECTS.contains(&(kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plug_in_ca_and_a_tls_secret_are_of_a_user() {
        assert!(!is_system_object("Secret", "cacerts"));
        assert!(!is_system_object("Secret", "istio-ingressgateway-certs"));
        assert!(!is_system_object("ConfigMap", "elb-deprecated"));
    }

    #[test]
    fn objects_of_istiod_do_not_keep_the_namespace() {
        assert!(is_system_object("Secret", "istio-ca-secret"));
        assert!(is_system_object("ConfigMap", "istio-ca-root-cert"));
    }
}
