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

use super::explain;
use super::gates::{Gate, endpoint_name};
use super::ready::{self, Readiness};
use crate::api::names::OWN_FIELD_MANAGER;
use crate::kubernetes::streamed;
use crate::object::{ObjectId, resource};
use crate::status::Progress;

/// When a wait first asks pods for reasons, and how often after that.
const EXPLAIN_EVERY: Duration = Duration::from_secs(5);
const PODS_TO_ASK: u32 = 20;
/// When a wait first reminds the API server of a definition, and how often after that. Several API servers wait for five
/// seconds before they establish one.
const REMIND_EVERY: Duration = Duration::from_secs(10);
/// Annotation whose change makes the API server look at a definition again.
const REMINDER_ANNOTATION: &str = "istios.operator.kyma-project.io/reminded-at";

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is ready.
    Ready,
    /// The deadline passed; the text names the first object that is not ready, and why.
    NotReady(String),
}

/// One report from a watch.
struct Sighting {
    object: String,
    state: State,
}

#[derive(Clone)]
struct State {
    readiness: Readiness,
    help: Option<Help>,
}

/// What helps while an object is not ready.
#[derive(Clone)]
enum Help {
    /// Its pods can tell more.
    Pods(PodSelector),
    /// The workload behind it can tell more.
    Workload(ObjectId),
    /// The API server has to be reminded of it.
    Reminder(ObjectId),
}

#[derive(Clone)]
struct PodSelector {
    namespace: String,
    labels: String,
}

/// Waits until every gate is open, or until `deadline` has passed since the call.
pub async fn wait(client: &Client, gates: &[Gate], deadline: Duration, progress: &Progress) -> Verdict {
    if gates.is_empty() {
        return Verdict::Ready;
    }
    let mut states = initial_states(gates);
    let mut sightings = stream::select_all(gates.iter().map(|gate| watch(client, gate)));
    let end = Instant::now() + deadline;
    let mut explain_at = interval_at(Instant::now() + EXPLAIN_EVERY, EXPLAIN_EVERY);
    let mut remind_at = interval_at(Instant::now() + REMIND_EVERY, REMIND_EVERY);
    loop {
        tokio::select! {
            Some(sighting) = sightings.next() => {
                states.insert(sighting.object, sighting.state);
                match first_unready(&states) {
                    None => return Verdict::Ready,
                    Some((object, text, _)) => progress.say(format!("waiting for {object}: {text}")),
                }
            }
            _ = explain_at.tick() => progress.say(format!("waiting for {}", reason(client, &states).await)),
            _ = remind_at.tick() => remind(client, &states).await,
            () = tokio::time::sleep_until(end) => return Verdict::NotReady(reason(client, &states).await),
        }
    }
}

fn initial_states(gates: &[Gate]) -> BTreeMap<String, State> {
    let states = gates.iter().flat_map(|gate| {
        let help = match gate {
            Gate::Endpoint { workload, .. } => workload.clone().map(Help::Workload),
            Gate::Definitions(_) | Gate::Object(_) => None,
        };
        let unseen = State { readiness: Readiness::Waiting("it has not appeared yet".into()), help };
        gate.names().into_iter().map(move |name| (name, unseen.clone()))
    });
    states.collect()
}

fn first_unready(states: &BTreeMap<String, State>) -> Option<(&str, &str, Option<&Help>)> {
    states.iter().find_map(|(object, state)| match &state.readiness {
        Readiness::Ready => None,
        Readiness::Waiting(text) => Some((object.as_str(), text.as_str(), state.help.as_ref())),
    })
}

/// The first unready object with its own words and, where there are some, those of its workload or pods.
async fn reason(client: &Client, states: &BTreeMap<String, State>) -> String {
    let Some((object, text, help)) = first_unready(states) else { return "nothing".into() };
    let told = match help {
        // A failing read only costs the explanation.
        Some(Help::Workload(workload)) => complaint_of(client, workload)
            .await
            .inspect_err(|error| tracing::debug!(%error, object = %workload, "cannot explain a wait"))
            .ok()
            .flatten(),
        _ => None,
    };
    match told {
        Some(told) => told,
        None => with_pods(client, object, text, help).await,
    }
}

/// Why a workload is not ready, in its own words and those of its pods; `None` if it is, or is gone.
///
/// Fails if the workload cannot be read: then nothing is known about it.
pub async fn complaint_of(client: &Client, workload: &ObjectId) -> Result<Option<String>, kube::Error> {
    let Some(live) = workload.api(client.clone()).get_opt(&workload.name).await? else { return Ok(None) };
    let Sighting { object, state } = sight(workload, &as_value(live));
    Ok(match state.readiness {
        Readiness::Ready => None,
        Readiness::Waiting(text) => Some(with_pods(client, &object, &text, state.help.as_ref()).await),
    })
}

async fn with_pods(client: &Client, object: &str, text: &str, help: Option<&Help>) -> String {
    let complaint = match help {
        Some(Help::Pods(selector)) => ask_pods(client, selector).await,
        _ => None,
    };
    match complaint {
        Some(complaint) => format!("{object}: {text}; {complaint}"),
        None => format!("{object}: {text}"),
    }
}

