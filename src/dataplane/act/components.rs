//! Istio's own workloads that take something in only when they start: gateways read a part of the mesh configuration at
//! their start, and connections that are older than a network policy escape it.
//!
//! What each has taken in follows from when its pods were made; when the configuration changed is remembered.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use thiserror::Error;

use super::patch::{self, Started};
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY, ISTIO_NAMESPACE};
use crate::dataplane::decide::disruption::{Replacement, matches};
use crate::dataplane::decide::finding::{Finding, Method, Steering};
use crate::dataplane::decide::rollout::{Rollout, rollout};
use crate::dataplane::digest::hash;
use crate::dataplane::kind::Kind;
use crate::dataplane::look::mesh::Mesh;
use crate::dataplane::memory::{self, Attempt, Concern, Memory, Store};
use crate::dataplane::objects::{Meta, Pod, Workload};
use crate::dataplane::requests::{self, Pages};
use crate::object::{self, ObjectId};
use crate::observe::istiod::ISTIOD;
use crate::plan::MODULE_SELECTOR;

/// Istio's own workloads could not be looked at.
#[derive(Debug, Error)]
pub enum Error {
    /// One of them, or its pods.
    #[error("cannot look at {workload}")]
    Read {
        /// Which.
        workload: ObjectId,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The network policies.
    #[error("cannot list the NetworkPolicies in {ISTIO_NAMESPACE}")]
    Policies {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// What was restarted.
    #[error("cannot remember what was restarted")]
    Memory {
        /// Why.
        #[from]
        source: memory::Error,
    },
}

/// What a component may not have taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// The part of the mesh configuration that gateways read at their start.
    GatewayConfiguration,
    /// That network policies apply.
    NetworkPolicies,
}

impl Subject {
    const ALL: [Self; 2] = [Self::GatewayConfiguration, Self::NetworkPolicies];

    fn name(self) -> &'static str {
        match self {
            Self::GatewayConfiguration => "gateway-configuration",
            Self::NetworkPolicies => "network-policies",
        }
    }

    fn components(self) -> &'static [(Kind, &'static str)] {
        const GATEWAYS: [(Kind, &str); 2] =
            [(Kind::Deployment, INGRESS_GATEWAY), (Kind::Deployment, EGRESS_GATEWAY)];
        const ALL: [(Kind, &str); 4] = [
            (Kind::Deployment, INGRESS_GATEWAY),
            (Kind::Deployment, EGRESS_GATEWAY),
            (Kind::Deployment, ISTIOD),
            (Kind::DaemonSet, "istio-cni-node"),
        ];
        match self {
            Self::GatewayConfiguration => &GATEWAYS,
            Self::NetworkPolicies => &ALL,
        }
    }
}

#[derive(Deserialize)]
struct Named {
    #[allow(dead_code)]
    metadata: Meta,
}

/// Restarts at most one component that has not taken something in; tells which.
///
/// One at a time: gateway, control plane and CNI agent must not be away together.
pub async fn restart_one(
    client: &Client,
    mesh: &Mesh,
    store: &mut Store,
    memory: &mut Memory,
) -> Result<Option<ObjectId>, Error> {
    let before = memory.clone();
    let now = Timestamp::now();
    memory.concern(Subject::GatewayConfiguration.name(), &mesh.gateway, now.as_second(), true);
    let policies = if policies(client).await? { "on" } else { "off" };
    // Without policies, old connections are as good as new ones.
    memory.concern(Subject::NetworkPolicies.name(), policies, now.as_second(), policies == "on");
    if *memory != before {
        store.save(memory).await?;
    }
    for subject in Subject::ALL {
        let Some(concern) = memory.concerns.get(subject.name()).filter(|concern| concern.since > 0).cloned()
        else {
            continue;
        };
        for (kind, name) in subject.components() {
            if let Some(finding) = due(client, *kind, name, &concern, memory).await? {
                return restart(client, store, memory, &finding, now).await;
            }
        }
    }
    Ok(None)
}

async fn policies(client: &Client) -> Result<bool, Error> {
    let resource = object::resource("networking.k8s.io", "v1", "NetworkPolicy");
    let params = ListParams::default().limit(1).labels(MODULE_SELECTOR);
    let found = requests::few::<Named>(client, &resource, Some(ISTIO_NAMESPACE), &params).await;
    let found = found.map_err(|source| Error::Policies { source: Box::new(source) })?;
    Ok(!found.is_empty())
}

