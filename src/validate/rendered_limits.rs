//! The checks of what a resource and the defaults give together, which Kubernetes would refuse only after half of it was
//! installed.
//!
//! A resource may give one half of a pair and leave the other to the defaults, so the merged configuration is checked.

use serde_json::Value;

use super::{Problem, Rejection, rejection};
use crate::kubernetes::quantity::thousandths;

/// Where the settings of each component are in the merged configuration, and where a user writes them.
const COMPONENTS: [(&str, &str); 5] = [
    ("/spec/components/pilot/k8s", "spec.components.pilot.k8s"),
    ("/spec/components/ingressGateways/0/k8s", "spec.components.ingressGateway.k8s"),
    ("/spec/components/egressGateways/0/k8s", "spec.components.egressGateway.k8s"),
    ("/spec/components/cni/k8s", "spec.components.cni.k8s"),
    ("/spec/values/global/proxy", "spec.components.proxy.k8s"),
];

/// Checks a merged configuration.
///
/// # Errors
/// A rejection that names every problem at once.
pub fn check_rendered_limits(configuration: &Value) -> Result<(), Rejection> {
    let mut problems = Vec::new();
    for (pointer, field) in COMPONENTS {
        if let Some(settings) = configuration.pointer(pointer) {
            check_scaling(settings, field, &mut problems);
            check_strategy(settings, field, &mut problems);
            check_resources(settings, field, &mut problems);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(rejection(&problems)) }
}

fn check_scaling(settings: &Value, field: &str, problems: &mut Vec<Problem>) {
    let bound = |name: &str| settings.pointer(&format!("/hpaSpec/{name}")).and_then(Value::as_i64);
    let (min, max) = (bound("minReplicas"), bound("maxReplicas"));
    for (name, value) in [("minReplicas", min), ("maxReplicas", max)] {
        if value == Some(0) {
            problems.push(Problem::warning(
                format!("{field}.hpaSpec.{name}"),
                "an autoscaler cannot scale to 0; write at least 1",
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
                "minReplicas {min} is over maxReplicas {max}; write a maxReplicas of at least {min}, or a lower minReplicas"
            ),
        ));
    }
}

fn check_strategy(settings: &Value, field: &str, problems: &mut Vec<Problem>) {
    let given = |name: &str| settings.pointer(&format!("/strategy/rollingUpdate/{name}"));
    let field = format!("{field}.strategy.rollingUpdate");
    for name in ["maxSurge", "maxUnavailable"] {
        let text = given(name).and_then(Value::as_str);
        if let Some(text) = text.filter(|text| !text.ends_with('%')) {
            problems.push(Problem::warning(
                format!("{field}.{name}"),
                format!("the text {text:?} is no percentage; write the number {text} without quotes, or \"{text}%\""),
            ));
        }
    }
    let is_zero = |name: &str| given(name).is_some_and(|value| value == 0 || value == "0" || value == "0%");
    if is_zero("maxSurge") && is_zero("maxUnavailable") {
        problems.push(Problem::warning(
            field,
            "with both maxSurge and maxUnavailable at zero no pod could ever be replaced; raise one of them",
        ));
    }
}

fn check_resources(settings: &Value, field: &str, problems: &mut Vec<Problem>) {
    for name in ["cpu", "memory"] {
        let amount = |sort: &str| settings.pointer(&format!("/resources/{sort}/{name}")).map(as_text);
        let (Some(request), Some(limit)) = (amount("requests"), amount("limits")) else { continue };
        if let (Some(requested), Some(limited)) = (thousandths(&request), thousandths(&limit))
            && requested > limited
        {
            problems.push(Problem::warning(
                format!("{field}.resources.requests.{name}"),
                format!(
                    "{request} is over the limit of {limit}; write at most {limit}, or raise {field}.resources.limits.{name}"
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
            (update(json!({"maxSurge": 0, "maxUnavailable": "0%"})), "strategy.rollingUpdate", "raise one"),
        ] {
            let rejection = check_rendered_limits(&pilot(&settings)).unwrap_err();
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
            assert_eq!(check_rendered_limits(&pilot(&settings)), Ok(()), "{settings}");
        }
    }

    #[test]
    fn sidecars_are_checked_as_well() {
        let proxy = json!({"spec": {"values": {"global": {"proxy": {"resources": {
            "requests": {"cpu": "3"}, "limits": {"cpu": "2"}}}}}}});
        let rejection = check_rendered_limits(&proxy).unwrap_err();
        assert!(
            rejection.message.contains("spec.components.proxy.k8s.resources.requests.cpu"),
            "{rejection}"
        );
    }
}
