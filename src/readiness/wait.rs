//! Waits, by watches, until the objects of a stage are ready, one of them fails, or a timeout passes.
//!
//! [`super::conditions`] says which objects, [`super::rules`] what ready means, [`super::pod_diagnostics`] why an object is not.
//! This module forwards events, and touches CRDs that the API server does not establish.

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

/// Delay before pods are first diagnosed, and interval after that.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(5);
const MAX_DIAGNOSED_PODS: u32 = 20;
/// Delay before a CRD that is not established is first touched, and interval after that. Where there are several API servers, they
/// establish a CRD only after five seconds.
const TOUCH_INTERVAL: Duration = Duration::from_secs(10);
/// Annotation whose change makes the API server process a CRD again.
const REQUEUED_AT_ANNOTATION: &str = "istios.operator.kyma-project.io/requeued-at";

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// Everything is ready.
    Ready,
    /// An object failed, or the timeout passed; the text names the object that is not ready, and why.
    NotReady(String),
}

/// Why an object is not ready.
struct Diagnosis {
    /// The object, what it is waiting for, and what its pods report.
    text: String,
    /// Whether the object will not become ready without a change.
    is_failed: bool,
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

/// What to do while an object is not ready.
#[derive(Clone)]
enum FollowUp {
    /// Diagnose its pods.
    Pods(PodSelector),
    /// Diagnose the workload behind it.
    Workload(ObjectId),
    /// Touch it, so that the API server processes it again.
    Touch(ObjectId),
}

#[derive(Clone)]
struct PodSelector {
    namespace: String,
    labels: String,
}

/// Waits until all conditions hold, one of the objects fails, or `timeout` has passed since the call.
///
/// A workload behind an endpoint is not watched: its failure is noticed when it is diagnosed, after some seconds.
pub async fn wait_until_ready(
    client: &Client,
    conditions: &[ReadinessCondition],
    timeout: Duration,
    progress: &Progress,
) -> WaitOutcome {
    if conditions.is_empty() {
        return WaitOutcome::Ready;
    }
    let mut states = initial_states(conditions);
    let mut updates =
        stream::select_all(conditions.iter().map(|condition| watch_condition(client, condition)));
    let end = Instant::now() + timeout;
    let mut diagnose_at = interval_at(Instant::now() + DIAGNOSIS_INTERVAL, DIAGNOSIS_INTERVAL);
    let mut touch_at = interval_at(Instant::now() + TOUCH_INTERVAL, TOUCH_INTERVAL);
    loop {
        tokio::select! {
            Some(update) = updates.next() => {
                states.insert(update.object, update.state);
                match most_urgent(&states) {
                    None => return WaitOutcome::Ready,
                    Some(Unready { is_failed: true, .. }) => {
                        return WaitOutcome::NotReady(diagnose_unready(client, &states).await.text);
                    }
                    Some(Unready { object, text, .. }) => progress.report(format!("waiting for {object}: {text}")),
                }
            }
            _ = diagnose_at.tick() => {
                let Diagnosis { text, is_failed } = diagnose_unready(client, &states).await;
                if is_failed {
                    return WaitOutcome::NotReady(text);
                }
                progress.report(format!("waiting for {text}"));
            }
            _ = touch_at.tick() => touch_crds(client, &states).await,
            () = tokio::time::sleep_until(end) => {
                return WaitOutcome::NotReady(diagnose_unready(client, &states).await.text);
            }
        }
    }
}

fn initial_states(conditions: &[ReadinessCondition]) -> BTreeMap<String, ObjectState> {
    let states = conditions.iter().flat_map(|condition| {
        let follow_up = match condition {
            ReadinessCondition::Endpoint { workload, .. } => workload.clone().map(FollowUp::Workload),
            ReadinessCondition::Crds(_) | ReadinessCondition::Object(_) => None,
        };
        let missing = ObjectState { readiness: ObjectReadiness::Waiting("not found yet".into()), follow_up };
        condition.names().into_iter().map(move |name| (name, missing.clone()))
    });
    states.collect()
}

/// An object that is not ready.
struct Unready<'s> {
    object: &'s str,
    text: &'s str,
    is_failed: bool,
    follow_up: Option<&'s FollowUp>,
}

