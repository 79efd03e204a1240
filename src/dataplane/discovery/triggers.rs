//! Watches that trigger a scan when something changes on which injection depends. They only report that a scan is due.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Notify;
use tokio::sync::watch;

use crate::api::names::ISTIO_NAMESPACE;
use crate::dataplane::names::{
    ALLOW_INTERRUPTION_ANNOTATION, EXCLUDE_ANNOTATION, INJECTOR_CONFIG_MAP, MESH_CONFIG_MAP,
    WINDOW_ANNOTATION,
};
use crate::gather::istiod::{ISTIOD, Istiod};
use crate::kubernetes::object::{Metadata, resource};
use crate::kubernetes::streaming_watcher;

/// Labels and annotations of a namespace that matter here.
const NAMESPACE_LABELS: [&str; 4] =
    ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "topology.istio.io/network"];
const NAMESPACE_ANNOTATIONS: [&str; 3] =
    [EXCLUDE_ANNOTATION, WINDOW_ANNOTATION, ALLOW_INTERRUPTION_ANNOTATION];

/// What triggers scans.
#[derive(Clone, Debug)]
pub struct Triggers {
    /// Counts changes of what injection gives. A change supersedes a wave in progress.
    pub mesh_changes: watch::Receiver<u64>,
    /// Notified of every change after which a scan is due.
    pub scan: Arc<Notify>,
}

/// Whether a change is one of the mesh or of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TriggerSource {
    Mesh,
    Namespace,
}

type TriggerStream = BoxStream<'static, (TriggerSource, String, Option<u64>)>;

/// Starts the watches. They end when the returned future is dropped.
pub fn start(client: &Client) -> (Triggers, impl Future<Output = ()> + Send + use<>) {
    let (mesh_sender, mesh) = watch::channel(0_u64);
    let scan = Arc::new(Notify::new());
    let triggers = Triggers { mesh_changes: mesh, scan: scan.clone() };
    let mut changes = futures::stream::select_all(trigger_streams(client));
    let task = async move {
        let mut last_states: HashMap<String, u64> = HashMap::new();
        while let Some((source, object, state)) = changes.next().await {
            let is_new = match state {
                Some(state) => last_states.insert(object, state) != Some(state),
                None => last_states.remove(&object).is_some(),
            };
            if is_new && source == TriggerSource::Mesh {
                mesh_sender.send_modify(|count| *count += 1);
            }
            if is_new {
                scan.notify_one();
            }
        }
    };
    (triggers, task)
}

fn trigger_streams(client: &Client) -> Vec<TriggerStream> {
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (config_map, namespaces) = (resource("", "v1", "ConfigMap"), resource("", "v1", "Namespace"));
    let webhook = resource("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
    let config_maps = || Api::namespaced_with(client.clone(), ISTIO_NAMESPACE, &config_map);
    let everywhere = |resource: &ApiResource| Api::all_with(client.clone(), resource);
    let version = |meta: &ObjectMeta| hash(&meta.resource_version);
    let generation = |meta: &ObjectMeta| hash(&meta.generation);
    let revisions = watcher::Config::default().labels("istio.io/rev");
    vec![
        watch_changes("ConfigMap", config_maps(), named(MESH_CONFIG_MAP), TriggerSource::Mesh, version),
        watch_changes("ConfigMap", config_maps(), named(INJECTOR_CONFIG_MAP), TriggerSource::Mesh, version),
        watch_changes("webhooks", everywhere(&webhook), revisions, TriggerSource::Mesh, generation),
        watch_istiod(client),
        watch_changes(
            "Namespace",
            everywhere(&namespaces),
            watcher::Config::default(),
            TriggerSource::Namespace,
            namespace_state,
        ),
    ]
}

/// Changes of the objects of one kind; `kind` distinguishes them from objects of another kind with the same name.
fn watch_changes(
    kind: &'static str,
    api: Api<Metadata>,
    config: watcher::Config,
    source: TriggerSource,
    state: fn(&ObjectMeta) -> u64,
) -> TriggerStream {
    let key = move |object: &Metadata| format!("{kind} {}", object.name_any());
    streaming_watcher(api, config)
        .default_backoff()
        .filter_map(move |event| {
            let change = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    Some((source, key(&object), Some(state(&object.metadata))))
                }
                Ok(Event::Delete(object)) => Some((source, key(&object), None)),
                Ok(Event::Init | Event::InitDone) | Err(_) => None,
            };
            async move { change }
        })
        .boxed()
}

/// Changes of istiod: only the beginning and the end of its rollout change what injection gives.
fn watch_istiod(client: &Client) -> TriggerStream {
    let api: Api<Istiod> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={ISTIOD}"));
    streaming_watcher(api, config)
        .default_backoff()
        .filter_map(|event| {
            let change = match event {
                Ok(Event::Apply(istiod) | Event::InitApply(istiod)) => {
                    Some((TriggerSource::Mesh, ISTIOD.to_owned(), Some(istiod_state(&istiod))))
                }
                _ => None,
            };
            async move { change }
        })
        .boxed()
}

fn istiod_state(istiod: &Istiod) -> u64 {
    let images: Vec<&str> = istiod.images().collect();
    hash(&(istiod.is_complete(), images))
}

fn namespace_state(meta: &ObjectMeta) -> u64 {
    let label = |key: &&str| meta.labels.as_ref().and_then(|labels| labels.get(*key)).cloned();
    let annotation =
        |key: &&str| meta.annotations.as_ref().and_then(|annotations| annotations.get(*key)).cloned();
    let labels: Vec<_> = NAMESPACE_LABELS.iter().map(label).collect();
    let annotations: Vec<_> = NAMESPACE_ANNOTATIONS.iter().map(annotation).collect();
    hash(&(labels, annotations))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
