//! Objects that no chart renders: the control plane's namespace and the mesh-wide mTLS policy.

use serde_json::{Value, json};

use crate::api::names;

/// The namespace of the control plane.
///
/// It is made here and not by the operator's manifest, so that no pruning tool takes users' secrets with it.
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
#[must_use]
pub fn mesh_wide_mtls() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {
            "name": "default",
            "namespace": names::ISTIO_NAMESPACE,
            "labels": {
                "app.kubernetes.io/component": "operator",
                "app.kubernetes.io/instance": "istio-operator-default",
                "app.kubernetes.io/name": "istio-operator",
                "app.kubernetes.io/part-of": "istio",
                "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
            },
            "annotations": {names::DISCLAIMER_ANNOTATION: names::DISCLAIMER},
        },
        "spec": {"mtls": {"mode": "STRICT"}},
    })
}
