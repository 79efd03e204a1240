//! Why the pods of a workload are not ready, quoted from their status.
//!
//! Pure: selects the most significant status among the pods.

use serde_json::Value;

use crate::kubernetes::conditions::ConditionRef;
use crate::text::sanitized;

/// Longest text quoted from a pod, in bytes; messages of the kubelet and the scheduler can have pages.
const MAX_MESSAGE_BYTES: usize = 300;

/// The most significant problem among the pods of a workload, such as
/// `pod istiod-x: container discovery: ImagePullBackOff: Back-off pulling image "…"`.
///
/// `None` if no pod reports a problem, for example while containers start normally.
#[must_use]
pub fn diagnose_pods(pods: &[Value]) -> Option<String> {
    let mut found: Vec<(u8, String)> = pods.iter().filter_map(diagnose_pod).collect();
    found.sort();
    found.into_iter().next().map(|(_, text)| text)
}

/// A pod's problem with its rank; the lowest is the most significant.
fn diagnose_pod(pod: &Value) -> Option<(u8, String)> {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("?");
    let (priority, text) =
        waiting_container(pod).or_else(|| terminated_container(pod)).or_else(|| failing_condition(pod))?;
    Some((priority, format!("pod {name}: {}", sanitized(&text, MAX_MESSAGE_BYTES))))
}

fn waiting_container(pod: &Value) -> Option<(u8, String)> {
    container_statuses(pod).find_map(|status| {
        let waiting = status.pointer("/state/waiting")?;
        let reason = waiting.get("reason")?.as_str()?;
        // Every container passes through these two.
        if matches!(reason, "ContainerCreating" | "PodInitializing") {
            return None;
        }
        Some((0, format!("container {}: {}", name_of(status), with_message(reason, message_of(waiting)))))
    })
}

fn terminated_container(pod: &Value) -> Option<(u8, String)> {
    container_statuses(pod).find_map(|status| {
        let terminated =
            status.pointer("/state/terminated").or_else(|| status.pointer("/lastState/terminated"))?;
        let code = terminated.get("exitCode").and_then(Value::as_i64).filter(|code| *code != 0)?;
        let reason = terminated.get("reason").and_then(Value::as_str).unwrap_or("Error");
        Some((
            1,
            format!(
                "container {} exited with code {code}: {}",
                name_of(status),
                with_message(reason, message_of(terminated))
            ),
        ))
    })
}

fn failing_condition(pod: &Value) -> Option<(u8, String)> {
    let failing = |type_| ConditionRef::find(pod, type_).filter(|condition| condition.is_false());
    if let Some(scheduled) = failing("PodScheduled") {
        let reason = Some(scheduled.reason()).filter(|reason| !reason.is_empty()).unwrap_or("Unschedulable");
        return Some((2, with_message(reason, scheduled.message())));
    }
    let message = failing("Ready")?.message();
    (!message.is_empty()).then(|| (3, message.to_owned()))
}

fn container_statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|pointer| pod.pointer(pointer).and_then(Value::as_array))
        .flatten()
}

fn name_of(status: &Value) -> &str {
    status.get("name").and_then(Value::as_str).unwrap_or("?")
}

fn with_message(reason: &str, message: &str) -> String {
    if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") }
}

fn message_of(state: &Value) -> &str {
    state.get("message").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "cases read better with values")]
    fn pod(status: Value) -> Value {
        json!({"metadata": {"name": "istiod-1"}, "status": status})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"containerStatuses": [{"name": "discovery", "state": {"waiting": {"reason": reason, "message": message}}}]})
    }

    #[test]
    fn each_kind_of_failure_quotes_the_status_of_the_pod() {
        for (status, expected) in [
            (
                waiting("ImagePullBackOff", "Back-off pulling image"),
                "pod istiod-1: container discovery: ImagePullBackOff: Back-off pulling image",
            ),
            (
                json!({"initContainerStatuses": [{"name": "init", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                "pod istiod-1: container init: CrashLoopBackOff",
            ),
            (
                json!({"containerStatuses": [{"name": "discovery", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]}),
                "pod istiod-1: container discovery exited with code 3: Error",
            ),
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]}),
                "pod istiod-1: Unschedulable: 0/3 nodes are available",
            ),
            (
                json!({"conditions": [{"type": "Ready", "status": "False", "message": "containers with unready status: [discovery]"}]}),
                "pod istiod-1: containers with unready status: [discovery]",
            ),
        ] {
            assert_eq!(diagnose_pods(&[pod(status)]).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_pod_that_starts_normally_has_no_diagnosis() {
        assert_eq!(diagnose_pods(&[pod(waiting("ContainerCreating", ""))]), None);
        assert_eq!(diagnose_pods(&[]), None);
    }

    #[test]
    fn a_failed_container_is_reported_before_an_unready_pod() {
        let unready =
            pod(json!({"conditions": [{"type": "Ready", "status": "False", "message": "unready"}]}));
        let text = diagnose_pods(&[unready, pod(waiting("ErrImagePull", "not found"))]).unwrap();
        assert!(text.contains("ErrImagePull"), "{text}");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let text = diagnose_pods(&[pod(waiting("ErrImagePull", &"ä".repeat(1000)))]).unwrap();
        assert!(text.len() < 350 && text.ends_with('…'), "{text}");
    }
}
