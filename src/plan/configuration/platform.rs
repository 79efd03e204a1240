//! What the Kubernetes distribution changes: where network plugins live on a node, and what its security policies allow.
//!
//! Pure. A platform that somebody names is left to the profile of that name in Istio's charts; a detected one changes only
//! what Istio needs to run. Part of what an installation starts from: other values win over it.

use serde_json::{Map, Value, json};

use super::merge;
use crate::api::names::INGRESS_GATEWAY;
use crate::plan::cluster::Platform;

/// Merges what the platform needs into the document: the one that `values` name, those of the most important layer first, or
/// the detected one.
pub(super) fn merge(document: &mut Value, detected: Option<Platform>, values: [&Map<String, Value>; 2]) {
    let platform = if let Some(name) = values.into_iter().find_map(named) {
        // Those of the base would win over those of the chart's profile.
        merge_values(document, &json!({"cni": {"cniBinDir": null, "cniConfDir": null}}));
        let named = Platform::parse(name);
        if named == Some(Platform::Gke) {
            // With the profile, the chart takes it from the version of Kubernetes, which does not always show it.
            merge_values(document, &json!({"cni": {"cniBinDir": GKE_BIN_DIR}}));
        }
        named
    } else {
        if let Some(platform) = detected {
            merge_values(document, &detected_values(platform));
        }
        detected
    };
    if platform == Some(Platform::OpenShift) {
        leave_users_to_openshift(document);
    }
}

const GKE_BIN_DIR: &str = "/home/kubernetes/bin";

/// The platform that values name, in the order in which the charts look for it; an empty name switches detection off.
fn named(values: &Map<String, Value>) -> Option<&str> {
    let global = values.get("global").and_then(|global| global.get("platform"));
    let names = [values.get("platform"), global];
    let mut names = names.into_iter().flatten().map(|name| name.as_str().unwrap_or_default()).peekable();
    names.peek()?;
    Some(names.find(|name| !name.is_empty()).unwrap_or_default())
}

/// The values for a detected platform. Only the profile of `OpenShift` is more than folders and a quota, so only that one is
/// named: a platform in the configuration of istiod is a change that nobody asked for.
fn detected_values(platform: Platform) -> Value {
    match platform {
        Platform::Gke => json!({"cni": {
            "cniBinDir": GKE_BIN_DIR,
            // The pods have a critical priority, which GKE allows only where a quota says so.
            "resourceQuotas": {"enabled": true},
        }}),
        Platform::K3s => json!({"cni": {
            "cniBinDir": "/var/lib/rancher/k3s/data/cni",
            "cniConfDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        }}),
        Platform::K3d => json!({"cni": {
            "cniBinDir": "/bin",
            "cniConfDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        }}),
        Platform::MicroK8s => json!({"cni": {
            "cniBinDir": "/var/snap/microk8s/current/opt/cni/bin",
            "cniConfDir": "/var/snap/microk8s/current/args/cni-network",
        }}),
        Platform::Minikube => json!({"cni": {"cniNetnsDir": "/var/run/docker/netns"}}),
        Platform::OpenShift => json!({
            "global": {"platform": Platform::OpenShift.as_str()},
            "cni": {"cniBinDir": null, "cniConfDir": null},
        }),
    }
}

/// `OpenShift` gives each namespace a range of user IDs, and refuses pods with a fixed one outside of it.
fn leave_users_to_openshift(document: &mut Value) {
    let k8s = json!({"securityContext": {"runAsUser": null, "runAsGroup": null}});
    merge::merge(
        document,
        &json!({"spec": {"components": {
            "pilot": {"k8s": k8s},
            "ingressGateways": [{"name": INGRESS_GATEWAY, "k8s": k8s}],
        }}}),
    );
}

fn merge_values(document: &mut Value, values: &Value) {
    merge::merge(document, &json!({"spec": {"values": values}}));
}

#[cfg(test)]
mod tests {
    use gotemplate::yaml;
    use istio_charts::Bundle;

    use super::*;

    fn values_for(detected: Option<Platform>, author: &Value, administrator: &Value) -> Value {
        let mut document = super::super::base::document(super::super::Size::Production).unwrap();
        let layers = [author.as_object().unwrap(), administrator.as_object().unwrap()];
        merge(&mut document, detected, layers);
        document["spec"]["values"].take()
    }

    /// What a chart's profile of a platform says about the CNI agent.
    fn profile(platform: Platform) -> Value {
        let chart = Bundle::embedded().chart("istio-cni").unwrap();
        let file = format!("files/profile-platform-{}.yaml", platform.as_str());
        let mut profile = Value::Null;
        let mut chart = chart;
        chart.rewrite_files(|path, data| {
            if path == file {
                profile = yaml::parse_json(std::str::from_utf8(data).unwrap()).unwrap();
            }
            None
        });
        profile["cni"].take()
    }

    #[test]
    fn detected_folders_are_those_of_the_platform_profiles_of_istio() {
        for platform in Platform::ALL {
            let (profile, cni) = (profile(platform), detected_values(platform)["cni"].clone());
            for (name, value) in cni.as_object().unwrap() {
                let is_left_to_the_chart =
                    value.is_null() || platform == Platform::Gke && name == "cniBinDir";
                assert!(is_left_to_the_chart || &profile[name] == value, "{platform:?} {name}: {profile}");
            }
        }
    }

    #[test]
    fn a_named_platform_wins_over_the_detected_one() {
        let none = json!({});
        let folders =
            |values: &Value| (values["cni"]["cniBinDir"].clone(), values["cni"]["cniConfDir"].clone());
        let base = values_for(None, &none, &none);
        assert_eq!(folders(&base), (json!("/opt/cni/bin"), json!("/etc/cni/net.d")));
        for (detected, author, administrator, expected) in [
            (Some(Platform::K3s), json!({}), json!({"platform": "microk8s"}), (Value::Null, Value::Null)),
            (None, json!({}), json!({"global": {"platform": "gke"}}), (json!(GKE_BIN_DIR), Value::Null)),
            (Some(Platform::K3s), json!({}), json!({"global": {"platform": ""}}), (Value::Null, Value::Null)),
            (None, json!({"platform": "gke"}), json!({"platform": "k3d"}), (json!(GKE_BIN_DIR), Value::Null)),
        ] {
            assert_eq!(folders(&values_for(detected, &author, &administrator)), expected, "{administrator}");
        }
    }
}