/// The component, if it is there, settled, and has a pod that is older than the change.
async fn due(
    client: &Client,
    kind: Kind,
    name: &str,
    concern: &Concern,
    memory: &Memory,
) -> Result<Option<Finding>, Error> {
    let id = ObjectId {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: format!("{kind:?}"),
        namespace: Some(ISTIO_NAMESPACE.to_owned()),
        name: name.to_owned(),
    };
    let failed = |source| Error::Read { workload: id.clone(), source: Box::new(source) };
    let workload: Option<Workload> = requests::get(client, &id).await.map_err(failed)?;
    let Some(workload) = workload else { return Ok(None) };
    let target = hash(&[&concern.digest, &concern.since.to_string()]);
    let meta = &workload.metadata;
    let tried = memory.tried(&meta.uid, &target, meta.generation);
    if tried || rollout(kind, &workload) != Rollout::Complete {
        return Ok(None);
    }
    let selector = workload.spec.selector.clone().unwrap_or_default();
    let is_due = has_old_pod(client, &selector, concern.since).await.map_err(failed)?;
    Ok(is_due.then(|| finding(kind, id, &workload, target)))
}

/// Whether one of the pods that are selected runs since before this second since the epoch.
async fn has_old_pod(client: &Client, selector: &LabelSelector, since: i64) -> Result<bool, kube::Error> {
    let resource = object::resource("", "v1", "Pod");
    let is_old = |pod: &Pod| matches(selector, &pod.metadata.labels) && runs_since_before(pod, since);
    let mut pages = Pages::new(client, &resource, Some(ISTIO_NAMESPACE));
    let mut found = false;
    while pages.next(|pod: Pod, _| found |= is_old(&pod)).await? && !found {}
    Ok(found)
}

/// Whether a pod was there before this second since the epoch and has not ended: what was evicted or has failed stays as
/// an object, and reads nothing any more.
fn runs_since_before(pod: &Pod, since: i64) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref().map_or(0, |created| created.0.as_second());
    created < since && !matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
}

fn finding(kind: Kind, id: ObjectId, workload: &Workload, target: String) -> Finding {
    Finding {
        workload: id,
        kind,
        uid: workload.metadata.uid.clone(),
        generation: workload.metadata.generation,
        kyma: false,
        gateway: true,
        reasons: Vec::new(),
        target,
        replicas: workload.spec.replicas.unwrap_or_default(),
        replacement: Replacement::Rolling { keeps: 0 },
        rollout: Rollout::Complete,
        paused: false,
        pod_created: 0,
        labels: std::collections::BTreeMap::new(),
        steering: Steering::default(),
        wanted: None,
        unverified: None,
    }
}

async fn restart(
    client: &Client,
    store: &mut Store,
    memory: &mut Memory,
    finding: &Finding,
    now: Timestamp,
) -> Result<Option<ObjectId>, Error> {
    let attempt =
        Attempt { target: finding.target.clone(), generation: finding.generation, at: now.as_second() };
    memory.remember(&finding.uid, attempt);
    store.save(memory).await?;
    match patch::restart(client, finding, Method::Template, now).await {
        Started::Rolling { .. } => {
            tracing::info!(workload = %finding.workload, "restarting, since it reads the changed configuration at its start");
            Ok(Some(finding.workload.clone()))
        }
        Started::Gone => Ok(None),
        Started::Refused(why) | Started::Unanswered(why) => {
            tracing::warn!(workload = %finding.workload, why, "cannot be restarted");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A namespace with many pods: those of the CNI agent alone are as many as there are nodes.
    #[tokio::test]
    async fn an_old_pod_is_found_on_whichever_page_it_is() {
        let pod = |app: &str, created: &str| json!({"metadata": {"labels": {"app": app}, "creationTimestamp": created}});
        let answer = move |request: Request<Body>| {
            let is_second = request.uri().query().is_some_and(|query| query.contains("continue=next"));
            let page = if is_second {
                json!({"metadata": {}, "items": [pod("istiod", "1970-01-01T00:00:01Z")]})
            } else {
                json!({"metadata": {"continue": "next"}, "items": [pod("istio-cni-node", "1970-01-01T00:00:01Z")]})
            };
            std::future::ready(Response::builder().body(Body::from(page.to_string().into_bytes())))
        };
        let client = Client::new(tower::service_fn(answer), "default");
        for (app, since, is_old) in
            [("istiod", 2, true), ("istiod", 1, false), ("istio-ingressgateway", 2, false)]
        {
            let selector = serde_json::from_value(json!({"matchLabels": {"app": app}})).unwrap();
            assert_eq!(has_old_pod(&client, &selector, since).await.unwrap(), is_old, "{app} {since}");
        }
    }

    #[test]
    fn pods_that_have_ended_ask_for_no_restart() {
        for (phase, created, asks) in
            [("Running", 99, true), ("Running", 100, false), ("Pending", 99, true), ("Failed", 99, false)]
        {
            let pod = json!({
                "metadata": {"creationTimestamp": Timestamp::from_second(created).unwrap().to_string()},
                "status": {"phase": phase},
            });
            let pod: Pod = serde_json::from_str(&pod.to_string()).unwrap();
            assert_eq!(runs_since_before(&pod, 100), asks, "{phase} {created}");
        }
    }
}
