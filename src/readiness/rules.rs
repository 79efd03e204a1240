//! When a live object counts as ready, and what it is waiting for.
//!
//! Pure rules over objects as the API server returns them; [`super::wait`] feeds them from watches.

use serde_json::Value;

use crate::kubernetes::conditions::{ConditionRef, is_condition_true};
use crate::kubernetes::endpoints::has_ready_endpoint;
use crate::kubernetes::rollout::{self, RolloutState};

/// The readiness of one live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectReadiness {
    /// It is ready.
    Ready,
    /// It is not ready yet; the text says what is missing, quoted from the object's own status where possible.
    Waiting(String),
    /// It will not become ready without a change; the text says why.
    Failed(String),
}

impl ObjectReadiness {
    fn waiting(text: impl Into<String>) -> Self {
        Self::Waiting(text.into())
    }
}

impl From<RolloutState> for ObjectReadiness {
    fn from(state: RolloutState) -> Self {
        match state {
            RolloutState::Complete => Self::Ready,
            RolloutState::InProgress(text) => Self::Waiting(text),
            RolloutState::Failed(text) => Self::Failed(format!("rollout failed: {text}")),
        }
    }
}

/// A Deployment is ready when its rollout is complete.
#[must_use]
pub fn deployment(deployment: &Value) -> ObjectReadiness {
    rollout::deployment(deployment).into()
}

/// A DaemonSet is ready when its rollout is complete.
#[must_use]
pub fn daemon_set(daemon_set: &Value) -> ObjectReadiness {
    rollout::daemon_set(daemon_set).into()
}

/// A CustomResourceDefinition is ready when the API server serves it.
#[must_use]
pub fn crd(crd: &Value) -> ObjectReadiness {
    if is_condition_true(crd, "Established") {
        return ObjectReadiness::Ready;
    }
    match ConditionRef::find(crd, "NamesAccepted") {
        Some(names) if names.is_false() => {
            ObjectReadiness::waiting(format!("names not accepted: {}", names.message()))
        }
        Some(names) if names.is_true() => ObjectReadiness::waiting("names accepted, but not established yet"),
        _ => ObjectReadiness::waiting("not established yet"),
    }
}

/// Whether only the last step of the API server is missing before a CRD can be used.
///
/// The API server takes that step when it sees a change of such a CRD. If it is terminated in between, it sees no change after it
/// starts again, and the CRD stays in this state.
#[must_use]
pub fn is_awaiting_establishment(crd: &Value) -> bool {
    is_condition_true(crd, "NamesAccepted") && !is_condition_true(crd, "Established")
}

/// The health of a workload after its rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadHealth {
    /// All desired pods are available.
    Healthy,
    /// Some of the desired pods are not available.
    Degraded(String),
    /// No pod is available.
    Unavailable(String),
}

/// The health of a Deployment or `DaemonSet`, by its available pods alone: a rollout in progress does not matter.
///
/// A workload that desires no pod is healthy.
#[must_use]
pub fn workload_health(kind: &str, workload: &Value) -> WorkloadHealth {
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64);
    let (desired, available) = match kind {
        "DaemonSet" => (number("/status/desiredNumberScheduled").unwrap_or(0), "/status/numberAvailable"),
        _ => (number("/spec/replicas").unwrap_or(1), "/status/availableReplicas"),
    };
    let available = number(available).unwrap_or(0);
    let text = || format!("{available} of {desired} pods are available");
    match available {
        enough if enough >= desired => WorkloadHealth::Healthy,
        0 => WorkloadHealth::Unavailable(text()),
        _ => WorkloadHealth::Degraded(text()),
    }
}

/// The live injector is ready when istiod has set its CA certificate in every webhook.
///
/// Until then the API server cannot call istiod, and pods in namespaces with injection are rejected.
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
    if has_ready_endpoint(slice) {
        ObjectReadiness::Ready
    } else {
        ObjectReadiness::waiting("no endpoint is ready")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn waiting(readiness: ObjectReadiness) -> String {
        match readiness {
            ObjectReadiness::Waiting(text) => text,
            other => panic!("not waiting: {other:?}"),
        }
    }

    #[test]
    fn a_failed_rollout_is_not_waited_for() {
        let failed = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [{
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"istiod-1\" has timed out progressing."}]}});
        let text = "rollout failed: ReplicaSet \"istiod-1\" has timed out progressing.";
        assert_eq!(deployment(&failed), ObjectReadiness::Failed(text.to_owned()));
        assert_eq!(waiting(deployment(&json!({}))), "0 of 1 pods have the new template");
        assert_eq!(daemon_set(&json!({})), ObjectReadiness::Ready);
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
