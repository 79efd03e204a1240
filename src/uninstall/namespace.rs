//! Whether the control plane's namespace holds anything of a user.
//!
//! Deleting a namespace deletes what is in it. Users keep TLS secrets of gateways and plug-in CAs there, so it goes only
//! when nothing but leftovers of Istio and Kubernetes itself is left.

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use thiserror::Error;

use crate::api::names::CONTROL_PLANE_ROLE;
use crate::kubernetes::is_not_found;
use crate::kubernetes::object::{ObjectId, resource};

/// A kind that people put into namespaces.
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

/// What istiod and Kubernetes themselves leave in the namespace.
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
    // Our own access, which is needed until everything else is gone.
    ("RoleBinding", CONTROL_PLANE_ROLE),
];

/// The content of the namespace could not be read; then it stays.
#[derive(Debug, Error)]
#[error("cannot list objects of kind {kind} in namespace {namespace}")]
pub struct Error {
    kind: &'static str,
    namespace: String,
    source: Box<kube::Error>,
}

/// The objects in `namespace` that neither Istio nor Kubernetes put there.
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
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource(group, "v1", kind));
    let page = match api.list_metadata(&ListParams::default().limit(PAGE_SIZE)).await {
        Ok(page) => page,
        // The Gateway API is not installed everywhere.
        Err(error) if is_not_found(&error) => return Ok(Vec::new()),
        Err(source) => return Err(Error { kind, namespace, source: Box::new(source) }),
    };
    let of_a_user = page.items.into_iter().filter(|object| {
        let metadata = &object.metadata;
        let is_terminating = metadata.deletion_timestamp.is_some();
        // An owned object goes with its owner, which is judged itself.
        let is_owned = metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
        !is_terminating && !is_owned && !is_system_object(kind, metadata.name.as_deref().unwrap_or_default())
    });
    Ok(of_a_user
        .map(|object| ObjectId {
            group: group.to_owned(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: Some(namespace.clone()),
            name: object.metadata.name.unwrap_or_default(),
        })
        .collect())
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
