//! When a live object counts as ready, and what it is waiting for.
//!
//! Pure judgements over objects as the API server returns them; `wait` feeds them from watches.

use serde_json::Value;

/// The verdict on one live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectReadiness {
    /// Nothing is awaited any more.
    Ready,
    /// Not yet; the text says what is missing, in the words of the object's own status where it has some.
    Waiting(String),
}

impl ObjectReadiness {
    fn waiting(text: impl Into<String>) -> Self {
        Self::Waiting(text.into())
    }
}

/// A custom resource definition is ready when the API server serves it.
#[must_use]
pub fn crd(crd: &Value) -> ObjectReadiness {
    match condition(crd, "Established") {
        Some(condition) if condition["status"] == "True" => ObjectReadiness::Ready,
        _ => match condition(crd, "NamesAccepted") {
            Some(names) if names["status"] == "False" => {
                ObjectReadiness::waiting(format!("names not accepted: {}", text(names, "message")))
            }
            _ if is_awaiting_establishment(crd) => {
                ObjectReadiness::waiting("its names are accepted, but it is not established yet")
            }
            _ => ObjectReadiness::waiting("not established yet"),
        },
    }
}

/// Whether nothing is between a definition and its use but the API server's last step.
///
/// The API server takes that step when it sees a change of such a definition. One that is killed in between has forgotten
/// it, and sees no change when it starts again.
#[must_use]
pub fn is_awaiting_establishment(crd: &Value) -> bool {
    let is_true = |kind| condition(crd, kind).is_some_and(|condition| condition["status"] == "True");
    is_true("NamesAccepted") && !is_true("Established")
}

/// How a workload fares that was rolled out once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadHealth {
    /// It has all the pods it wants.
    Healthy,
    /// It serves with fewer pods than it wants.
    Degraded(String),
    /// It does not serve.
    Unavailable(String),
}

/// Judges a Deployment or `DaemonSet` by its available pods alone, whatever rollout is under way.
///
/// A workload that wants no pod is well.
#[must_use]
pub fn workload_health(kind: &str, workload: &Value) -> WorkloadHealth {
    let (wanted, available) = match kind {
        "DaemonSet" => (number(workload, "/status/desiredNumberScheduled"), "/status/numberAvailable"),
        _ => (number(workload, "/spec/replicas").or(Some(1)), "/status/availableReplicas"),
    };
    let (wanted, available) = (wanted.unwrap_or(0), number(workload, available).unwrap_or(0));
    let text = || format!("{available} of {wanted} pods are available");
    match available {
        enough if enough >= wanted => WorkloadHealth::Healthy,
        0 => WorkloadHealth::Unavailable(text()),
        _ => WorkloadHealth::Degraded(text()),
    }
}

/// A Deployment is ready when its current template is rolled out to `spec.replicas` available pods and no old pod is
/// left.
///
/// The same rule as `kubectl rollout status`.
#[must_use]
pub fn deployment(deployment: &Value) -> ObjectReadiness {
    if let Some(stale) = not_yet_observed(deployment) {
        return stale;
    }
    if let Some(failure) = condition(deployment, "ReplicaFailure").filter(|c| c["status"] == "True") {
        return ObjectReadiness::waiting(format!("pods cannot be created: {}", text(failure, "message")));
    }
    let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
    let status = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or(0);
    let (total, updated, available) =
        (status("replicas"), status("updatedReplicas"), status("availableReplicas"));
    if updated < wanted {
        return ObjectReadiness::waiting(format!("{updated} of {wanted} pods are of the new template"));
    }
    if total > updated {
        return ObjectReadiness::waiting(format!("{} old pods are still running", total - updated));
    }
    if available < updated {
        return ObjectReadiness::waiting(format!("{available} of {updated} pods are available"));
    }
    ObjectReadiness::Ready
}

/// A DaemonSet is ready when every node that it wants has an available pod of the current template.
///
/// A cluster without a matching node wants none, and that is ready too.
#[must_use]
pub fn daemon_set(daemon_set: &Value) -> ObjectReadiness {
    if let Some(stale) = not_yet_observed(daemon_set) {
        return stale;
    }
    let status = |field: &str| number(daemon_set, &format!("/status/{field}")).unwrap_or(0);
    let wanted = status("desiredNumberScheduled");
    let (updated, available) = (status("updatedNumberScheduled"), status("numberAvailable"));
    if updated < wanted {
        return ObjectReadiness::waiting(format!("{updated} of {wanted} pods are of the new template"));
    }
    if available < wanted {
        return ObjectReadiness::waiting(format!("{available} of {wanted} pods are available"));
    }
    ObjectReadiness::Ready
}

/// The live injector is ready when istiod has put its CA certificate into every webhook.
///
/// Before that the API server cannot call istiod, and pods in injected namespaces are refused.
#[must_use]
pub fn injector(configuration: &Value) -> ObjectReadiness {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let without =
        webhooks.iter().filter(|w| w.pointer("/clientConfig/caBundle").is_none_or(|ca| ca == "")).count();
    match (webhooks.len(), without) {
        (0, _) => ObjectReadiness::waiting("it has no webhooks"),
        (_, 0) => ObjectReadiness::Ready,
        (all, without) => {
            ObjectReadiness::waiting(format!("{without} of {all} webhooks have no caBundle from istiod yet"))
        }
    }
}

/// An `EndpointSlice` is ready when one of its endpoints is.
#[must_use]
pub fn endpoint_slice(slice: &Value) -> ObjectReadiness {
    let endpoints = slice.get("endpoints").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    // An absent condition means ready, by the API's definition.
    let ready = endpoints.iter().any(|e| e.pointer("/conditions/ready").is_none_or(|ready| ready == true));
    if ready { ObjectReadiness::Ready } else { ObjectReadiness::waiting("no endpoint is ready") }
}