/// The first failed object, else the first that is not ready; `None` if all are ready.
fn most_urgent(states: &BTreeMap<String, ObjectState>) -> Option<Unready<'_>> {
    let unready = || {
        states.iter().filter_map(|(object, state)| {
            let (text, is_failed) = match &state.readiness {
                ObjectReadiness::Ready => return None,
                ObjectReadiness::Waiting(text) => (text, false),
                ObjectReadiness::Failed(text) => (text, true),
            };
            Some(Unready { object, text, is_failed, follow_up: state.follow_up.as_ref() })
        })
    };
    unready().find(|unready| unready.is_failed).or_else(|| unready().next())
}

/// The most urgent object that is not ready, explained by its workload or pods where it has some.
async fn diagnose_unready(client: &Client, states: &BTreeMap<String, ObjectState>) -> Diagnosis {
    let Some(unready) = most_urgent(states) else {
        return Diagnosis { text: "nothing".into(), is_failed: false };
    };
    let behind = match unready.follow_up {
        // Without this read, only the explanation is missing.
        Some(FollowUp::Workload(workload)) => diagnose(client, workload)
            .await
            .inspect_err(|error| tracing::debug!(%error, object = %workload, "failed to diagnose a workload"))
            .ok()
            .flatten(),
        _ => None,
    };
    match behind {
        Some(diagnosis) => diagnosis,
        None => describe_with_pods(client, unready).await,
    }
}

/// Why a workload is not ready, quoted from its status and its pods; `None` if it is ready, or does not exist.
///
/// Fails if the workload cannot be read: then its state is unknown.
pub async fn diagnose_workload(client: &Client, workload: &ObjectId) -> Result<Option<String>, kube::Error> {
    Ok(diagnose(client, workload).await?.map(|diagnosis| diagnosis.text))
}

async fn diagnose(client: &Client, workload: &ObjectId) -> Result<Option<Diagnosis>, kube::Error> {
    let Some(live) = workload.api(client.clone()).get_opt(&workload.name).await? else { return Ok(None) };
    let StateUpdate { object, state } = assess_object(workload, &as_value(live));
    let states = BTreeMap::from([(object, state)]);
    match most_urgent(&states) {
        Some(unready) => Ok(Some(describe_with_pods(client, unready).await)),
        None => Ok(None),
    }
}

async fn describe_with_pods(client: &Client, unready: Unready<'_>) -> Diagnosis {
    let Unready { object, text, is_failed, follow_up } = unready;
    let pods = match follow_up {
        Some(FollowUp::Pods(selector)) => diagnose_selected_pods(client, selector).await,
        _ => None,
    };
    let text = match pods {
        Some(pods) => format!("{object}: {text}; {pods}"),
        None => format!("{object}: {text}"),
    };
    Diagnosis { text, is_failed }
}

/// Without this list, only the explanation is missing: a failure is logged and not returned.
async fn diagnose_selected_pods(client: &Client, selector: &PodSelector) -> Option<String> {
    let pods: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &selector.namespace, &resource("", "v1", "Pod"));
    match pods.list(&ListParams::default().labels(&selector.labels).limit(MAX_DIAGNOSED_PODS)).await {
        Ok(list) => pod_diagnostics::diagnose_pods(&list.items.into_iter().map(as_value).collect::<Vec<_>>()),
        Err(error) => {
            tracing::debug!(%error, namespace = selector.namespace, "failed to list pods for a diagnosis");
            None
        }
    }
}

