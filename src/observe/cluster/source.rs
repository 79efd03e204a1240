//! The watches from which the settings of the cluster follow, each reduced to what is decided on.

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
use crate::kubernetes::streamed;
use crate::object::{Metadata, resource};
use crate::plan::cluster::{Machine, changes_ingress_gateway};

/// Nodes of one page; keeps the memory bounded in large clusters.
const NODE_PAGE: u32 = 100;
const ENVOY_FILTERS: &str = "envoyfilters.networking.istio.io";

/// One watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    Nodes,
    Features,
    ProvisioningInfo,
    ClassicLoadBalancer,
    IngressService,
    ApiService,
    AutoscalerDefinition,
    FilterDefinition,
    Memory,
    Filters,
}

impl Source {
    /// What every decision needs, which is all but the filters.
    pub(super) const NEEDED: [Self; 9] = [
        Self::Nodes,
        Self::Features,
        Self::ProvisioningInfo,
        Self::ClassicLoadBalancer,
        Self::IngressService,
        Self::ApiService,
        Self::AutoscalerDefinition,
        Self::FilterDefinition,
        Self::Memory,
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
            Self::AutoscalerDefinition => "the definition of vertical autoscalers",
            Self::FilterDefinition => "the definition of EnvoyFilters",
            Self::Memory => "the operator's ConfigMap istio-manager-cluster",
            Self::Filters => "the EnvoyFilters in istio-system",
        })
    }
}

/// What is kept of one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    Machine(Machine),
    Object(Value),
    /// It exists, which is all that matters.
    Exists,
    /// A definition: whether its kind is served.
    Established(bool),
    /// Whether a filter changes the ingress gateway.
    ChangesGateway(bool),
}

/// One event of a watch.
#[derive(Debug)]
pub(super) enum Change {
    /// A list begins; what it does not name is gone.
    Listing,
    Listed(String, Fact),
    Complete,
    Seen(String, Fact),
    Gone(String),
    Failed(watcher::Error),
}

pub(super) type Changes = BoxStream<'static, (Source, Change)>;

/// Watches one source. `namespace` is the operator's own.
pub(super) fn changes(source: Source, client: &Client, namespace: &str) -> Changes {
    let client = client.clone();
    let operator = names::OPERATOR_NAMESPACE;
    match source {
        Source::Nodes => nodes(client),
        Source::Features => config_map(source, client, operator, names::FEATURES_CONFIG_MAP),
        Source::ProvisioningInfo => config_map(source, client, operator, names::PROVISIONING_INFO_CONFIG_MAP),
        Source::ClassicLoadBalancer => {
            config_map(source, client, names::ISTIO_NAMESPACE, names::ELB_DEPRECATED_CONFIG_MAP)
        }
        Source::Memory => config_map(source, client, namespace, names::MEMORY_CONFIG_MAP),
        Source::IngressService => service(source, client, names::ISTIO_NAMESPACE, names::INGRESS_GATEWAY),
        Source::ApiService => service(source, client, "default", "kubernetes"),
        Source::AutoscalerDefinition => definition(source, client, names::VERTICAL_AUTOSCALER_DEFINITION),
        Source::FilterDefinition => filter_definition(client),
        Source::Filters => filters(client),
    }
}

/// A node without what no decision needs; the rest is skipped while parsing.
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
}

fn nodes(client: Client) -> Changes {
    let api: Api<NodeSummary> = Api::all(client);
    let config = watcher::Config::default().page_size(NODE_PAGE);
    let machine = |node: &NodeSummary| Fact::Machine(Machine::of(&json!(node)));
    reduced(Source::Nodes, streamed(api, config), machine)
}

fn config_map(source: Source, client: Client, namespace: &str, name: &str) -> Changes {
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource("", "v1", "ConfigMap"));
    reduced(source, streamed(api, named(name)), |map| Fact::Object(json!({"data": map.data.get("data")})))
}

fn service(source: Source, client: Client, namespace: &str, name: &str) -> Changes {
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource("", "v1", "Service"));
    reduced(source, streamed(api, named(name)), |service| {
        let (annotations, ports) = (&service.metadata.annotations, service.data.pointer("/spec/ports"));
        Fact::Object(json!({"metadata": {"annotations": annotations}, "spec": {"ports": ports}}))
    })
}

/// Metadata only: a definition can have hundreds of kilobytes.
fn definition(source: Source, client: Client, name: &str) -> Changes {
    let definitions = resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<Metadata> = Api::all_with(client, &definitions);
    reduced(source, streamed(api, named(name)), |_| Fact::Exists)
}

/// A definition without its schemas, which are skipped while parsing.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = CustomResourceDefinition)]
struct DefinitionSummary {
    metadata: ObjectMeta,
    #[serde(default)]
    status: CustomResourceDefinitionStatus,
}

/// By its condition: to ask for the filters before they are served costs requests that fail, and longer and longer waits,
/// for which an installation would have to wait in the end.
fn filter_definition(client: Client) -> Changes {
    let api: Api<DefinitionSummary> = Api::all(client);
    reduced(Source::FilterDefinition, streamed(api, named(ENVOY_FILTERS)), |definition| {
        let mut conditions = definition.status.conditions.iter().flatten();
        Fact::Established(
            conditions.any(|condition| condition.type_ == "Established" && condition.status == "True"),
        )
    })
}

pub(super) fn filters(client: Client) -> Changes {
    let filters = resource("networking.istio.io", "v1alpha3", "EnvoyFilter");
    let api: Api<DynamicObject> = Api::namespaced_with(client, names::ISTIO_NAMESPACE, &filters);
    reduced(Source::Filters, streamed(api, watcher::Config::default()), |filter| {
        Fact::ChangesGateway(changes_ingress_gateway(&json!(filter)))
    })
}

fn named(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

fn reduced<K>(
    source: Source,
    events: impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    reduce: fn(&K) -> Fact,
) -> Changes
where
    K: Resource + Clone + Send + 'static,
{
    let change = move |event: watcher::Result<Event<K>>| match event {
        Ok(Event::Init) => Change::Listing,
        Ok(Event::InitApply(object)) => Change::Listed(object.name_any(), reduce(&object)),
        Ok(Event::InitDone) => Change::Complete,
        Ok(Event::Apply(object)) => Change::Seen(object.name_any(), reduce(&object)),
        Ok(Event::Delete(object)) => Change::Gone(object.name_any()),
        Err(error) => Change::Failed(error),
    };
    events.default_backoff().map(move |event| (source, change(event))).boxed()
}