fn not_yet_observed(object: &Value) -> Option<ObjectReadiness> {
    let generation = number(object, "/metadata/generation").unwrap_or(0);
    let observed = number(object, "/status/observedGeneration").unwrap_or(0);
    (observed < generation).then(|| ObjectReadiness::waiting("its controller has not seen the change yet"))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|c| c["type"] == kind)
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn waiting(readiness: ObjectReadiness) -> String {
        match readiness {
            ObjectReadiness::Waiting(text) => text,
            ObjectReadiness::Ready => "ready".into(),
        }
    }

    #[test]
    fn a_deployment_is_ready_only_when_its_rollout_is_complete() {
        let live = |generation: i64, status: Value| json!({"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status});
        for (name, deployment_object, expected) in [
            ("new", live(1, json!({})), "its controller has not seen the change yet"),
            (
                "complete",
                live(
                    1,
                    json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                ),
                "ready",
            ),
            (
                "changed since",
                live(
                    2,
                    json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                ),
                "its controller has not seen the change yet",
            ),
            (
                "rolling",
                live(
                    1,
                    json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}),
                ),
                "1 of 2 pods are of the new template",
            ),
            (
                "old left",
                live(
                    1,
                    json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}),
                ),
                "1 old pods are still running",
            ),
            (
                "starting",
                live(
                    1,
                    json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                ),
                "1 of 2 pods are available",
            ),
            (
                "refused",
                live(
                    1,
                    json!({"observedGeneration": 1, "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}),
                ),
                "pods cannot be created: exceeded quota",
            ),
        ] {
            assert_eq!(waiting(deployment(&deployment_object)), expected, "{name}");
        }
    }

    #[test]
    fn a_daemon_set_without_a_matching_node_is_ready() {
        let live = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 0}});
        assert_eq!(daemon_set(&live), ObjectReadiness::Ready);
    }

    #[test]
    fn a_daemon_set_waits_for_every_wanted_node() {
        let live = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1,
            "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}});
        assert_eq!(waiting(daemon_set(&live)), "2 of 3 pods are available");
    }

    #[test]
    fn an_injector_is_ready_when_every_webhook_has_a_ca_bundle() {
        let webhook = |ca: Value| json!({"clientConfig": {"caBundle": ca}});
        assert_eq!(injector(&json!({"webhooks": [webhook(json!("Y2E="))]})), ObjectReadiness::Ready);
        assert_eq!(
            waiting(injector(&json!({"webhooks": [webhook(json!("Y2E=")), {"clientConfig": {}}]}))),
            "1 of 2 webhooks have no caBundle from istiod yet"
        );
        assert_eq!(waiting(injector(&json!({}))), "it has no webhooks");
    }

    #[test]
    fn an_endpoint_without_a_condition_counts_as_ready() {
        assert_eq!(endpoint_slice(&json!({"endpoints": [{"conditions": {}}]})), ObjectReadiness::Ready);
        assert_eq!(
            waiting(endpoint_slice(&json!({"endpoints": [{"conditions": {"ready": false}}]}))),
            "no endpoint is ready"
        );
        assert_eq!(waiting(endpoint_slice(&json!({}))), "no endpoint is ready");
    }

    #[test]
    fn a_crd_is_ready_when_it_is_established() {
        let with = |conditions: Value| json!({"status": {"conditions": conditions}});
        assert_eq!(crd(&with(json!([{"type": "Established", "status": "True"}]))), ObjectReadiness::Ready);
        assert_eq!(waiting(crd(&json!({}))), "not established yet");
        assert_eq!(
            waiting(crd(&with(json!([{"type": "NamesAccepted", "status": "False", "message": "taken"}])))),
            "names not accepted: taken"
        );
    }

    #[test]
    fn the_health_of_a_workload_follows_its_available_pods() {
        let deployment = |replicas: Value, status: Value| {
            ("Deployment", json!({"spec": {"replicas": replicas}, "status": status}))
        };
        let daemon_set = |status: Value| ("DaemonSet", json!({"status": status}));
        let degraded = |text: &str| WorkloadHealth::Degraded(text.to_owned());
        let unavailable = |text: &str| WorkloadHealth::Unavailable(text.to_owned());
        for ((kind, workload), expected) in [
            (deployment(json!(2), json!({"availableReplicas": 2})), WorkloadHealth::Healthy),
            (deployment(json!(2), json!({"availableReplicas": 3})), WorkloadHealth::Healthy),
            (deployment(json!(0), json!({})), WorkloadHealth::Healthy),
            (deployment(json!(2), json!({"availableReplicas": 1})), degraded("1 of 2 pods are available")),
            (deployment(json!(2), json!({})), unavailable("0 of 2 pods are available")),
            (deployment(Value::Null, json!({})), unavailable("0 of 1 pods are available")),
            (daemon_set(json!({"desiredNumberScheduled": 3, "numberAvailable": 3})), WorkloadHealth::Healthy),
            (
                daemon_set(json!({"desiredNumberScheduled": 3, "numberAvailable": 2})),
                degraded("2 of 3 pods are available"),
            ),
            (daemon_set(json!({"desiredNumberScheduled": 3})), unavailable("0 of 3 pods are available")),
            (daemon_set(json!({})), WorkloadHealth::Healthy),
        ] {
            assert_eq!(workload_health(kind, &workload), expected, "{workload}");
        }
    }
}
