//! The container images that the objects of a plan run, now or later: those of its own pods, and those that injection puts
//! into pods of users.
//!
//! Pure. Reads planned objects only.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Error, Plan, Stage};

/// A placeholder that injection replaces with the image of the proxy (Istio, gateway injection).
const INJECTED_IMAGE: &str = "auto";
/// `ConfigMap` from which injection takes its values.
const INJECTOR_CONFIG_MAP: &str = "istio-sidecar-injector";
/// Lets istiod run gateways of class `istio-agentgateway`, which are another program than the proxy.
const AGENTGATEWAY_SWITCH: &str = "PILOT_ENABLE_AGENTGATEWAY";
/// What counts as true in a variable of istiod (Go, `strconv.ParseBool`).
const TRUE_TEXTS: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];

/// Every image of the planned workloads, of injection, and of the gateways that istiod itself makes.
pub fn images_of_plan(plan: &Plan) -> Result<BTreeSet<String>, Error> {
    let (mut images, mut injectors, mut agentgateway) = (BTreeSet::new(), Vec::new(), false);
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::CustomResourceDefinitions) {
        for object in plan.objects(stage) {
            let (id, object) = object?;
            images.extend(pod_images(&object));
            agentgateway |= enables_agentgateway(&object);
            if id.is("", "ConfigMap") && id.name.starts_with(INJECTOR_CONFIG_MAP) {
                injectors.extend(injection_values(&object));
            }
        }
    }
    for values in &injectors {
        images.extend(injected_images(values));
        images.extend(agentgateway.then(|| agentgateway_image(values)));
    }
    Ok(images)
}

fn pod_images(object: &Value) -> Vec<String> {
    let pod = &object["spec"]["template"]["spec"];
    ["initContainers", "containers"]
        .iter()
        .filter_map(|kind| pod[kind].as_array())
        .flatten()
        .filter_map(|container| container["image"].as_str())
        .filter(|image| *image != INJECTED_IMAGE)
        .map(str::to_owned)
        .collect()
}

fn enables_agentgateway(object: &Value) -> bool {
    let containers = object["spec"]["template"]["spec"]["containers"].as_array();
    let is_switch = |variable: &&Value| variable["name"] == AGENTGATEWAY_SWITCH;
    let variables = containers.into_iter().flatten().filter_map(|container| container["env"].as_array());
    let switch = variables.flatten().rfind(is_switch);
    switch.is_some_and(|switch| switch["value"].as_str().is_some_and(|value| TRUE_TEXTS.contains(&value)))
}

/// The values that injection fills its templates with.
fn injection_values(config_map: &Value) -> Option<Value> {
    serde_json::from_str(config_map["data"]["values"].as_str()?).ok()
}

/// The image of the agentgateway, for which there is no variable: istiod composes it.
fn agentgateway_image(values: &Value) -> String {
    let global = &values["global"];
    compose_image(global["agentgateway"]["image"].as_str().unwrap_or("agentgateway"), global)
}

/// The images of the proxy and of the container that sets up its network, as the injection template composes them.
fn injected_images(values: &Value) -> Vec<String> {
    let global = &values["global"];
    ["proxy", "proxy_init"]
        .iter()
        .filter_map(|part| global[part]["image"].as_str())
        .map(|image| compose_image(image, global))
        .collect()
}

/// An image as Istio's charts name it: a reference with a slash as it is, a bare name within hub and tag.
fn compose_image(image: &str, global: &Value) -> String {
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
        assert_eq!(pod_images(&object), ["r/init:1", "r/main:1@sha256:ab"]);
    }

    #[test]
    fn injection_composes_bare_names_with_hub_and_tag() {
        let values = |proxy: &str, variant: &str| {
            json!({"global": {
                "hub": "r:5000/a", "tag": "1.31.0", "variant": variant, "proxy": {"image": proxy},
            }})
        };
        assert_eq!(injected_images(&values("x/proxy:2", "debug")), ["x/proxy:2"]);
        assert_eq!(injected_images(&values("proxyv2", "")), ["r:5000/a/proxyv2:1.31.0"]);
        assert_eq!(injected_images(&values("proxyv2", "debug")), ["r:5000/a/proxyv2:1.31.0-debug"]);
    }

    #[test]
    fn the_agentgateway_is_switched_on_by_a_variable_as_go_reads_it() {
        let istiod = |env: Value| json!({"spec": {"template": {"spec": {"containers": [{"env": env}]}}}});
        let switch = |value: &str| json!({"name": AGENTGATEWAY_SWITCH, "value": value});
        for (env, expected) in [
            (json!([switch("true")]), true),
            (json!([switch("T")]), true),
            (json!([switch("false")]), false),
            (json!([switch("yes")]), false),
            (json!([{"name": "PILOT_ENABLE_AMBIENT", "value": "true"}]), false),
            (json!([switch("true"), switch("false")]), false),
            (json!([{"name": AGENTGATEWAY_SWITCH, "valueFrom": {}}]), false),
            (Value::Null, false),
        ] {
            assert_eq!(enables_agentgateway(&istiod(env.clone())), expected, "{env}");
        }
    }
}
