//! What holds for every plan, whoever asked for it: each object occurs once, every one is in a namespace that the operator
//! manages, and no container has a variable twice.
//!
//! Pure. `plan` checks what it rendered, and `apply` checks the identities again right before its first write, CRDs included.

use std::collections::HashSet;

use serde_json::Value;
use thiserror::Error;

use super::environment;

use crate::api::names::{ISTIO_NAMESPACE, OPERATOR_NAMESPACE};
use crate::kubernetes::object::ObjectId;
use crate::text::escaped;

/// Longest name in an error, in characters.
const MAX_SHOWN: usize = 80;
/// Namespaces that objects of the plan may be in.
const MANAGED_NAMESPACES: [&str; 2] = [ISTIO_NAMESPACE, OPERATOR_NAMESPACE];

/// Objects outside of [`MANAGED_NAMESPACES`] that Istio's charts have all the same: group, kind, namespace and name. The agent's
/// `NetworkAttachmentDefinition` is read by Multus, which looks for it in this namespace only.
const ALLOWED_ELSEWHERE: [(&str, &str, &str, &str); 1] =
    [("k8s.cni.cncf.io", "NetworkAttachmentDefinition", "default", "istio-cni")];

/// A set of objects that must not be written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BoundaryError {
    /// One object is planned more than once, so that the last write would win.
    #[error("{object} is rendered more than once")]
    Duplicate {
        /// The object.
        object: Box<ObjectId>,
    },
    /// An object is in a namespace that the operator does not manage.
    #[error("{object} is outside of the namespaces {}", MANAGED_NAMESPACES.join(" and "))]
    UnmanagedNamespace {
        /// The object.
        object: Box<ObjectId>,
    },
    /// A container has a variable twice, which the API server refuses.
    #[error("{object} has the environment variable {name} more than once in a container")]
    RepeatedVariable {
        /// The object.
        object: Box<ObjectId>,
        /// The variable.
        name: String,
    },
}

/// Checks the variables of all containers.
///
/// # Errors
/// If a container has a variable twice.
pub(super) fn check_variables<'a>(
    objects: impl IntoIterator<Item = &'a (ObjectId, Value)>,
) -> Result<(), BoundaryError> {
    for (id, object) in objects {
        if let Some(name) = environment::duplicate(object) {
            let name = escaped(name, MAX_SHOWN);
            return Err(BoundaryError::RepeatedVariable { object: Box::new(id.clone()), name });
        }
    }
    Ok(())
}

/// Checks the identities of all objects that are to be written together.
///
/// # Errors
/// If one occurs twice, in whatever version of its API, or is in another namespace.
pub fn check<'a>(ids: impl IntoIterator<Item = &'a ObjectId>) -> Result<(), BoundaryError> {
    let mut seen = HashSet::new();
    for id in ids {
        if !is_managed(id) {
            return Err(BoundaryError::UnmanagedNamespace { object: Box::new(id.clone()) });
        }
        // Without the version: it says in which form an object is written, not which object that is.
        if !seen.insert((&id.group, &id.kind, &id.namespace, &id.name)) {
            return Err(BoundaryError::Duplicate { object: Box::new(id.clone()) });
        }
    }
    Ok(())
}

fn is_managed(id: &ObjectId) -> bool {
    if id.is("", "Namespace") {
        return id.name == ISTIO_NAMESPACE;
    }
    id.namespace.as_deref().is_none_or(|namespace| {
        MANAGED_NAMESPACES.contains(&namespace)
            || ALLOWED_ELSEWHERE.contains(&(&id.group, &id.kind, namespace, &id.name))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
        let metadata = json!({"name": name, "namespace": namespace});
        ObjectId::of(&json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})).unwrap()
    }

    #[test]
    fn objects_lie_in_the_namespaces_that_the_operator_manages() {
        for (id, is_managed) in [
            (id("v1", "ConfigMap", Some("istio-system"), "istio"), true),
            (id("v1", "ConfigMap", Some("kyma-system"), "istio"), true),
            (id("v1", "ConfigMap", Some("kube-system"), "coredns"), false),
            (id("v1", "ConfigMap", Some("istio-system-2"), "istio"), false),
            (id("v1", "Namespace", None, "istio-system"), true),
            (id("v1", "Namespace", None, "kube-system"), false),
            (id("rbac.authorization.k8s.io/v1", "ClusterRole", None, "istiod"), true),
            (id("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", Some("default"), "istio-cni"), true),
            (id("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", Some("default"), "other"), false),
            (id("v1", "ConfigMap", Some("default"), "istio-cni"), false),
        ] {
            let expected = if is_managed {
                Ok(())
            } else {
                Err(BoundaryError::UnmanagedNamespace { object: Box::new(id.clone()) })
            };
            assert_eq!(check([&id]), expected, "{id}");
        }
    }

    #[test]
    fn a_container_has_each_variable_once() {
        let env = |names: [&str; 2]| {
            let env = names.map(|name| json!({"name": name, "value": "x"}));
            let object =
                json!({"spec": {"template": {"spec": {"initContainers": [{"name": "a", "env": env}]}}}});
            (id("apps/v1", "Deployment", Some("istio-system"), "istiod"), object)
        };
        assert_eq!(check_variables([&env(["A", "B"])]), Ok(()));
        let error = check_variables([&env(["A", "A"])]).unwrap_err();
        assert!(matches!(error, BoundaryError::RepeatedVariable { ref name, .. } if name == "A"), "{error}");
    }

    #[test]
    fn an_object_occurs_once_in_any_version() {
        let scaler = |api_version| id(api_version, "HorizontalPodAutoscaler", Some("istio-system"), "istiod");
        let (v2, v1) = (scaler("autoscaling/v2"), scaler("autoscaling/v1"));
        let (other_group, other_name) = (
            id("v1", "HorizontalPodAutoscaler", Some("istio-system"), "istiod"),
            id("autoscaling/v2", "HorizontalPodAutoscaler", Some("istio-system"), "other"),
        );
        assert_eq!(check([&v2, &other_group, &other_name]), Ok(()));
        for twice in [[&v2, &other_name, &v2], [&v2, &other_name, &v1]] {
            assert_eq!(check(twice), Err(BoundaryError::Duplicate { object: Box::new(twice[2].clone()) }));
        }
    }
}
