//! The operator's own access to the namespace of the control plane.
//!
//! Pure. Most permissions of the operator hold in that namespace only. It creates the namespace, so no manifest can bind the
//! role there beforehand: the operator does, with the one role that it may bind.

use serde_json::{Value, json};

use super::{Error, Plan, Stage};
use crate::api::names::{CONTROL_PLANE_ROLE, ISTIO_NAMESPACE};
use crate::kubernetes::ServiceAccountRef;
use crate::kubernetes::object::ObjectId;

/// The binding of the control plane's role to the operator's `ServiceAccount`.
#[must_use]
pub fn operator_role_binding(account: &ServiceAccountRef) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": CONTROL_PLANE_ROLE, "namespace": ISTIO_NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CONTROL_PLANE_ROLE},
        "subjects": [{"kind": "ServiceAccount", "namespace": account.namespace, "name": account.name}],
    })
}

/// Whether an object is that binding, for whatever account.
#[must_use]
pub fn is_operator_role_binding(id: &ObjectId) -> bool {
    id.is("rbac.authorization.k8s.io", "RoleBinding")
        && id.namespace.as_deref() == Some(ISTIO_NAMESPACE)
        && id.name == CONTROL_PLANE_ROLE
}

impl Plan {
    /// The plan with access for `account`, right after the namespace. A person who runs the operator has permissions of their
    /// own and needs none.
    pub fn with_access(mut self, account: Option<&ServiceAccountRef>) -> Result<Self, Error> {
        if let Some(account) = account {
            self.add(Stage::Namespace, operator_role_binding(account))?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binding_is_recognized_by_its_identity() {
        let account = ServiceAccountRef { namespace: "kyma-system".into(), name: "operator".into() };
        let id = ObjectId::of(&operator_role_binding(&account)).unwrap();
        assert!(is_operator_role_binding(&id));
        assert!(!is_operator_role_binding(&ObjectId { name: "istiod".into(), ..id.clone() }));
        assert!(!is_operator_role_binding(&ObjectId { namespace: Some("kube-system".into()), ..id.clone() }));
        assert!(!is_operator_role_binding(&ObjectId { kind: "Role".into(), ..id }));
    }
}
