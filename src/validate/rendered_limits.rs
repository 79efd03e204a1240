//! Checks of the merged configuration that Kubernetes would make only after half of Istio was installed.
//!
//! A resource may give one half of a pair and leave the other to the defaults, so the merged configuration is checked.

use serde_json::Value;

use super::{Problem, Problems};
use crate::kubernetes::quantity::thousandths;

/// Where the settings of each component are in the merged configuration, and where a user writes them.
const COMPONENTS: [(&str, &str); 5] = [
    ("/spec/components/pilot/k8s", "spec.components.pilot.k8s"),
    ("/spec/components/ingressGateways/0/k8s", "spec.components.ingressGateway.k8s"),
    ("/spec/components/egressGateways/0/k8s", "spec.components.egressGateway.k8s"),
    ("/spec/components/cni/k8s", "spec.components.cni.k8s"),
    ("/spec/values/global/proxy", "spec.components.proxy.k8s"),
];

/// Checks a merged configuration, and returns what is wrong with it.
pub(crate) fn check_rendered_limits(configuration: &Value) -> Problems {
    let mut problems = Problems::default();
    for (pointer, field) in COMPONENTS {
        if let Some(settings) = configuration.pointer(pointer) {
            check_scaling(settings, field, &mut problems);
            check_strategy(settings, field, &mut problems);
            check_resources(settings, field, &mut problems);
        }
    }
    problems
}

fn check_scaling(settings: &Value, field: &str, problems: &mut Problems) {
    let bound = |name: &str| settings.pointer(&format!("/hpaSpec/{name}")).and_then(Value::as_i64);
    let (min, max) = (bound("minReplicas"), bound("maxReplicas"));
    for (name, value) in [("minReplicas", min), ("maxReplicas", max)] {
        if value == Some(0) {
            problems.push(Problem::warning(
                format!("{field}.hpaSpec.{name}"),
                "an autoscaler cannot scale to 0. Write at least 1",
            ));
        }
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
        && max > 0
    {
        problems.push(Problem::warning(
            format!("{field}.hpaSpec"),
            format!(
                "minReplicas {min} is greater than maxReplicas {max}. Write a maxReplicas of at least {min}, or a lower minReplicas"
            ),
        ));
    }
}

fn check_strategy(settings: &Value, field: &str, problems: &mut Problems) {
    let given = |name: &str| settings.pointer(&format!("/strategy/rollingUpdate/{name}"));
    let field = format!("{field}.strategy.rollingUpdate");
    for name in ["maxSurge", "maxUnavailable"] {
        let text = given(name).and_then(Value::as_str);
        if let Some(text) = text.filter(|text| !text.ends_with('%')) {
            problems.push(Problem::warning(
                format!("{field}.{name}"),
                format!("the text {text:?} is not a percentage. Write the number {text} without quotes, or \"{text}%\""),
            ));
        }
    }
    let is_zero = |name: &str| given(name).is_some_and(|value| value == 0 || value == "0" || value == "0%");
    if is_zero("maxSurge") && is_zero("maxUnavailable") {
        problems.push(Problem::warning(
            field,
            "maxSurge and maxUnavailable cannot both be 0, because no pod could be replaced. Raise one of them",
        ));
    }
}

fn check_resources(settings: &Value, field: &str, problems: &mut Problems) {
    for name in ["cpu", "memory"] {
        let amount = |sort: &str| settings.pointer(&format!("/resources/{sort}/{name}")).map(as_text);
        let (Some(request), Some(limit)) = (amount("requests"), amount("limits")) else { continue };
        if let (Some(requested), Some(limited)) = (thousandths(&request), thousandths(&limit))
            && requested > limited
        {
            problems.push(Problem::warning(
                format!("{field}.resources.requests.{name}"),
                format!(
                    "{request} is greater than the limit {limit}. Write at most {limit}, or raise {field}.resources.limits.{name}"
                ),
            ));
        }
    }
}

/// YAML lets a quantity without a unit be a number.
fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::conditions::State;

    fn pilot(settings: &Value) -> Value {
        json!({"spec": {"components": {"pilot": {"k8s": settings}}}})
    }

    #[test]
    fn limits_that_kubernetes_refuses_are_reported_with_a_fix() {
        let resources = |request: &str, limit: &str| json!({"resources": {"requests": {"cpu": request}, "limits": {"cpu": limit}}});
        let update = |update: Value| json!({"strategy": {"rollingUpdate": update}});
        for (settings, field, words) in [
            (json!({"hpaSpec": {"minReplicas": 20, "maxReplicas": 15}}), "hpaSpec", "at least 20"),
            (json!({"hpaSpec": {"minReplicas": 0, "maxReplicas": 5}}), "hpaSpec.minReplicas", "at least 1"),
            (json!({"hpaSpec": {"maxReplicas": 0}}), "hpaSpec.maxReplicas", "at least 1"),
            (resources("2", "1500m"), "resources.requests.cpu", "at most 1500m"),
            (
                json!({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "2G"}}}),
                "resources.requests.memory",
                "at most 2G",
            ),
            (update(json!({"maxSurge": "5"})), "strategy.rollingUpdate.maxSurge", "\"5%\""),
            (update(json!({"maxSurge": 0, "maxUnavailable": "0%"})), "strategy.rollingUpdate", "Raise one"),
        ] {
            let rejection = check_rendered_limits(&pilot(&settings)).into_rejection().unwrap();
            let field = format!("spec.components.pilot.k8s.{field}: ");
            assert!(rejection.message.contains(&field), "{rejection}");
            assert!(rejection.message.contains(words), "{rejection}");
            assert_eq!(rejection.state, State::Warning);
        }
    }

    #[test]
    fn limits_that_kubernetes_accepts_are_accepted() {
        for settings in [
            json!({}),
            json!({"hpaSpec": {"minReplicas": 3, "maxReplicas": 3}}),
            json!({"hpaSpec": {"minReplicas": 7}}),
            json!({"resources": {"requests": {"cpu": "1000m"}, "limits": {"cpu": 1}}}),
            json!({"resources": {"requests": {"cpu": "4"}}}),
            json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "1%"}}}),
            json!({"strategy": {"rollingUpdate": {"maxSurge": 0}}}),
        ] {
            assert!(check_rendered_limits(&pilot(&settings)).is_empty(), "{settings}");
        }
    }

    #[test]
    fn sidecars_are_checked_as_well() {
        let proxy = json!({"spec": {"values": {"global": {"proxy": {"resources": {
            "requests": {"cpu": "3"}, "limits": {"cpu": "2"}}}}}}});
        let rejection = check_rendered_limits(&proxy).into_rejection().unwrap();
        assert!(
            rejection.message.contains("spec.components.proxy.k8s.resources.requests.cpu"),
            "{rejection}"
        );
    }
}
