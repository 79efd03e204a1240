//! The operator is killed at each stage: after the API server did a write and before its answer came.

use std::collections::BTreeMap;

use istio_manager::api::conditions::State;
use serde_json::{Value, json};
use testbed::{ControlPlane, FaultProxy, TestResult};

use crate::bed::{Bed, Result};
use crate::drift::{applied_objects, content};
use crate::faults::intercept_write;
use crate::removal::assert_nothing_is_left;

/// The first write of each step of an installation: method and part of the path.
const INSTALLATION: [(&str, &str); 15] = [
    ("PATCH", "/istios/default?"),
    ("PATCH", "/secrets/istio-manager-inventory"),
    ("PATCH", "/namespaces/istio-system?"),
    ("PATCH", "/customresourcedefinitions/"),
    ("PATCH", "/serviceaccounts/"),
    ("PATCH", "/clusterroles/"),
    ("PATCH", "/clusterrolebindings/"),
    ("PATCH", "/istio-system/configmaps/"),
    ("PATCH", "/deployments/istiod?"),
    ("PATCH", "/mutatingwebhookconfigurations/"),
    ("PATCH", "/daemonsets/istio-cni-node?"),
    ("PATCH", "/deployments/istio-ingressgateway?"),
    ("PATCH", "/peerauthentications/"),
    ("PATCH", "/secrets/istio-manager-inventory"),
    ("PATCH", "/istios/default?"),
];

/// The same of a removal. Steps whose first object is the only one are told by it.
const REMOVAL: [(&str, &str); 12] = [
    ("DELETE", "/peerauthentications/"),
    ("DELETE", "/mutatingwebhookconfigurations/"),
    ("DELETE", "/deployments/istio-ingressgateway?"),
    ("DELETE", "/validatingwebhookconfigurations/"),
    ("DELETE", "/deployments/istiod?"),
    ("DELETE", "/daemonsets/istio-cni-node?"),
    ("DELETE", "/clusterrolebindings/"),
    ("DELETE", "/serviceaccounts/"),
    ("DELETE", "/customresourcedefinitions/"),
    ("DELETE", "/namespaces/istio-system?"),
    ("DELETE", "/secrets/istio-manager-inventory"),
    ("PATCH", "/istios/default?"),
];

pub async fn an_operator_killed_at_every_stage_installs_and_uninstalls_the_same(
    control_plane: &ControlPlane,
) -> TestResult {
    let proxy = FaultProxy::start(&control_plane.kubeconfig(), 5).await?;
    let mut bed = Bed::start_through(control_plane, &proxy).await?;
    bed.create("default", json!({})).await?;
    for write in INSTALLATION {
        let _held = intercept_write(&proxy, write).await?;
        bed.crash().await?;
        assert!(!is_ready(&bed).await?, "ready after {write:?}, which is not the end");
    }
    bed.wait_for_state("default", State::Ready).await?;
    let interrupted = installed_objects(control_plane).await?;
    bed.delete("default").await?;
    for write in REMOVAL {
        let _held = intercept_write(&proxy, write).await?;
        bed.crash().await?;
    }
    bed.wait_until_gone("default").await?;
    assert_nothing_is_left(&bed).await?;
    bed.create("default", json!({})).await?;
    bed.wait_for_state("default", State::Ready).await?;
    let uninterrupted = installed_objects(control_plane).await?;
    assert!(uninterrupted.len() > 40, "{}", uninterrupted.len());
    for (object, content) in &uninterrupted {
        assert_eq!(interrupted.get(object), Some(content), "{object}");
    }
    assert_eq!(interrupted.len(), uninterrupted.len());
    bed.stop().await
}

async fn is_ready(bed: &Bed<'_>) -> Result<bool> {
    let resource = bed.resources().get("default").await?;
    Ok(resource.status.is_some_and(|status| status.state == State::Ready))
}

/// All objects of an installation, without what differs from one installation to the next.
async fn installed_objects(control_plane: &ControlPlane) -> Result<BTreeMap<String, Value>> {
    let mut objects = BTreeMap::new();
    for target in applied_objects(control_plane).await? {
        let object = target.api(control_plane).get(&target.name).await?;
        let mut content = content(&object);
        remove_fields_set_by_others(&target.kind.kind, &mut content);
        let name = format!("{} {}/{}", target.kind.kind, target.namespace.unwrap_or_default(), target.name);
        objects.insert(name, content);
    }
    Ok(objects)
}

/// Addresses and ports that the API server draws, what istiod writes into webhooks, and what an autoscaler decides.
pub fn remove_fields_set_by_others(kind: &str, content: &mut Value) {
    let data = &mut content["data"];
    match kind {
        "Service" => {
            for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
                remove_field(&mut data["spec"], field);
            }
            each(&mut data["spec"]["ports"], |port| remove_field(port, "nodePort"));
        }
        "Deployment" => remove_field(&mut data["spec"], "replicas"),
        "MutatingWebhookConfiguration" => {
            each(&mut data["webhooks"], |webhook| remove_field(&mut webhook["clientConfig"], "caBundle"));
        }
        "ValidatingWebhookConfiguration" => each(&mut data["webhooks"], |webhook| {
            remove_field(&mut webhook["clientConfig"], "caBundle");
            remove_field(webhook, "failurePolicy");
        }),
        _ => {}
    }
}

fn remove_field(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

fn each(list: &mut Value, act: impl FnMut(&mut Value)) {
    list.as_array_mut().into_iter().flatten().for_each(act);
}
