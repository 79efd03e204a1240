//! What can change the answer: watches that say when to look again, and nothing else.

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
use crate::kubernetes::streamed;
use crate::object::{Metadata, resource};
use crate::observe::istiod::{ISTIOD, Istiod};

/// Labels and annotations of a namespace that matter here.
const NAMESPACE_LABELS: [&str; 4] =
    ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "topology.istio.io/network"];
const NAMESPACE_ANNOTATIONS: [&str; 3] =
    [EXCLUDE_ANNOTATION, WINDOW_ANNOTATION, ALLOW_INTERRUPTION_ANNOTATION];

/// Says when to look again.
#[derive(Clone, Debug)]
pub struct Triggers {
    /// Counts changes of what injection gives; a wave under way is out of date then.
    pub mesh: watch::Receiver<u64>,
    /// Told of everything that makes a look worthwhile.
    pub look: Arc<Notify>,
}

/// Whether a change is one of the mesh or of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Mesh,
    Namespace,
}

type Changes = BoxStream<'static, (Subject, String, Option<u64>)>;

/// Starts to watch. The watches end when the returned future is dropped.
pub fn start(client: &Client) -> (Triggers, impl Future<Output = ()> + Send + use<>) {
    let (announce, mesh) = watch::channel(0_u64);
    let look = Arc::new(Notify::new());
    let triggers = Triggers { mesh, look: look.clone() };
    let mut changes = futures::stream::select_all(watches(client));
    let task = async move {
        let mut known: HashMap<String, u64> = HashMap::new();
        while let Some((subject, object, state)) = changes.next().await {
            let is_new = match state {
                Some(state) => known.insert(object, state) != Some(state),
                None => known.remove(&object).is_some(),
            };
            if is_new && subject == Subject::Mesh {
                announce.send_modify(|count| *count += 1);
            }
            if is_new {
                look.notify_one();
            }
        }
    };
    (triggers, task)
}

fn watches(client: &Client) -> Vec<Changes> {
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (config_map, namespaces) = (resource("", "v1", "ConfigMap"), resource("", "v1", "Namespace"));
    let webhook = resource("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
    let config_maps = || Api::namespaced_with(client.clone(), ISTIO_NAMESPACE, &config_map);
    let everywhere = |resource: &ApiResource| Api::all_with(client.clone(), resource);
    let version = |meta: &ObjectMeta| hash(&meta.resource_version);
    let generation = |meta: &ObjectMeta| hash(&meta.generation);
    let revisions = watcher::Config::default().labels("istio.io/rev");
    vec![
        changes("ConfigMap", config_maps(), named(MESH_CONFIG_MAP), Subject::Mesh, version),
        changes("ConfigMap", config_maps(), named(INJECTOR_CONFIG_MAP), Subject::Mesh, version),
        changes("webhooks", everywhere(&webhook), revisions, Subject::Mesh, generation),
        istiod(client),
        changes(
            "Namespace",
            everywhere(&namespaces),
            watcher::Config::default(),
            Subject::Namespace,
            namespace,
        ),
    ]
}

/// Changes of the objects of one kind; `kind` tells them from others of their name.
fn changes(
    kind: &'static str,
    api: Api<Metadata>,
    config: watcher::Config,
    subject: Subject,
    state: fn(&ObjectMeta) -> u64,
) -> Changes {
    let key = move |object: &Metadata| format!("{kind} {}", object.name_any());
    streamed(api, config)
        .default_backoff()
        .filter_map(move |event| {
            let change = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    Some((subject, key(&object), Some(state(&object.metadata))))
                }
                Ok(Event::Delete(object)) => Some((subject, key(&object), None)),
                Ok(Event::Init | Event::InitDone) | Err(_) => None,
            };
            async move { change }
        })
        .boxed()
}

/// istiod by its progress: only the beginning and the end of a rollout change what injection gives.
fn istiod(client: &Client) -> Changes {
    let api: Api<Istiod> = Api::namespaced(client.clone(), ISTIO_NAMESPACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={ISTIOD}"));
    streamed(api, config)
        .default_backoff()
        .filter_map(|event| {
            let change = match event {
                Ok(Event::Apply(istiod) | Event::InitApply(istiod)) => {
                    Some((Subject::Mesh, ISTIOD.to_owned(), Some(progress(&istiod))))
                }
                _ => None,
            };
            async move { change }
        })
        .boxed()
}

fn progress(istiod: &Istiod) -> u64 {
    let images: Vec<&str> = istiod.images().collect();
    hash(&(istiod.is_complete(), images))
}

fn namespace(meta: &ObjectMeta) -> u64 {
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
