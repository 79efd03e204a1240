//! The order of an uninstallation.
//!
//! Pure. Injection ends first, so that no new pod depends on what is about to be deleted. Gateways are deleted before the istiod
//! that serves them, the CNI pods before the permissions with which they clean up their node, CRDs and the namespace last.

use std::fmt;

use crate::inventory::{Inventory, Record};
use crate::kubernetes::object::ObjectId;
use crate::plan::{Stage, access};

/// A step of the uninstallation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UninstallStep {
    /// Istio resources that the operator created, while istiod still serves them.
    IstioResources,
    /// Injector webhooks.
    Injectors,
    /// Gateways with their Services.
    Gateways,
    /// Validating webhooks, then istiod behind them.
    ControlPlane,
    /// The CNI agent; complete when its pods are gone.
    Cni,
    /// Configuration, permissions and identities.
    Permissions,
    /// CustomResourceDefinitions.
    Crds,
    /// The operator's own access to the namespace of the control plane, once nothing else of the operator is left there.
    Access,
    /// The namespace of the control plane.
    Namespace,
}

impl UninstallStep {
    /// All steps, first to last.
    pub const ALL: [Self; 9] = [
        Self::IstioResources,
        Self::Injectors,
        Self::Gateways,
        Self::ControlPlane,
        Self::Cni,
        Self::Permissions,
        Self::Crds,
        Self::Access,
        Self::Namespace,
    ];

    /// The objects of this step, in the order of their deletion.
    #[must_use]
    pub fn objects(self, inventory: &Inventory) -> Vec<(ObjectId, Record)> {
        let mut objects: Vec<_> = inventory
            .iter()
            .filter(|(id, record)| step_of(id, record.stage) == self)
            .map(|(id, record)| (id.clone(), record.clone()))
            .collect();
        objects.sort_by_key(|(id, _)| rank(id));
        objects
    }
}

impl fmt::Display for UninstallStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IstioResources => "Istio resources",
            Self::Injectors => "sidecar injection",
            Self::Gateways => "gateways",
            Self::ControlPlane => "istiod",
            Self::Cni => "CNI",
            Self::Permissions => "configuration and permissions",
            Self::Crds => "CustomResourceDefinitions",
            Self::Access => "access to the namespace",
            Self::Namespace => "namespace",
        })
    }
}

fn step_of(id: &ObjectId, stage: Stage) -> UninstallStep {
    if id.group.ends_with(".istio.io") {
        return UninstallStep::IstioResources;
    }
    if access::is_operator_role_binding(id) {
        return UninstallStep::Access;
    }
    match (id.kind.as_str(), stage) {
        ("MutatingWebhookConfiguration", _) => UninstallStep::Injectors,
        ("CustomResourceDefinition", _) => UninstallStep::Crds,
        ("Namespace", _) => UninstallStep::Namespace,
        (_, Stage::Gateways) => UninstallStep::Gateways,
        (_, Stage::Istiod) => UninstallStep::ControlPlane,
        (_, Stage::Cni) => UninstallStep::Cni,
        _ => UninstallStep::Permissions,
    }
}

/// Validators are deleted before the istiod that serves them, autoscalers before what they scale, bindings before roles.
fn rank(id: &ObjectId) -> u8 {
    match id.kind.as_str() {
        "ValidatingWebhookConfiguration" => 0,
        "HorizontalPodAutoscaler" | "PodDisruptionBudget" => 1,
        "Service" => 3,
        "ClusterRole" | "Role" => 4,
        "ServiceAccount" => 5,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        let object = |group: &str, kind: &str| {
            let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
            ObjectId::cluster_scoped(&api_version, kind, &kind.to_lowercase())
        };
        let access = ObjectId::namespaced(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "istio-system",
            "istio-manager-control-plane",
        );
        let mut inventory = Inventory::default();
        inventory.extend([
            (Stage::Namespace, object("", "Namespace")),
            (Stage::Namespace, access),
            (Stage::CustomResourceDefinitions, object("apiextensions.k8s.io", "CustomResourceDefinition")),
            (Stage::ServiceAccounts, object("", "ServiceAccount")),
            (Stage::Roles, object("rbac.authorization.k8s.io", "ClusterRole")),
            (Stage::RoleBindings, object("rbac.authorization.k8s.io", "ClusterRoleBinding")),
            (Stage::Configuration, object("", "ConfigMap")),
            (Stage::Istiod, object("apps", "Deployment")),
            (Stage::Istiod, object("admissionregistration.k8s.io", "ValidatingWebhookConfiguration")),
            (Stage::Istiod, object("admissionregistration.k8s.io", "MutatingWebhookConfiguration")),
            (Stage::Cni, object("apps", "DaemonSet")),
            (Stage::Gateways, object("", "Service")),
            (Stage::Extras, object("security.istio.io", "PeerAuthentication")),
        ]);
        inventory
    }

    #[test]
    fn an_installation_is_uninstalled_in_the_safe_order() {
        let order: Vec<String> = UninstallStep::ALL
            .iter()
            .flat_map(|step| step.objects(&inventory()))
            .map(|(id, _)| id.kind)
            .collect();
        assert_eq!(
            order,
            [
                "PeerAuthentication",
                "MutatingWebhookConfiguration",
                "Service",
                "ValidatingWebhookConfiguration",
                "Deployment",
                "DaemonSet",
                "ConfigMap",
                "ClusterRoleBinding",
                "ClusterRole",
                "ServiceAccount",
                "CustomResourceDefinition",
                "RoleBinding",
                "Namespace",
            ]
        );
    }

    #[test]
    fn every_recorded_object_has_exactly_one_step() {
        let all: usize = UninstallStep::ALL.iter().map(|step| step.objects(&inventory()).len()).sum();
        assert_eq!(all, inventory().iter().count());
    }
}
