//! Waits, by watch, until the objects of a stage are ready or a deadline passes.
//!
//! What ready means is judged in `ready`, why it is not in `explain`; this module only moves events.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, ObjectMeta};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::explain;
use super::ready::{self, Readiness};
use crate::kubernetes::streamed;
use crate::object::ObjectId;
use crate::plan::Stage;
use crate::status::Progress;

/// When a wait first asks pods for reasons, and how often after that.
const EXPLAIN_EVERY: Duration = Duration::from_secs(5);
const PODS_TO_ASK: u32 = 20;

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is ready.
    Ready,
    /// The deadline passed; the text names the first object that is not ready, and why.
    NotReady(String),
}

/// Something that must be ready before the next stage starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// These custom resource definitions are established.
    Definitions(Vec<ObjectId>),
    /// One object, with the rule for its kind.
    Object(ObjectId),
    /// A Service, by its full identity, has a ready endpoint.
    Endpoint(ObjectId),
}

/// What must be ready after `stage` before the next may start, of the objects applied so far.
///
/// CNI and gateways roll out at the same time and are awaited together.
#[must_use]
pub fn gates(stage: Stage, applied: &[(Stage, ObjectId)]) -> Vec<Gate> {
    let of = |stages: &'static [Stage]| applied.iter().filter(|(s, _)| stages.contains(s)).map(|(_, id)| id);
    let workloads = |stages| of(stages).filter(|id| is_workload(id)).cloned().map(Gate::Object);
    match stage {
        Stage::CustomResourceDefinitions => {
            let definitions: Vec<_> = of(&[Stage::CustomResourceDefinitions]).cloned().collect();
            // A gate without an object would never open: no event is about it.
            if definitions.is_empty() { Vec::new() } else { vec![Gate::Definitions(definitions)] }
        }
        Stage::Istiod => {
            let services = of(&[Stage::Istiod]).filter(|id| id.is("", "Service") && id.name == "istiod");
            workloads(&[Stage::Istiod]).chain(services.cloned().map(Gate::Endpoint)).collect()
        }
        Stage::Injection => {
            let live = of(&[Stage::Injection]).filter(|id| id.name.starts_with("istio-revision-tag-"));
            live.cloned().map(Gate::Object).collect()
        }
        Stage::Gateways => workloads(&[Stage::Cni, Stage::Gateways]).collect(),
        _ => Vec::new(),
    }
}

fn is_workload(id: &ObjectId) -> bool {
    id.is("apps", "Deployment") || id.is("apps", "DaemonSet")
}

/// One report from a watch.
struct Sighting {
    object: String,
    readiness: Readiness,
    /// Selector of the workload's pods, where the object has one.
    pods: Option<PodSelector>,
}

#[derive(Clone)]
struct PodSelector {
    namespace: String,
    labels: String,
}

#[derive(Clone)]
struct State {
    readiness: Readiness,
    pods: Option<PodSelector>,
}

/// Waits until every gate is open, or until `deadline` has passed since the call.
pub async fn wait(client: &Client, gates: &[Gate], deadline: Duration, progress: &Progress) -> Verdict {
    if gates.is_empty() {
        return Verdict::Ready;
    }
    let mut states = initial_states(gates);
    let mut sightings = stream::select_all(gates.iter().map(|gate| watch(client, gate)));
    let end = Instant::now() + deadline;
    let mut explain_at = tokio::time::interval_at(Instant::now() + EXPLAIN_EVERY, EXPLAIN_EVERY);
    loop {
        tokio::select! {
            Some(sighting) = sightings.next() => {
                states.insert(sighting.object, State { readiness: sighting.readiness, pods: sighting.pods });
                match first_unready(&states) {
                    None => return Verdict::Ready,
                    Some((object, text, _)) => progress.say(format!("waiting for {object}: {text}")),
                }
            }
            _ = explain_at.tick() => progress.say(format!("waiting for {}", reason(client, &states).await)),
            () = tokio::time::sleep_until(end) => return Verdict::NotReady(reason(client, &states).await),
        }
    }
}

fn initial_states(gates: &[Gate]) -> BTreeMap<String, State> {
    let unseen = State { readiness: Readiness::Waiting("it has not appeared yet".into()), pods: None };
    let names = gates.iter().flat_map(|gate| match gate {
        Gate::Definitions(ids) => ids.iter().map(ToString::to_string).collect(),
        Gate::Object(id) => vec![id.to_string()],
        Gate::Endpoint(id) => vec![endpoint_name(id)],
    });
    names.map(|name| (name, unseen.clone())).collect()
}

