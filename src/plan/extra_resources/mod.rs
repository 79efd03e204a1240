//! Objects that no chart renders: the control plane's namespace, the mesh-wide mTLS policy, and what accompanies Istio
//! on some clusters only. They follow the user's ports, annotations, certificate authority, and topology.
//!
//! Pure. An object whose condition ends is no longer planned, so that it is pruned by the inventory.

mod addresses;
mod gateway_ports;
mod network_policies;
mod proxy_protocol;
mod vertical_autoscalers;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::cluster::ClusterFacts;
use super::configuration::uses_proxy_protocol;
use crate::api::names;
use crate::validate::ValidatedSpec;

/// Everything that the charts do not render for a resource on a cluster, except the namespace. `document` is the configuration
/// that was built from both; `owner` is the resource itself, where it exists.
#[must_use]
pub fn extra_resources(
    spec: &ValidatedSpec,
    facts: &ClusterFacts,
    document: &Value,
    owner: Option<&OwnerReference>,
) -> Vec<Value> {
    let mut objects = vec![mesh_wide_mtls()];
    if spec.network_policies_enabled {
        objects.extend(network_policies::network_policies(facts.api_port, document));
    }
    if facts.vertical_autoscaling {
        objects.push(vertical_autoscalers::operator_autoscaler(owner));
        if facts.features.enable_control_plane_vpa {
            objects.extend(vertical_autoscalers::istio_autoscalers(facts, document));
        }
    }
    if uses_proxy_protocol(document) && !proxy_protocol::is_read_by_topology(document) {
        objects.push(proxy_protocol::filter());
    }
    objects
}

/// The namespace of the control plane.
///
/// It is planned here and not part of the operator's manifest, so that no pruning tool deletes users' Secrets with it.
#[must_use]
pub fn control_plane_namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": names::ISTIO_NAMESPACE,
            "labels": {
                names::WARDEN_LABEL: names::WARDEN_LABEL_VALUE,
                "operator.kyma-project.io/managed-by": "kyma",
            },
            "annotations": {names::DISCLAIMER_ANNOTATION: names::DISCLAIMER},
        },
    })
}

/// The policy that makes every sidecar accept mutual TLS only.
///
/// In the root namespace and without a selector it holds for the whole mesh (Istio, `PeerAuthentication` reference).
fn mesh_wide_mtls() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": metadata("default", names::ISTIO_NAMESPACE, operator_labels()),
        "spec": {"mtls": {"mode": "STRICT"}},
    })
}

/// Metadata with the labels and the annotation that every object here has. The module's label is added to all planned
/// objects alike.
fn metadata(name: &str, namespace: &str, mut labels: Value) -> Value {
    labels["app.kubernetes.io/version"] = json!(env!("CARGO_PKG_VERSION"));
    json!({
        "name": name,
        "namespace": namespace,
        "labels": labels,
        "annotations": {names::DISCLAIMER_ANNOTATION: names::DISCLAIMER},
    })
}

/// Labels of what belongs to the operator as a whole.
fn operator_labels() -> Value {
    json!({
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/instance": "istio-operator-default",
        "app.kubernetes.io/name": "istio-operator",
        "app.kubernetes.io/part-of": "istio",
    })
}

#[cfg(test)]
mod tests;
