//! The watches from which the settings of the cluster follow, each reduced to the facts that are used.

use std::fmt;

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionStatus,
};
use kube::api::{DynamicObject, ObjectMeta};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::names;
use crate::kubernetes::object::{Metadata, resource};
use crate::kubernetes::streaming_watcher;
use crate::plan::cluster::{NodeFacts, changes_ingress_gateway};

/// Nodes per page; limits the memory in large clusters.
const NODE_PAGE: u32 = 100;
const ENVOY_FILTERS: &str = "envoyfilters.networking.istio.io";

/// One watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Nodes,
    Features,
    ProvisioningInfo,
    ClassicLoadBalancer,
    IngressService,
    ApiService,
    AutoscalerCrd,
    EnvoyFilterCrd,
    RememberedFacts,
    EnvoyFilters,
}

impl Source {
    /// The sources of every decision: all but the `EnvoyFilter`s.
    pub(crate) const REQUIRED: [Self; 9] = [
        Self::Nodes,
        Self::Features,
        Self::ProvisioningInfo,
        Self::ClassicLoadBalancer,
        Self::IngressService,
        Self::ApiService,
        Self::AutoscalerCrd,
        Self::EnvoyFilterCrd,
        Self::RememberedFacts,
    ];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nodes => "the nodes",
            Self::Features => "ConfigMap kyma-system/istio-features",
            Self::ProvisioningInfo => "ConfigMap kyma-system/kyma-provisioning-info",
            Self::ClassicLoadBalancer => "ConfigMap istio-system/elb-deprecated",
            Self::IngressService => "Service istio-system/istio-ingressgateway",
            Self::ApiService => "Service default/kubernetes",
            Self::AutoscalerCrd => "the CustomResourceDefinition of VerticalPodAutoscalers",
            Self::EnvoyFilterCrd => "the CustomResourceDefinition of EnvoyFilters",
            Self::RememberedFacts => "ConfigMap istio-manager-cluster of the operator",
            Self::EnvoyFilters => "the EnvoyFilters in istio-system",
        })
    }
}

/// The fact kept of one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Node(NodeFacts),
    Object(Value),
    /// The object exists; nothing else matters.
    Exists,
    /// Whether a CRD is established.
    Established(bool),
    /// Whether an `EnvoyFilter` changes the ingress gateway.
    ChangesGateway(bool),
}

/// One event of a watch.
#[derive(Debug)]
pub(crate) enum SourceEvent {
    /// A list begins; objects that it does not contain are gone.
    ListStarted,
    ListItem(String, Fact),
    ListCompleted,
    Updated(String, Fact),
    Deleted(String),
    Failed(watcher::Error),
}

pub(crate) type SourceEvents = BoxStream<'static, (Source, SourceEvent)>;

/// Watches one source. `namespace` is the operator's own.
pub(crate) fn watch_source(source: Source, client: &Client, namespace: &str) -> SourceEvents {
    let client = client.clone();
    let operator = names::OPERATOR_NAMESPACE;
    match source {
        Source::Nodes => watch_nodes(client),
        Source::Features => watch_config_map(source, client, operator, names::FEATURES_CONFIG_MAP),
        Source::ProvisioningInfo => {
            watch_config_map(source, client, operator, names::PROVISIONING_INFO_CONFIG_MAP)
        }
        Source::ClassicLoadBalancer => {
            watch_config_map(source, client, names::ISTIO_NAMESPACE, names::ELB_DEPRECATED_CONFIG_MAP)
        }
        Source::RememberedFacts => {
            watch_config_map(source, client, namespace, names::REMEMBERED_FACTS_CONFIG_MAP)
        }
        Source::IngressService => {
            watch_service(source, client, names::ISTIO_NAMESPACE, names::INGRESS_GATEWAY)
        }
        Source::ApiService => watch_service(source, client, "default", "kubernetes"),
        Source::AutoscalerCrd => watch_crd(source, client, names::VERTICAL_AUTOSCALER_CRD),
        Source::EnvoyFilterCrd => watch_envoy_filter_crd(client),
        Source::EnvoyFilters => watch_envoy_filters(client),
    }
}

