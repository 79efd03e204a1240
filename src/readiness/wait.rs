//! Waits, by watch, until the objects of a stage are ready or a deadline passes.
//!
//! What is waited for is said in `gates`, what ready means is judged in `ready`, why it is not in `explain`; this module
//! only moves events, and reminds the API server of what it forgot.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams, ObjectMeta, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, interval_at};

use super::conditions::{ReadinessCondition, endpoint_name};
use super::pod_diagnostics;
use super::rules::{self, ObjectReadiness};
use crate::api::names::OWN_FIELD_MANAGER;
use crate::kubernetes::object::{ObjectId, resource};
use crate::kubernetes::streaming_watcher;
use crate::status::Progress;

/// When a wait first asks pods for reasons, and how often after that.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(5);
const MAX_DIAGNOSED_PODS: u32 = 20;
/// When a wait first reminds the API server of a definition, and how often after that. Several API servers wait for five
/// seconds before they establish one.
const NUDGE_INTERVAL: Duration = Duration::from_secs(10);
/// Annotation whose change makes the API server look at a definition again.
const REQUEUED_AT_ANNOTATION: &str = "istios.operator.kyma-project.io/reminded-at";

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// Everything is ready.
    Ready,
    /// The deadline passed; the text names the first object that is not ready, and why.
    NotReady(String),
}

/// One report from a watch.
struct StateUpdate {
    object: String,
    state: ObjectState,
}

#[derive(Clone)]
struct ObjectState {
    readiness: ObjectReadiness,
    follow_up: Option<FollowUp>,
}

/// What helps while an object is not ready.
#[derive(Clone)]
enum FollowUp {
    /// Its pods can tell more.
    Pods(PodSelector),
    /// The workload behind it can tell more.
    Workload(ObjectId),
    /// The API server has to be reminded of it.
    Nudge(ObjectId),
}

#[derive(Clone)]
struct PodSelector {
    namespace: String,
    labels: String,
}

/// Waits until every gate is open, or until `deadline` has passed since the call.
pub async fn wait_until_ready(
    client: &Client,
    conditions: &[ReadinessCondition],
    deadline: Duration,
    progress: &Progress,
) -> WaitOutcome {
    if conditions.is_empty() {
        return WaitOutcome::Ready;
    }
    let mut states = initial_states(conditions);
    let mut updates =
        stream::select_all(conditions.iter().map(|condition| watch_condition(client, condition)));
    let end = Instant::now() + deadline;
    let mut diagnose_at = interval_at(Instant::now() + DIAGNOSIS_INTERVAL, DIAGNOSIS_INTERVAL);
    let mut nudge_at = interval_at(Instant::now() + NUDGE_INTERVAL, NUDGE_INTERVAL);
    loop {
        tokio::select! {
            Some(update) = updates.next() => {
                states.insert(update.object, update.state);
                match first_unready(&states) {
                    None => return WaitOutcome::Ready,
                    Some((object, text, _)) => progress.report(format!("waiting for {object}: {text}")),
                }
            }
            _ = diagnose_at.tick() => progress.report(format!("waiting for {}", describe_unready(client, &states).await)),
            _ = nudge_at.tick() => nudge_crds(client, &states).await,
            () = tokio::time::sleep_until(end) => return WaitOutcome::NotReady(describe_unready(client, &states).await),
        }
    }
}

fn initial_states(conditions: &[ReadinessCondition]) -> BTreeMap<String, ObjectState> {
    let states = conditions.iter().flat_map(|condition| {
        let follow_up = match condition {
            ReadinessCondition::Endpoint { workload, .. } => workload.clone().map(FollowUp::Workload),
            ReadinessCondition::Crds(_) | ReadinessCondition::Object(_) => None,
        };
        let missing =
            ObjectState { readiness: ObjectReadiness::Waiting("it has not appeared yet".into()), follow_up };
        condition.names().into_iter().map(move |name| (name, missing.clone()))
    });
    states.collect()
}

fn first_unready(states: &BTreeMap<String, ObjectState>) -> Option<(&str, &str, Option<&FollowUp>)> {
    states.iter().find_map(|(object, state)| match &state.readiness {
        ObjectReadiness::Ready => None,
        ObjectReadiness::Waiting(text) => Some((object.as_str(), text.as_str(), state.follow_up.as_ref())),
    })
}

