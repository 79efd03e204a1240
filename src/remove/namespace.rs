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
use crate::object::{ObjectId, resource};

/// A kind that people put into namespaces.
#[derive(Clone, Copy)]
struct Kind {
    group: &'static str,
    kind: &'static str,
}

const KINDS: [Kind; 19] = [
    Kind { group: "", kind: "ConfigMap" },
    Kind { group: "", kind: "PersistentVolumeClaim" },
    Kind { group: "", kind: "Pod" },
    Kind { group: "", kind: "Secret" },
    Kind { group: "", kind: "Service" },
    Kind { group: "", kind: "ServiceAccount" },
    Kind { group: "apps", kind: "DaemonSet" },
    Kind { group: "apps", kind: "Deployment" },
    Kind { group: "apps", kind: "StatefulSet" },
    Kind { group: "autoscaling", kind: "HorizontalPodAutoscaler" },
    Kind { group: "batch", kind: "CronJob" },
    Kind { group: "batch", kind: "Job" },
    Kind { group: "gateway.networking.k8s.io", kind: "Gateway" },
    Kind { group: "gateway.networking.k8s.io", kind: "HTTPRoute" },
    Kind { group: "networking.k8s.io", kind: "Ingress" },
    Kind { group: "networking.k8s.io", kind: "NetworkPolicy" },
    Kind { group: "policy", kind: "PodDisruptionBudget" },
    Kind { group: "rbac.authorization.k8s.io", kind: "Role" },
    Kind { group: "rbac.authorization.k8s.io", kind: "RoleBinding" },
];
const PAGE: u32 = 50;

/// What istiod and Kubernetes themselves leave in the namespace.
const LEFTOVERS: [(&str, &str); 12] = [
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
pub async fn user_content(client: &Client, namespace: &str) -> Result<Vec<ObjectId>, Error> {
    stream::iter(KINDS)
        .map(|kind| list(client.clone(), namespace.to_owned(), kind))
        .buffer_unordered(4)
        .try_fold(Vec::new(), |mut all, found| async move {
            all.extend(found);
            Ok(all)
        })
        .await
}

async fn list(client: Client, namespace: String, Kind { group, kind }: Kind) -> Result<Vec<ObjectId>, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource(group, "v1", kind));
    let page = match api.list_metadata(&ListParams::default().limit(PAGE)).await {
        Ok(page) => page,
        // The Gateway API is not installed everywhere.
        Err(error) if is_not_found(&error) => return Ok(Vec::new()),
        Err(source) => return Err(Error { kind, namespace, source: Box::new(source) }),
    };
    let of_a_user = page.items.into_iter().filter(|object| {
        let metadata = &object.metadata;
        let going = metadata.deletion_timestamp.is_some();
        // An owned object goes with its owner, which is judged itself.
        let owned = metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
        !going && !owned && !is_leftover(kind, metadata.name.as_deref().unwrap_or_default())
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

fn is_leftover(kind: &str, name: &str) -> bool {
    LEFTOVERS.contains(&(kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plug_in_ca_and_a_tls_secret_are_of_a_user() {
        assert!(!is_leftover("Secret", "cacerts"));
        assert!(!is_leftover("Secret", "istio-ingressgateway-certs"));
        assert!(!is_leftover("ConfigMap", "elb-deprecated"));
    }

    #[test]
    fn what_istiod_made_does_not_keep_the_namespace() {
        assert!(is_leftover("Secret", "istio-ca-secret"));
        assert!(is_leftover("ConfigMap", "istio-ca-root-cert"));
    }
}