/// The fields of a node that decisions need; the rest is skipped while parsing.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = Node)]
struct NodeSummary {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct NodeSpec {
    #[serde(rename = "providerID", default)]
    provider_id: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    #[serde(default)]
    capacity: Capacity,
    #[serde(default)]
    node_info: NodeInfo,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Capacity {
    #[serde(default)]
    cpu: Option<String>,
    #[serde(default)]
    memory: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    #[serde(default)]
    kubelet_version: Option<String>,
    #[serde(default)]
    os_image: Option<String>,
    #[serde(default)]
    container_runtime_version: Option<String>,
}

fn watch_nodes(client: Client) -> SourceEvents {
    let api: Api<NodeSummary> = Api::all(client);
    let config = watcher::Config::default().page_size(NODE_PAGE);
    let node_facts = |node: &NodeSummary| Fact::Node(NodeFacts::of(&json!(node)));
    reduce_events(Source::Nodes, streaming_watcher(api, config), node_facts)
}

fn watch_config_map(source: Source, client: Client, namespace: &str, name: &str) -> SourceEvents {
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource("", "v1", "ConfigMap"));
    reduce_events(source, streaming_watcher(api, named(name)), |map| {
        Fact::Object(json!({"data": map.data.get("data")}))
    })
}

fn watch_service(source: Source, client: Client, namespace: &str, name: &str) -> SourceEvents {
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource("", "v1", "Service"));
    reduce_events(source, streaming_watcher(api, named(name)), |service| {
        let (annotations, ports) = (&service.metadata.annotations, service.data.pointer("/spec/ports"));
        Fact::Object(json!({"metadata": {"annotations": annotations}, "spec": {"ports": ports}}))
    })
}

/// Metadata only: a CRD can have hundreds of kilobytes.
fn watch_crd(source: Source, client: Client, name: &str) -> SourceEvents {
    let crds = resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<Metadata> = Api::all_with(client, &crds);
    reduce_events(source, streaming_watcher(api, named(name)), |_| Fact::Exists)
}

/// A CRD without its schemas, which are skipped while parsing.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = CustomResourceDefinition)]
struct CrdSummary {
    metadata: ObjectMeta,
    #[serde(default)]
    status: CustomResourceDefinitionStatus,
}

/// Reduced to its condition: watching `EnvoyFilter`s before they are served would fail with an increasing backoff, for which an
/// installation would have to wait.
fn watch_envoy_filter_crd(client: Client) -> SourceEvents {
    let api: Api<CrdSummary> = Api::all(client);
    reduce_events(Source::EnvoyFilterCrd, streaming_watcher(api, named(ENVOY_FILTERS)), |crd| {
        let mut conditions = crd.status.conditions.iter().flatten();
        Fact::Established(
            conditions.any(|condition| condition.type_ == "Established" && condition.status == "True"),
        )
    })
}

pub(crate) fn watch_envoy_filters(client: Client) -> SourceEvents {
    let filters = resource("networking.istio.io", "v1alpha3", "EnvoyFilter");
    let api: Api<DynamicObject> = Api::namespaced_with(client, names::ISTIO_NAMESPACE, &filters);
    reduce_events(Source::EnvoyFilters, streaming_watcher(api, watcher::Config::default()), |filter| {
        Fact::ChangesGateway(changes_ingress_gateway(&json!(filter)))
    })
}

fn named(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

fn reduce_events<K>(
    source: Source,
    events: impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    reduce: fn(&K) -> Fact,
) -> SourceEvents
where
    K: Resource + Clone + Send + 'static,
{
    let to_event = move |event: watcher::Result<Event<K>>| match event {
        Ok(Event::Init) => SourceEvent::ListStarted,
        Ok(Event::InitApply(object)) => SourceEvent::ListItem(object.name_any(), reduce(&object)),
        Ok(Event::InitDone) => SourceEvent::ListCompleted,
        Ok(Event::Apply(object)) => SourceEvent::Updated(object.name_any(), reduce(&object)),
        Ok(Event::Delete(object)) => SourceEvent::Deleted(object.name_any()),
        Err(error) => SourceEvent::Failed(error),
    };
    events.default_backoff().map(move |event| (source, to_event(event))).boxed()
}
