//! The labels by which Istio's tools know whose an installed object is.
//!
//! Pure. They are for people and other tools; what the operator owns is decided by its inventory.

use super::ComponentName;
use serde_json::{Value, json};

/// Name and namespace of the owning `IstioOperator`. No such resource exists in the cluster; these are the names under
/// which the Kyma reference operator and `istioctl` know the installation.
const OWNER: (&str, &str) = ("default-operator", "istio-system");

/// Labels of every object of a component, as Istio's installer sets them, with the version of Istio for
/// `operator.istio.io/version`.
fn owner_labels(component: ComponentName, version: &str) -> [(&'static str, &str); 6] {
    [
        ("install.operator.istio.io/owning-resource", OWNER.0),
        ("install.operator.istio.io/owning-resource-namespace", OWNER.1),
        ("istio.io/rev", "default"),
        ("operator.istio.io/component", component.as_str()),
        ("operator.istio.io/managed", "Reconcile"),
        ("operator.istio.io/version", version),
    ]
}

/// Adds the owner labels to an object of `component`, for Istio `version`. Those that its chart gave it stay: Istio's
/// charts know the revision and the component of an object better than its caller.
pub fn add_owner_labels(object: &mut Value, component: ComponentName, version: &str) {
    let own = super::layers::entry(object, &["metadata", "labels"]);
    for (label, value) in owner_labels(component, version) {
        if own.get(label).is_none() {
            own[label] = json!(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ComponentName, add_owner_labels};
    use serde_json::json;

    #[test]
    fn labels_are_added_and_those_of_the_chart_stay() {
        let mut object = json!({"metadata": {"name": "a", "labels": {"istio.io/rev": "canary"}}});
        add_owner_labels(&mut object, ComponentName::Pilot, "1.31.0");
        assert_eq!(
            object["metadata"]["labels"],
            json!({
                "istio.io/rev": "canary", "operator.istio.io/managed": "Reconcile", "operator.istio.io/version": "1.31.0",
                "operator.istio.io/component": "Pilot", "install.operator.istio.io/owning-resource": "default-operator",
                "install.operator.istio.io/owning-resource-namespace": "istio-system"})
        );
    }

    #[test]
    fn an_object_without_labels_gets_them_all() {
        let mut object = json!({"metadata": {"name": "a"}});
        add_owner_labels(&mut object, ComponentName::Base, "1.31.0");
        assert_eq!(object["metadata"]["labels"].as_object().unwrap().len(), 6);
    }
}
