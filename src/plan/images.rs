//! The container images that the objects of a plan run, now or later: those of pods that exist by it, and those that
//! injection puts into pods of users.
//! Reads planned objects only.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Error, Plan, Stage};

/// In the place of an image, what injection replaces by the proxy's (Istio, gateway injection).
const INJECTED: &str = "auto";
/// `ConfigMap` from which injection takes its values.
const INJECTOR: &str = "istio-sidecar-injector";

/// Every image of the planned workloads and of injection.
pub fn of(plan: &Plan) -> Result<BTreeSet<String>, Error> {
    let mut images = BTreeSet::new();
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::CustomResourceDefinitions) {
        for object in plan.objects(stage) {
            let (id, object) = object?;
            images.extend(of_pods(&object));
            if id.is("", "ConfigMap") && id.name.starts_with(INJECTOR) {
                images.extend(of_injection(&object));
            }
        }
    }
    Ok(images)
}

fn of_pods(object: &Value) -> Vec<String> {
    let pod = &object["spec"]["template"]["spec"];
    ["initContainers", "containers"]
        .iter()
        .filter_map(|kind| pod[kind].as_array())
        .flatten()
        .filter_map(|container| container["image"].as_str())
        .filter(|image| *image != INJECTED)
        .map(str::to_owned)
        .collect()
}

/// The images of the proxy and of the container that sets up its network, as the injection template composes them.
fn of_injection(config_map: &Value) -> Vec<String> {
    let values = config_map["data"]["values"].as_str().unwrap_or_default();
    let Ok(values) = serde_json::from_str::<Value>(values) else { return Vec::new() };
    let global = &values["global"];
    ["proxy", "proxy_init"]
        .iter()
        .filter_map(|part| global[part]["image"].as_str())
        .map(|image| composed(image, global))
        .collect()
}

/// An image as Istio's charts name it: a reference with a slash as it is, a bare name within hub and tag.
fn composed(image: &str, global: &Value) -> String {
    if image.contains('/') {
        return image.to_owned();
    }
    let text = |key: &str| global[key].as_str().unwrap_or_default();
    let variant = Some(text("variant")).filter(|variant| !variant.is_empty());
    let suffix = variant.map(|variant| format!("-{variant}")).unwrap_or_default();
    format!("{}/{image}:{}{suffix}", text("hub"), text("tag"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_those_of_all_containers_but_the_injected() {
        let object = json!({"spec": {"template": {"spec": {
            "initContainers": [{"image": "r/init:1"}],
            "containers": [{"image": "auto"}, {"image": "r/main:1@sha256:ab"}, {"name": "none"}],
        }}}});
        assert_eq!(of_pods(&object), ["r/init:1", "r/main:1@sha256:ab"]);
    }

    #[test]
    fn injection_composes_bare_names_with_hub_and_tag() {
        let values = |proxy: &str, variant: &str| {
            let values = json!({"global": {
                "hub": "r:5000/a", "tag": "1.31.0", "variant": variant, "proxy": {"image": proxy},
            }});
            json!({"data": {"values": values.to_string()}})
        };
        assert_eq!(of_injection(&values("x/proxy:2", "debug")), ["x/proxy:2"]);
        assert_eq!(of_injection(&values("proxyv2", "")), ["r:5000/a/proxyv2:1.31.0"]);
        assert_eq!(of_injection(&values("proxyv2", "debug")), ["r:5000/a/proxyv2:1.31.0-debug"]);
    }
}
