//! Restarts Istio's own workloads for changes that take effect only at their start: gateways read a part of the mesh
//! configuration then, and a network policy does not apply to connections that are older.
//!
//! A component is outdated if one of its pods is older than the change; the ledger holds when the change was observed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use thiserror::Error;

use super::patch::{self, StartResult};
use crate::api::names::{EGRESS_GATEWAY, INGRESS_GATEWAY, ISTIO_NAMESPACE};
use crate::dataplane::clock::current_second;
use crate::dataplane::discovery::mesh::Mesh;
use crate::dataplane::model::{Meta, Pod, RestartTarget, Workload, hash};
use crate::dataplane::requests::{self, Pages};
use crate::dataplane::restart_ledger::{self, LedgerStore, RestartAttempt, RestartLedger};
use crate::dataplane::schedule::stale_workload::{RestartAnnotations, RestartStrategy, StaleWorkload};
use crate::dataplane::workload::disruption::{PodReplacement, selector_matches};
use crate::dataplane::workload::rollout::{RolloutStatus, rollout_status};
use crate::dataplane::workload::{WorkloadKind, daemon_set, deployment};
use crate::gather::istiod::ISTIOD;
use crate::kubernetes::object::{self, ObjectId};
use crate::plan::MODULE_SELECTOR;

/// Istio's own workloads could not be checked or restarted.
#[derive(Debug, Error)]
pub enum Error {
    /// One of them, or its pods, could not be read.
    #[error("failed to read {workload} or its pods")]
    ReadWorkload {
        /// The workload.
        workload: ObjectId,
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// The network policies could not be listed.
    #[error("failed to list NetworkPolicies in namespace {ISTIO_NAMESPACE}")]
    ListPolicies {
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// The restart ledger could not be written.
    #[error("failed to record the restart of an Istio component")]
    Ledger {
        /// The cause.
        #[from]
        source: restart_ledger::Error,
    },
}

/// A change that takes effect only at the start of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConfigDependency {
    /// The part of the mesh configuration that gateways read at their start.
    GatewayConfiguration,
    /// Whether network policies are installed.
    NetworkPolicies,
}

impl ConfigDependency {
    const ALL: [Self; 2] = [Self::GatewayConfiguration, Self::NetworkPolicies];

    fn name(self) -> &'static str {
        match self {
            Self::GatewayConfiguration => "gateway-configuration",
            Self::NetworkPolicies => "network-policies",
        }
    }

    fn components(self) -> &'static [(WorkloadKind, &'static str)] {
        const GATEWAYS: [(WorkloadKind, &str); 2] =
            [(deployment::KIND, INGRESS_GATEWAY), (deployment::KIND, EGRESS_GATEWAY)];
        const ALL: [(WorkloadKind, &str); 4] = [
            (deployment::KIND, INGRESS_GATEWAY),
            (deployment::KIND, EGRESS_GATEWAY),
            (deployment::KIND, ISTIOD),
            (daemon_set::KIND, "istio-cni-node"),
        ];
        match self {
            Self::GatewayConfiguration => &GATEWAYS,
            Self::NetworkPolicies => &ALL,
        }
    }
}

#[derive(Deserialize)]
struct ListedPolicy {
    #[allow(dead_code)]
    metadata: Meta,
}

/// Restarts at most one outdated component and returns it.
///
/// One at a time: gateways, control plane and CNI agents must not be unavailable together.
pub async fn restart_one(
    client: &Client,
    mesh: &Mesh,
    store: &mut LedgerStore,
    ledger: &mut RestartLedger,
) -> Result<Option<ObjectId>, Error> {
    let before = ledger.clone();
    let now = current_second();
    ledger.record_config(ConfigDependency::GatewayConfiguration.name(), &mesh.gateway_hash, now, true);
    let policies = if has_network_policies(client).await? { "on" } else { "off" };
    // Without policies, nothing restricts old connections or new ones.
    ledger.record_config(ConfigDependency::NetworkPolicies.name(), policies, now, policies == "on");
    if *ledger != before {
        store.save(ledger).await?;
    }
    for dependency in ConfigDependency::ALL {
        let Some(record) = ledger.config_records.get(dependency.name()) else { continue };
        let Some(changed_at) = record.changed_at else { continue };
        let target = RestartTarget::from(hash(&[&record.digest, &changed_at.as_second().to_string()]));
        for (kind, name) in dependency.components() {
            if let Some(component) =
                find_outdated_component(client, *kind, name, &target, changed_at, ledger).await?
            {
                return restart_component(client, store, ledger, &component, now).await;
            }
        }
    }
    Ok(None)
}