/// A failing list only costs the explanation, so it is logged and not returned.
async fn ask_pods(client: &Client, selector: &PodSelector) -> Option<String> {
    let pods: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &selector.namespace, &resource("", "v1", "Pod"));
    match pods.list(&ListParams::default().labels(&selector.labels).limit(PODS_TO_ASK)).await {
        Ok(list) => explain::complaint(&list.items.into_iter().map(as_value).collect::<Vec<_>>()),
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
async fn remind(client: &Client, states: &BTreeMap<String, State>) {
    for state in states.values() {
        let (Readiness::Waiting(_), Some(Help::Reminder(id))) = (&state.readiness, &state.help) else {
            continue;
        };
        let patch = json!({"metadata": {"annotations": {REMINDER_ANNOTATION: Timestamp::now().to_string()}}});
        let params =
            PatchParams { field_manager: Some(OWN_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let reminded = id.api(client.clone()).patch_metadata(&id.name, &params, &Patch::Merge(&patch)).await;
        match reminded.err() {
            None => tracing::warn!(object = %id, "the API server was reminded to establish it"),
            Some(error) => {
                tracing::warn!(%error, object = %id, "cannot remind the API server to establish it");
            }
        }
    }
}

fn watch(client: &Client, gate: &Gate) -> BoxStream<'static, Sighting> {
    match gate {
        Gate::Definitions(ids) => watch_definitions(client, ids.clone()),
        Gate::Object(id) => watch_object(client, id.clone()),
        Gate::Endpoint { service, workload } => watch_endpoints(client, service, workload.as_ref()),
    }
}

/// Just enough of a CRD to see whether it is established; the schemas are skipped while parsing.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = CustomResourceDefinition)]
struct DefinitionStatus {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Value,
}

fn watch_definitions(client: &Client, ids: Vec<ObjectId>) -> BoxStream<'static, Sighting> {
    let api: Api<DefinitionStatus> = Api::all(client.clone());
    let config = watcher::Config::default().labels(crate::plan::MODULE_SELECTOR).page_size(5);
    observe(api, config)
        .filter_map(move |definition| {
            let id = ids.iter().find(|id| definition.metadata.name.as_deref() == Some(&id.name));
            let sighting = id.map(|id| sight_definition(id, &definition.status));
            async move { sighting }
        })
        .boxed()
}

fn sight_definition(id: &ObjectId, status: &Value) -> Sighting {
    let live = json!({ "status": status });
    let help = ready::is_forgotten(&live).then(|| Help::Reminder(id.clone()));
    Sighting { object: id.to_string(), state: State { readiness: ready::established(&live), help } }
}

fn watch_object(client: &Client, id: ObjectId) -> BoxStream<'static, Sighting> {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", id.name));
    observe(id.api(client.clone()), config).map(move |object| sight(&id, &as_value(object))).boxed()
}

fn sight(id: &ObjectId, live: &Value) -> Sighting {
    let readiness = match id.kind.as_str() {
        "Deployment" => ready::deployment(live),
        "DaemonSet" => ready::daemon_set(live),
        "MutatingWebhookConfiguration" => ready::injector(live),
        _ => Readiness::Ready,
    };
    let help = pod_selector(id, live).map(Help::Pods);
    Sighting { object: id.to_string(), state: State { readiness, help } }
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
) -> BoxStream<'static, Sighting> {
    let namespace = service.namespace.clone().unwrap_or_default();
    let slices = resource("discovery.k8s.io", "v1", "EndpointSlice");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &slices);
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let object = endpoint_name(service);
    let help = workload.cloned().map(Help::Workload);
    observe(api, config)
        .map(move |slice| {
            let readiness = ready::endpoint_slice(&as_value(slice));
            Sighting { object: object.clone(), state: State { readiness, help: help.clone() } }
        })
        .boxed()
}

/// Every state of the watched objects; a watch that breaks is opened again with back-off.
fn observe<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    streamed(api, config)
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
    async fn a_workload_that_cannot_be_read_is_not_taken_for_one_that_is_ready() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = Client::try_from(kube::Config::new(nobody.parse().unwrap())).unwrap();
        assert!(complaint_of(&client, &definition()).await.is_err());
    }

    fn definition() -> ObjectId {
        ObjectId {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            kind: "CustomResourceDefinition".into(),
            namespace: None,
            name: "gateways.networking.istio.io".into(),
        }
    }

    #[test]
    fn an_object_that_was_never_seen_is_not_ready() {
        let states = initial_states(&[Gate::Object(definition())]);
        assert!(first_unready(&states).is_some_and(|(_, text, _)| text == "it has not appeared yet"));
    }

    #[test]
    fn only_a_definition_that_lacks_nothing_but_the_last_step_is_one_to_remind_of() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        for (conditions, forgotten) in [
            (json!([]), false),
            (json!([condition("NamesAccepted", "False")]), false),
            (json!([condition("NamesAccepted", "True")]), true),
            (json!([condition("NamesAccepted", "True"), condition("Established", "False")]), true),
            (json!([condition("NamesAccepted", "True"), condition("Established", "True")]), false),
        ] {
            let Sighting { state, .. } = sight_definition(&definition(), &json!({"conditions": conditions}));
            assert_eq!(matches!(state.help, Some(Help::Reminder(_))), forgotten, "{conditions}");
        }
    }
}
