//! Which objects have open fields, and under which name `fields.txt` lists these.
//!
//! Pure. An object that is not here is closed as a whole.

use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY, ISTIO_NAMESPACE};
use crate::kubernetes::object::ObjectId;

/// Names of all subjects.
#[cfg(test)]
pub(crate) const ALL: [&str; 18] = [
    "istiod",
    "gateway",
    "cni",
    "ztunnel",
    "istiod-service",
    "gateway-service",
    "autoscaler",
    "budget",
    "gateway-policy",
    "quota",
    "values-copy",
    "overlay-deployment",
    "overlay-service",
    "overlay-autoscaler",
    "overlay-budget",
    "mesh",
    "injection-config",
    "injection-values",
];

/// What of an object may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicySubject {
    /// Fields of the object, listed under this name.
    Fields(&'static str),
    /// The mesh configuration in its texts.
    Mesh,
    /// The injection settings in its texts.
    Injection,
    /// Overlays for gateways that istiod makes, in its texts.
    Overlays,
    /// Nothing.
    Closed,
}

impl PolicySubject {
    pub fn of(id: &ObjectId) -> Self {
        if id.namespace.as_deref() != Some(ISTIO_NAMESPACE) {
            return Self::Closed;
        }
        let is_gateway = matches!(&*id.name, INGRESS_GATEWAY | EGRESS_GATEWAY);
        let is_scaled = is_gateway || id.name == "istiod";
        match (&*id.group, &*id.kind, &*id.name) {
            ("apps", "Deployment", "istiod") => Self::Fields("istiod"),
            ("apps", "Deployment", _) if is_gateway => Self::Fields("gateway"),
            ("apps", "DaemonSet", "istio-cni-node") => Self::Fields("cni"),
            ("apps", "DaemonSet", "ztunnel") => Self::Fields("ztunnel"),
            ("", "Service", "istiod" | "istiod-revision-tag-default") => Self::Fields("istiod-service"),
            ("", "Service", _) if is_gateway => Self::Fields("gateway-service"),
            ("autoscaling", "HorizontalPodAutoscaler", _) if is_scaled => Self::Fields("autoscaler"),
            ("policy", "PodDisruptionBudget", _) if is_scaled => Self::Fields("budget"),
            ("networking.k8s.io", "NetworkPolicy", _) if is_gateway => Self::Fields("gateway-policy"),
            ("", "ResourceQuota", "istio-cni-resource-quota" | "ztunnel") => Self::Fields("quota"),
            ("", "ConfigMap", "istio") => Self::Mesh,
            ("", "ConfigMap", "istio-sidecar-injector") => Self::Injection,
            ("", "ConfigMap", "values") => Self::Fields("values-copy"),
            ("", "ConfigMap", name) if class_of_overlays(name).is_some() => Self::Overlays,
            _ => Self::Closed,
        }
    }
}

/// The class of gateways that a `ConfigMap` of this name has overlays for.
pub(crate) fn class_of_overlays(name: &str) -> Option<&str> {
    let class = name.strip_prefix("istio-default-gatewayclass-")?;
    crate::names::is_dns_label(class).then_some(class)
}