/// Changes an annotation of the CRDs that the API server has not established, so that it processes them again.
///
/// The annotation has a field manager of its own: it is not part of the applied manifest, so it is not drift. A failed write is
/// repeated after the interval.
async fn touch_crds(client: &Client, states: &BTreeMap<String, ObjectState>) {
    for state in states.values() {
        let (ObjectReadiness::Waiting(_), Some(FollowUp::Touch(id))) = (&state.readiness, &state.follow_up)
        else {
            continue;
        };
        let patch =
            json!({"metadata": {"annotations": {REQUEUED_AT_ANNOTATION: Timestamp::now().to_string()}}});
        let params =
            PatchParams { field_manager: Some(OWN_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = id.api(client.clone()).patch_metadata(&id.name, &params, &Patch::Merge(&patch)).await;
        match patched.err() {
            None => tracing::warn!(object = %id, "touched the CRD to make the API server establish it"),
            Some(error) => {
                tracing::warn!(%error, object = %id, "failed to touch the CRD");
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

/// The part of a CRD that shows whether it is established; schemas are skipped while parsing.
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
    let follow_up = rules::is_awaiting_establishment(&live).then(|| FollowUp::Touch(id.clone()));
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

/// Every state of the watched objects; an interrupted watch is reopened with backoff.
fn open_watch<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    streaming_watcher(api, config)
        .default_backoff()
        .applied_objects()
        .filter_map(|event| async move {
            event.inspect_err(|error| tracing::debug!(%error, "watch interrupted, reopening it")).ok()
        })
        .boxed()
}

fn as_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kube::client::Body;

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
        let name = "gateways.networking.istio.io";
        ObjectId::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    }

    #[test]
    fn an_object_that_was_never_found_is_not_ready() {
        let states = initial_states(&[ReadinessCondition::Object(crd())]);
        assert!(most_urgent(&states).is_some_and(|unready| !unready.is_failed));
    }

    #[test]
    fn a_failed_object_comes_before_those_that_wait() {
        let state = |readiness| ObjectState { readiness, follow_up: None };
        let mut states = BTreeMap::from([
            ("a".to_owned(), state(ObjectReadiness::Ready)),
            ("b".to_owned(), state(ObjectReadiness::Waiting("for pods".into()))),
        ]);
        assert!(most_urgent(&states).is_some_and(|unready| unready.object == "b" && !unready.is_failed));
        states.insert("c".to_owned(), state(ObjectReadiness::Failed("rollout failed".into())));
        assert!(most_urgent(&states).is_some_and(|unready| unready.object == "c" && unready.is_failed));
        states.clear();
        assert!(most_urgent(&states).is_none());
    }

    /// An API server whose Deployment has exceeded its progress deadline, and that has nothing else.
    async fn failed_rollout(request: http::Request<Body>) -> Result<http::Response<Body>, tower::BoxError> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "istio-system", "generation": 1, "resourceVersion": "1"},
            "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Progressing", "status": "False",
                "reason": "ProgressDeadlineExceeded", "message": "timed out progressing"}]}});
        if query.contains("watch=true") && !query.contains("sendInitialEvents") {
            return std::future::pending().await;
        }
        let object = match path {
            // The API server does not support streaming lists.
            _ if query.contains("sendInitialEvents") => Value::Null,
            "/apis/apps/v1/namespaces/istio-system/deployments/istiod" => deployment,
            "/apis/apps/v1/namespaces/istio-system/deployments" => {
                json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {"resourceVersion": "1"},
                    "items": [deployment]})
            }
            _ => {
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": []})
            }
        };
        let status = if object.is_null() { 422 } else { 200 };
        let body = if object.is_null() { String::new() } else { object.to_string() };
        Ok(http::Response::builder().status(status).body(Body::from(body.into_bytes()))?)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_rollout_is_reported_before_the_timeout() {
        use crate::api::{Istio, IstioSpec};
        let client = Client::new(tower::service_fn(failed_rollout), "default");
        let progress = crate::status::StatusWriter::start(client.clone(), "test".to_owned())
            .report_on(&Istio::new("default", IstioSpec::default()));
        let istiod = ObjectId::namespaced("apps/v1", "Deployment", "istio-system", "istiod");
        let service = ObjectId::namespaced("v1", "Service", "istio-system", "istiod");
        for condition in [
            ReadinessCondition::Object(istiod.clone()),
            ReadinessCondition::Endpoint { service, workload: Some(istiod) },
        ] {
            let started = Instant::now();
            let timeout = Duration::from_secs(360);
            let outcome =
                wait_until_ready(&client, std::slice::from_ref(&condition), timeout, &progress).await;
            let WaitOutcome::NotReady(reason) = outcome else { panic!("{condition:?} is ready") };
            assert!(reason.contains("Deployment istio-system/istiod: rollout failed"), "{reason}");
            assert!(started.elapsed() < timeout, "{condition:?}");
        }
    }

    #[test]
    fn only_an_accepted_crd_that_is_not_established_is_touched() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        for (conditions, is_touched) in [
            (json!([]), false),
            (json!([condition("NamesAccepted", "False")]), false),
            (json!([condition("NamesAccepted", "True")]), true),
            (json!([condition("NamesAccepted", "True"), condition("Established", "False")]), true),
            (json!([condition("NamesAccepted", "True"), condition("Established", "True")]), false),
        ] {
            let StateUpdate { state, .. } = assess_crd(&crd(), &json!({"conditions": conditions}));
            assert_eq!(matches!(state.follow_up, Some(FollowUp::Touch(_))), is_touched, "{conditions}");
        }
    }
}
