//! What the tests of several rooms are made of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::decide::disruption::Replacement;
use super::decide::finding::{Decision, Finding, Hindrance, Steering};
use super::decide::found::{Found, Survey};
use super::decide::rollout::Rollout;
use super::kind::Kind;
use super::look::mesh::Mesh;
use super::objects::Pod;
use super::reason::Reason;
use crate::object::ObjectId;

/// A Deployment with an outdated proxy, of this name and UID.
pub fn finding(name: &str) -> Finding {
    Finding {
        workload: ObjectId {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            namespace: Some("ns".into()),
            name: name.into(),
        },
        kind: Kind::Deployment,
        uid: name.into(),
        generation: 1,
        kyma: false,
        gateway: false,
        reasons: vec![Reason::DnsCapture],
        target: "t".into(),
        replicas: 1,
        replacement: Replacement::Recreate,
        rollout: Rollout::Complete,
        paused: false,
        pod_created: 0,
        labels: BTreeMap::new(),
        steering: Steering::default(),
        wanted: None,
        unverified: None,
    }
}

/// A look that held so many workloads back, for these reasons.
pub fn survey(holds: &[Hindrance]) -> Survey {
    let decision = |(index, why): (usize, &Hindrance)| {
        (finding(&format!("w{}", index + 1)), Decision::Hold(why.clone()))
    };
    Survey {
        found: Found { total: 10, ..Found::default() },
        decisions: holds.iter().enumerate().map(decision).collect(),
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