fn first_unready(states: &BTreeMap<String, State>) -> Option<(&str, &str, Option<&PodSelector>)> {
    states.iter().find_map(|(object, state)| match &state.readiness {
        Readiness::Ready => None,
        Readiness::Waiting(text) => Some((object.as_str(), text.as_str(), state.pods.as_ref())),
    })
}

/// The first unready object with its own words and, where it has pods, theirs.
async fn reason(client: &Client, states: &BTreeMap<String, State>) -> String {
    let Some((object, text, pods)) = first_unready(states) else { return "nothing".into() };
    let complaint = match pods {
        Some(selector) => ask_pods(client, selector).await,
        None => None,
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

fn watch(client: &Client, gate: &Gate) -> BoxStream<'static, Sighting> {
    match gate {
        Gate::Definitions(ids) => watch_definitions(client, ids.clone()),
        Gate::Object(id) => watch_object(client, id.clone()),
        Gate::Endpoint(service) => watch_endpoints(client, service),
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
            let sighting = id.map(|id| Sighting {
                object: id.to_string(),
                readiness: ready::established(&serde_json::json!({"status": definition.status})),
                pods: None,
            });
            async move { sighting }
        })
        .boxed()
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
    Sighting { object: id.to_string(), readiness, pods: pod_selector(id, live) }
}

fn pod_selector(id: &ObjectId, live: &Value) -> Option<PodSelector> {
    let labels = live.pointer("/spec/selector/matchLabels")?.as_object()?;
    let labels: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    Some(PodSelector { namespace: id.namespace.clone()?, labels: labels.join(",") })
}

fn watch_endpoints(client: &Client, service: &ObjectId) -> BoxStream<'static, Sighting> {
    let namespace = service.namespace.clone().unwrap_or_default();
    let slices = resource("discovery.k8s.io", "v1", "EndpointSlice");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &slices);
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let object = endpoint_name(service);
    observe(api, config)
        .map(move |slice| Sighting {
            object: object.clone(),
            readiness: ready::endpoint_slice(&as_value(slice)),
            pods: None,
        })
        .boxed()
}

fn endpoint_name(service: &ObjectId) -> String {
    format!("the endpoint of {service}")
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

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn as_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(group: &str, kind: &str, name: &str) -> ObjectId {
        let namespace = (kind != "MutatingWebhookConfiguration").then(|| "istio-system".to_owned());
        ObjectId {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            namespace,
            name: name.into(),
        }
    }

    fn applied() -> Vec<(Stage, ObjectId)> {
        vec![
            (Stage::Istiod, id("", "Service", "istiod")),
            (Stage::Istiod, id("", "Service", "istiod-revision-tag-default")),
            (Stage::Istiod, id("apps", "Deployment", "istiod")),
            (
                Stage::Injection,
                id(
                    "admissionregistration.k8s.io",
                    "MutatingWebhookConfiguration",
                    "istio-revision-tag-default",
                ),
            ),
            (
                Stage::Injection,
                id("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "istio-sidecar-injector"),
            ),
            (Stage::Cni, id("apps", "DaemonSet", "istio-cni-node")),
            (Stage::Gateways, id("apps", "Deployment", "istio-ingressgateway")),
        ]
    }

    #[test]
    fn istiod_is_awaited_with_its_endpoint_and_after_it_the_live_injector() {
        let names = |stage| initial_states(&gates(stage, &applied())).into_keys().collect::<Vec<String>>();
        assert_eq!(
            names(Stage::Istiod),
            ["Deployment istio-system/istiod", "the endpoint of Service istio-system/istiod"]
        );
        assert_eq!(names(Stage::Injection), ["MutatingWebhookConfiguration istio-revision-tag-default"]);
    }

    #[test]
    fn cni_and_gateways_are_awaited_together() {
        assert_eq!(gates(Stage::Cni, &applied()), []);
        let names: Vec<String> = initial_states(&gates(Stage::Gateways, &applied())).into_keys().collect();
        assert_eq!(
            names,
            ["DaemonSet istio-system/istio-cni-node", "Deployment istio-system/istio-ingressgateway"]
        );
    }

    #[test]
    fn a_stage_of_which_nothing_was_applied_is_not_waited_for() {
        for stage in Stage::ALL {
            assert!(gates(stage, &[]).is_empty(), "{stage}");
        }
    }

    #[test]
    fn an_object_that_was_never_seen_is_not_ready() {
        let states = initial_states(&gates(Stage::Gateways, &applied()));
        assert!(first_unready(&states).is_some_and(|(_, text, _)| text == "it has not appeared yet"));
    }
}