async fn has_network_policies(client: &Client) -> Result<bool, Error> {
    let resource = object::resource("networking.k8s.io", "v1", "NetworkPolicy");
    let params = ListParams::default().limit(1).labels(MODULE_SELECTOR);
    let found = requests::list_small::<ListedPolicy>(client, &resource, Some(ISTIO_NAMESPACE), &params).await;
    let found = found.map_err(|source| Error::ListPolicies { source: Box::new(source) })?;
    Ok(!found.is_empty())
}

/// The component, if it exists, has no rollout in progress, and has a pod that is older than the change.
async fn find_outdated_component(
    client: &Client,
    kind: WorkloadKind,
    name: &str,
    target: &RestartTarget,
    changed_at: Timestamp,
    ledger: &RestartLedger,
) -> Result<Option<StaleWorkload>, Error> {
    let id = kind.object(ISTIO_NAMESPACE, name);
    let failed = |source| Error::ReadWorkload { workload: id.clone(), source: Box::new(source) };
    let workload: Option<Workload> = requests::get(client, &id).await.map_err(failed)?;
    let Some(workload) = workload else { return Ok(None) };
    let meta = &workload.metadata;
    let already_restarted = ledger.was_restarted(&meta.uid.as_str().into(), target, meta.generation);
    if already_restarted || rollout_status(kind, &workload) != RolloutStatus::Complete {
        return Ok(None);
    }
    let selector = workload.spec.selector.clone().unwrap_or_default();
    let is_due = has_pod_older_than(client, &selector, changed_at).await.map_err(failed)?;
    Ok(is_due.then(|| stale_component(kind, id, &workload, target.clone())))
}

/// Whether one of the selected pods has been running since before `time`.
async fn has_pod_older_than(
    client: &Client,
    selector: &LabelSelector,
    time: Timestamp,
) -> Result<bool, kube::Error> {
    let resource = object::resource("", "v1", "Pod");
    let is_old =
        |pod: &Pod| selector_matches(selector, &pod.metadata.labels) && was_running_before(pod, time);
    let mut pages = Pages::new(client, &resource, Some(ISTIO_NAMESPACE));
    let mut found = false;
    while pages.next(|pod: Pod, _| found |= is_old(&pod)).await? && !found {}
    Ok(found)
}

/// Whether a pod was created before `time` and has not completed. Evicted and failed pods remain as objects until they are
/// deleted.
fn was_running_before(pod: &Pod, time: Timestamp) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |created| created.0);
    created < time && !matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
}

fn stale_component(
    kind: WorkloadKind,
    id: ObjectId,
    workload: &Workload,
    target: RestartTarget,
) -> StaleWorkload {
    StaleWorkload {
        workload: id,
        kind,
        uid: workload.metadata.uid.as_str().into(),
        generation: workload.metadata.generation,
        kyma: false,
        gateway: true,
        reasons: Vec::new(),
        target,
        replicas: workload.spec.replicas.unwrap_or_default(),
        replacement: PodReplacement::Rolling { min_available: 0 },
        rollout: RolloutStatus::Complete,
        paused: false,
        pod_created: Timestamp::UNIX_EPOCH,
        labels: std::collections::BTreeMap::new(),
        restart_annotations: RestartAnnotations::default(),
        desired_injection: None,
        owner_unverified: None,
    }
}

async fn restart_component(
    client: &Client,
    store: &mut LedgerStore,
    ledger: &mut RestartLedger,
    stale: &StaleWorkload,
    now: Timestamp,
) -> Result<Option<ObjectId>, Error> {
    let attempt = RestartAttempt { target: stale.target.clone(), generation: stale.generation, at: now };
    ledger.record_attempt(&stale.uid, attempt);
    store.save(ledger).await?;
    match patch::restart(client, stale, RestartStrategy::Template, now).await {
        StartResult::Rolling { .. } => {
            tracing::info!(workload = %stale.workload, "restarting Istio component, because it reads the changed configuration only at its start");
            Ok(Some(stale.workload.clone()))
        }
        StartResult::Gone => Ok(None),
        StartResult::Refused(why) | StartResult::NoResponse(why) => {
            tracing::warn!(workload = %stale.workload, why, "failed to restart Istio component");
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
            assert_eq!(
                has_pod_older_than(&client, &selector, Timestamp::from_second(since).unwrap()).await.unwrap(),
                is_old,
                "{app} {since}"
            );
        }
    }

    #[test]
    fn finished_pods_need_no_restart() {
        for (phase, created, needs_restart) in
            [("Running", 99, true), ("Running", 100, false), ("Pending", 99, true), ("Failed", 99, false)]
        {
            let pod = json!({
                "metadata": {"creationTimestamp": Timestamp::from_second(created).unwrap().to_string()},
                "status": {"phase": phase},
            });
            let pod: Pod = serde_json::from_str(&pod.to_string()).unwrap();
            assert_eq!(
                was_running_before(&pod, Timestamp::from_second(100).unwrap()),
                needs_restart,
                "{phase} {created}"
            );
        }
    }
}
