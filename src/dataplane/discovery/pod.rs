//! Inspects one pod: whether it counts, what injection added, and why that may be outdated. Pure.

use super::mesh::Mesh;
use super::prefilter::candidate_reasons;
use crate::dataplane::model::{Injected, Pod};
use crate::dataplane::reasons::StaleReason;

/// The injected part of a pod and why it may be outdated; `None` if the pod does not count.
///
/// Readiness does not matter: an outdated sidecar may be the reason why a pod is not ready.
#[must_use]
pub fn inspect(pod: &Pod, mesh: &Mesh) -> Option<(Injected, Vec<StaleReason>)> {
    if pod.metadata.deletion_timestamp.is_some() || pod.status.phase != "Running" {
        return None;
    }
    let injected = Injected::from_pod(pod)?;
    let reasons = candidate_reasons(&pod.metadata.annotations, &injected, mesh);
    Some((injected, reasons))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dataplane::fixtures::{mesh, pod};

    #[test]
    fn a_running_pod_with_a_sidecar_counts_ready_or_not() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, bool); 8] = [
            ("running", |_| {}, true),
            (
                "not ready: the outdated sidecar may be the reason",
                |pod| pod["status"]["conditions"][0]["status"] = json!("False"),
                true,
            ),
            (
                "with a readiness gate",
                |pod| {
                    pod["status"]["conditions"] = json!([{"type": "example.com/gate", "status": "Unknown"}]);
                },
                true,
            ),
            ("pending", |pod| pod["status"]["phase"] = json!("Pending"), false),
            ("completed", |pod| pod["status"]["phase"] = json!("Succeeded"), false),
            (
                "terminating",
                |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
                false,
            ),
            ("without a sidecar", |pod| pod["metadata"]["annotations"] = json!({}), false),
            (
                "with a native sidecar",
                |pod| {
                    pod["spec"]["initContainers"] = pod["spec"]["containers"].take();
                    pod["metadata"]["annotations"]["sidecar.istio.io/status"] =
                        json!("{\"initContainers\":[\"istio-proxy\"]}");
                },
                true,
            ),
        ];
        for (name, change, counts) in cases {
            let is_candidate = inspect(&pod(change), &mesh())
                .is_some_and(|(_, reasons)| reasons.iter().any(|reason| reason.name() == "Image"));
            assert_eq!(is_candidate, counts, "{name}");
        }
    }

    #[test]
    fn a_container_with_another_name_is_ignored() {
        let other = |pod: &mut Value| pod["spec"]["containers"][0]["name"] = json!("istio-proxy-helper");
        let inspected = inspect(&pod(other), &mesh());
        assert!(
            inspected.is_some_and(|(injected, reasons)| injected.proxy().is_none() && reasons.is_empty())
        );
    }
}
