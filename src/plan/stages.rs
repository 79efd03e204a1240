//! The order in which objects reach the cluster.
//!
//! Pure: sorts rendered objects into stages; a stage starts only when the one before it is complete.

use std::fmt;

use istio_charts::ComponentName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A step of the installation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The namespace of the control plane.
    Namespace,
    /// Istio's custom resource definitions. The API server establishes them while the stages up to istiod are written.
    CustomResourceDefinitions,
    /// Identities of the workloads.
    ServiceAccounts,
    /// The permissions of the workloads.
    Roles,
    /// Who has them; apart from the roles, because the API server refuses to bind a role that it does not know yet.
    RoleBindings,
    /// ConfigMaps and quotas, which workloads read when they start; complete when the CRDs are established, too.
    Configuration,
    /// istiod with its Services and validators; complete when one replica serves.
    Istiod,
    /// Webhooks that inject sidecars. Not before an istiod serves: until then they would only refuse pods. Complete when
    /// they can call it, and all of istiod is rolled out.
    Injection,
    /// The CNI agent on each node.
    Cni,
    /// Ingress and egress gateways, and ztunnel.
    Gateways,
    /// Istio resources and other objects of this operator, which istiod validates.
    Extras,
}

impl Stage {
    /// All stages, first to last.
    pub const ALL: [Self; 11] = [
        Self::Namespace,
        Self::CustomResourceDefinitions,
        Self::ServiceAccounts,
        Self::Roles,
        Self::RoleBindings,
        Self::Configuration,
        Self::Istiod,
        Self::Injection,
        Self::Cni,
        Self::Gateways,
        Self::Extras,
    ];

    /// The stage in which an object of this one is written, given whether it was written before.
    ///
    /// Webhooks that inject already are written together with istiod: if they waited for an istiod that does not start, nobody
    /// would revert changes of them.
    #[must_use]
    pub const fn write_stage(self, exists: bool) -> Self {
        match self {
            Self::Injection if exists => Self::Istiod,
            own => own,
        }
    }

    /// How many objects of the stage may be written at the same time.
    ///
    /// One where order matters: Services before the workloads behind them, webhooks last.
    #[must_use]
    pub const fn concurrency(self) -> usize {
        match self {
            Self::CustomResourceDefinitions => 3,
            Self::ServiceAccounts | Self::Roles | Self::RoleBindings | Self::Configuration => 6,
            Self::Namespace | Self::Istiod | Self::Injection | Self::Cni | Self::Gateways | Self::Extras => 1,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "namespace",
            Self::CustomResourceDefinitions => "custom resource definitions",
            Self::ServiceAccounts => "service accounts",
            Self::Roles => "roles",
            Self::RoleBindings => "role bindings",
            Self::Configuration => "configuration",
            Self::Istiod => "istiod",
            Self::Injection => "sidecar injection",
            Self::Cni => "CNI",
            Self::Gateways => "gateways",
            Self::Extras => "extra resources",
        })
    }
}

/// The stage of an object that a chart of `component` rendered.
#[must_use]
pub fn stage_of(component: ComponentName, object: &Value) -> Stage {
    match kind(object) {
        "Namespace" => Stage::Namespace,
        "CustomResourceDefinition" => Stage::CustomResourceDefinitions,
        "ServiceAccount" => Stage::ServiceAccounts,
        "ClusterRole" | "Role" => Stage::Roles,
        "ClusterRoleBinding" | "RoleBinding" => Stage::RoleBindings,
        "ConfigMap" | "ResourceQuota" => Stage::Configuration,
        "MutatingWebhookConfiguration" => Stage::Injection,
        _ => match component {
            ComponentName::Base | ComponentName::Pilot => Stage::Istiod,
            ComponentName::Cni => Stage::Cni,
            ComponentName::IngressGateways | ComponentName::EgressGateways | ComponentName::Ztunnel => {
                Stage::Gateways
            }
        },
    }
}

/// Position of an object within its stage.
///
/// Services come before the workloads behind them, and webhooks last: the live webhook of the
/// revision tag before the injector that is deactivated behind it, so that there is always one that injects.
#[must_use]
pub fn write_rank(object: &Value) -> u8 {
    match kind(object) {
        "Service" => 0,
        "Deployment" | "DaemonSet" => 1,
        "MutatingWebhookConfiguration" if is_revision_tag(object) => 3,
        "MutatingWebhookConfiguration" => 4,
        "ValidatingWebhookConfiguration" => 5,
        _ => 2,
    }
}

fn is_revision_tag(object: &Value) -> bool {
    object.pointer("/metadata/labels").is_some_and(|labels| labels.get("istio.io/tag").is_some())
}

fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str) -> Value {
        json!({"kind": kind, "metadata": {"name": "x"}})
    }

    #[test]
    fn workloads_come_after_what_they_need() {
        for earlier in
            ["ServiceAccount", "ClusterRole", "RoleBinding", "ConfigMap", "CustomResourceDefinition"]
        {
            for component in [ComponentName::Pilot, ComponentName::Cni, ComponentName::IngressGateways] {
                assert!(
                    stage_of(component, &object(earlier)) < stage_of(component, &object("Deployment")),
                    "{earlier}"
                );
            }
        }
    }

    #[test]
    fn a_role_is_there_before_it_is_bound() {
        for (role, binding) in [("ClusterRole", "ClusterRoleBinding"), ("Role", "RoleBinding")] {
            let stage = |kind| stage_of(ComponentName::Pilot, &object(kind));
            assert!(stage(role) < stage(binding), "{binding}");
        }
    }

    #[test]
    fn injection_comes_after_istiod_and_before_gateways() {
        let stage = |component, kind| stage_of(component, &object(kind));
        let injector = stage(ComponentName::Pilot, "MutatingWebhookConfiguration");
        assert!(stage(ComponentName::Pilot, "Deployment") < injector);
        assert!(injector < stage(ComponentName::IngressGateways, "Deployment"));
    }

    #[test]
    fn only_existing_webhooks_are_written_with_istiod() {
        for stage in Stage::ALL {
            assert_eq!(stage.write_stage(false), stage);
            let expected = if stage == Stage::Injection { Stage::Istiod } else { stage };
            assert_eq!(stage.write_stage(true), expected);
        }
    }

    #[test]
    fn gateways_wait_for_istiod_and_cni() {
        let stage = |component| stage_of(component, &object("Deployment"));
        assert!(stage(ComponentName::Pilot) < stage(ComponentName::Cni));
        assert!(stage(ComponentName::Cni) < stage(ComponentName::IngressGateways));
    }

    #[test]
    fn the_live_injector_is_written_before_the_deactivated_one() {
        let mut tag = object("MutatingWebhookConfiguration");
        tag["metadata"]["labels"] = json!({"istio.io/tag": "default"});
        assert!(write_rank(&tag) < write_rank(&object("MutatingWebhookConfiguration")));
        assert!(write_rank(&object("Deployment")) < write_rank(&tag));
    }
}