/// The first unready object with its own words and, where there are some, those of its workload or pods.
async fn describe_unready(client: &Client, states: &BTreeMap<String, ObjectState>) -> String {
    let Some((object, text, follow_up)) = first_unready(states) else { return "nothing".into() };
    let diagnosis = match follow_up {
        // A failing read only costs the explanation.
        Some(FollowUp::Workload(workload)) => diagnose_workload(client, workload)
            .await
            .inspect_err(|error| tracing::debug!(%error, object = %workload, "cannot explain a wait"))
            .ok()
            .flatten(),
        _ => None,
    };
    match diagnosis {
        Some(diagnosis) => diagnosis,
        None => describe_with_pods(client, object, text, follow_up).await,
    }
}

/// Why a workload is not ready, in its own words and those of its pods; `None` if it is, or is gone.
///
/// Fails if the workload cannot be read: then nothing is known about it.
pub async fn diagnose_workload(client: &Client, workload: &ObjectId) -> Result<Option<String>, kube::Error> {
    let Some(live) = workload.api(client.clone()).get_opt(&workload.name).await? else { return Ok(None) };
    let StateUpdate { object, state } = assess_object(workload, &as_value(live));
    Ok(match state.readiness {
        ObjectReadiness::Ready => None,
        ObjectReadiness::Waiting(text) => {
            Some(describe_with_pods(client, &object, &text, state.follow_up.as_ref()).await)
        }
    })
}

async fn describe_with_pods(
    client: &Client,
    object: &str,
    text: &str,
    follow_up: Option<&FollowUp>,
) -> String {
    let diagnosis = match follow_up {
        Some(FollowUp::Pods(selector)) => diagnose_selected_pods(client, selector).await,
        _ => None,
    };
    match diagnosis {
        Some(diagnosis) => format!("{object}: {text}; {diagnosis}"),
        None => format!("{object}: {text}"),
    }
}

/// A failing list only costs the explanation, so it is logged and not returned.
async fn diagnose_selected_pods(client: &Client, selector: &PodSelector) -> Option<String> {
    let pods: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &selector.namespace, &resource("", "v1", "Pod"));
    match pods.list(&ListParams::default().labels(&selector.labels).limit(MAX_DIAGNOSED_PODS)).await {
        Ok(list) => pod_diagnostics::diagnose_pods(&list.items.into_iter().map(as_value).collect::<Vec<_>>()),
        Err(error) => {
            tracing::debug!(%error, namespace = selector.namespace, "cannot list pods to explain a wait");
            None
        }
    }
}

/// Changes the definitions that the API server forgot to establish, so that it sees them.
///
/// The annotation belongs to a manager of its own: it is no part of what is applied, so it is no drift. A write that fails
/// is tried again at the next turn.
async fn nudge_crds(client: &Client, states: &BTreeMap<String, ObjectState>) {
    for state in states.values() {
        let (ObjectReadiness::Waiting(_), Some(FollowUp::Nudge(id))) = (&state.readiness, &state.follow_up)
        else {
            continue;
        };
        let patch =
            json!({"metadata": {"annotations": {REQUEUED_AT_ANNOTATION: Timestamp::now().to_string()}}});
        let params =
            PatchParams { field_manager: Some(OWN_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = id.api(client.clone()).patch_metadata(&id.name, &params, &Patch::Merge(&patch)).await;
        match patched.err() {
            None => tracing::warn!(object = %id, "the API server was reminded to establish it"),
            Some(error) => {
                tracing::warn!(%error, object = %id, "cannot remind the API server to establish it");
            }
        }
    }
}

fn watch_condition(client: &Client, condition: &ReadinessCondition) -> BoxStream<'static, StateUpdate> {
    match condition {
        ReadinessCondition::Crds(ids) => watch_crds(client, ids.clone()),
        ReadinessCondition::Object(id) => watch_object(client, id.clone()),
        ReadinessCondition::Endpoint { service, workload } => {
            watch_endpoints(client, service, workload.as_ref())
        }
    }
}

/// Just enough of a CRD to see whether it is established; the schemas are skipped while parsing.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = CustomResourceDefinition)]
struct CrdStatus {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Value,
}

fn watch_crds(client: &Client, ids: Vec<ObjectId>) -> BoxStream<'static, StateUpdate> {
    let api: Api<CrdStatus> = Api::all(client.clone());
    let config = watcher::Config::default().labels(crate::plan::MODULE_SELECTOR).page_size(5);
    open_watch(api, config)
        .filter_map(move |crd| {
            let id = ids.iter().find(|id| crd.metadata.name.as_deref() == Some(&id.name));
            let update = id.map(|id| assess_crd(id, &crd.status));
            async move { update }
        })
        .boxed()
}

