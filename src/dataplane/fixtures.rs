//! Test data of several modules.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::discovery::mesh::Mesh;
use super::model::Pod;
use super::reasons::{StaleReason, dns_capture};
use super::schedule::scan_result::{Assessment, ScanResult};
use super::schedule::stale_workload::{BlockReason, Decision, RestartAnnotations, StaleWorkload};
use super::workload::deployment;
use super::workload::disruption::PodReplacement;
use super::workload::rollout::RolloutStatus;

/// A Deployment with an outdated proxy, of this name and UID.
pub fn stale_workload(name: &str) -> StaleWorkload {
    StaleWorkload {
        workload: deployment::KIND.object("ns", name),
        kind: deployment::KIND,
        uid: name.into(),
        generation: 1,
        kyma: false,
        gateway: false,
        reasons: vec![StaleReason::plain(&dns_capture::SPEC)],
        target: "t".into(),
        replicas: 1,
        replacement: PodReplacement::Recreate,
        rollout: RolloutStatus::Complete,
        paused: false,
        pod_created: Timestamp::UNIX_EPOCH,
        labels: BTreeMap::new(),
        restart_annotations: RestartAnnotations::default(),
        desired_injection: None,
        owner_unverified: None,
    }
}

/// A scan that found one outdated workload for each of these block reasons.
pub fn assessment(block_reasons: &[BlockReason]) -> Assessment {
    let decision = |(index, why): (usize, &BlockReason)| {
        (stale_workload(&format!("w{}", index + 1)), Decision::Blocked(why.clone()))
    };
    Assessment {
        scan: ScanResult { total: 10, ..ScanResult::default() },
        decisions: block_reasons.iter().enumerate().map(decision).collect(),
    }
}

/// What injection gives in a plain mesh.
pub fn mesh() -> Mesh {
    let values =
        json!({"global": {"proxy": {"image": "new/proxyv2:2"}}, "pilot": {"cni": {"enabled": true}}});
    let map = |key: &str, text: String| BTreeMap::from([(key.to_owned(), text)]);
    let config = "enablePrometheusMerge: false".to_owned();
    Mesh::read(&map("values", values.to_string()), &map("mesh", config), "istiod").unwrap()
}

/// A running pod with an outdated sidecar in the plain mesh, after `change`.
pub fn pod(change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "n", "annotations": {
            "sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"}},
        "spec": {"containers": [{"name": "istio-proxy", "image": "new/proxyv2:1"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    change(&mut pod);
    serde_json::from_str(&pod.to_string()).unwrap()
}
