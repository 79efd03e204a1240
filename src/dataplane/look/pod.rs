//! How one pod looks: whether it counts, what it has injected, and why that may be outdated. Pure.

use super::detect::suspicions;
use super::mesh::Mesh;
use crate::dataplane::injected::Injected;
use crate::dataplane::objects::Pod;
use crate::dataplane::reason::Reason;

/// The injected part of a pod and why it may be outdated; `None` if the pod does not count.
///
/// Readiness does not matter: a proxy that is outdated may be what keeps its pod from being ready.
#[must_use]
pub fn look(pod: &Pod, mesh: &Mesh) -> Option<(Injected, Vec<Reason>)> {
    if pod.metadata.deletion_timestamp.is_some() || pod.status.phase != "Running" {
        return None;
    }
    let injected = Injected::of(pod)?;
    let suspicions = suspicions(&pod.metadata.annotations, &injected, mesh);
    Some((injected, suspicions))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dataplane::fixtures::{mesh, pod};

    #[test]
    fn a_pod_counts_while_it_runs_and_has_a_sidecar_however_it_feels() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, bool); 8] = [
            ("running", |_| {}, true),
            (
                "not ready: the outdated sidecar may be why",
                |pod| pod["status"]["conditions"][0]["status"] = json!("False"),
                true,
            ),
            (
                "held by a gate of its own",
                |pod| {
                    pod["status"]["conditions"] = json!([{"type": "example.com/gate", "status": "Unknown"}]);
                },
                true,
            ),
            ("pending", |pod| pod["status"]["phase"] = json!("Pending"), false),
            ("ended", |pod| pod["status"]["phase"] = json!("Succeeded"), false),
            ("going", |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"), false),
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
            let suspected = look(&pod(change), &mesh()).is_some_and(|(_, suspicions)| {
                suspicions.iter().any(|reason| matches!(reason, Reason::Image { .. }))
            });
            assert_eq!(suspected, counts, "{name}");
        }
    }

    #[test]
    fn a_container_of_another_name_is_none_of_ours() {
        let other = |pod: &mut Value| pod["spec"]["containers"][0]["name"] = json!("istio-proxy-helper");
        let seen = look(&pod(other), &mesh());
        assert!(
            seen.is_some_and(|(injected, suspicions)| injected.proxy().is_none() && suspicions.is_empty())
        );
    }
}