fn assess_crd(id: &ObjectId, status: &Value) -> StateUpdate {
    let live = json!({ "status": status });
    let follow_up = rules::is_awaiting_establishment(&live).then(|| FollowUp::Nudge(id.clone()));
    StateUpdate { object: id.to_string(), state: ObjectState { readiness: rules::crd(&live), follow_up } }
}

fn watch_object(client: &Client, id: ObjectId) -> BoxStream<'static, StateUpdate> {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", id.name));
    open_watch(id.api(client.clone()), config)
        .map(move |object| assess_object(&id, &as_value(object)))
        .boxed()
}

fn assess_object(id: &ObjectId, live: &Value) -> StateUpdate {
    let readiness = match id.kind.as_str() {
        "Deployment" => rules::deployment(live),
        "DaemonSet" => rules::daemon_set(live),
        "MutatingWebhookConfiguration" => rules::injector(live),
        _ => ObjectReadiness::Ready,
    };
    let follow_up = pod_selector(id, live).map(FollowUp::Pods);
    StateUpdate { object: id.to_string(), state: ObjectState { readiness, follow_up } }
}

fn pod_selector(id: &ObjectId, live: &Value) -> Option<PodSelector> {
    let labels = live.pointer("/spec/selector/matchLabels")?.as_object()?;
    let labels: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    Some(PodSelector { namespace: id.namespace.clone()?, labels: labels.join(",") })
}

fn watch_endpoints(
    client: &Client,
    service: &ObjectId,
    workload: Option<&ObjectId>,
) -> BoxStream<'static, StateUpdate> {
    let namespace = service.namespace.clone().unwrap_or_default();
    let slices = resource("discovery.k8s.io", "v1", "EndpointSlice");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &slices);
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let object = endpoint_name(service);
    let follow_up = workload.cloned().map(FollowUp::Workload);
    open_watch(api, config)
        .map(move |slice| {
            let readiness = rules::endpoint_slice(&as_value(slice));
            StateUpdate {
                object: object.clone(),
                state: ObjectState { readiness, follow_up: follow_up.clone() },
            }
        })
        .boxed()
}

/// Every state of the watched objects; a watch that breaks is opened again with back-off.
fn open_watch<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    streaming_watcher(api, config)
        .default_backoff()
        .applied_objects()
        .filter_map(|event| async move {
            event.inspect_err(|error| tracing::debug!(%error, "watch interrupted, opening it again")).ok()
        })
        .boxed()
}

fn as_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_workload_that_cannot_be_read_does_not_count_as_ready() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = Client::try_from(kube::Config::new(nobody.parse().unwrap())).unwrap();
        assert!(diagnose_workload(&client, &crd()).await.is_err());
    }

    fn crd() -> ObjectId {
        ObjectId {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            kind: "CustomResourceDefinition".into(),
            namespace: None,
            name: "gateways.networking.istio.io".into(),
        }
    }

    #[test]
    fn an_object_that_never_appeared_is_not_ready() {
        let states = initial_states(&[ReadinessCondition::Object(crd())]);
        assert!(first_unready(&states).is_some_and(|(_, text, _)| text == "it has not appeared yet"));
    }

    #[test]
    fn only_an_accepted_crd_that_is_not_established_is_nudged() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        for (conditions, is_nudged) in [
            (json!([]), false),
            (json!([condition("NamesAccepted", "False")]), false),
            (json!([condition("NamesAccepted", "True")]), true),
            (json!([condition("NamesAccepted", "True"), condition("Established", "False")]), true),
            (json!([condition("NamesAccepted", "True"), condition("Established", "True")]), false),
        ] {
            let StateUpdate { state, .. } = assess_crd(&crd(), &json!({"conditions": conditions}));
            assert_eq!(matches!(state.follow_up, Some(FollowUp::Nudge(_))), is_nudged, "{conditions}");
        }
    }
}
