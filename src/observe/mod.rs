//! Reads everything a reconcile decides on, before anything is decided: facts of the cluster, what was made so far, and
//! how that looks now.
//!
//! Only reads. A failed read is an error to be tried again and never taken for a default.

pub mod installed;
mod live;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;

pub use self::live::{Live, Seen};
use crate::api::names;
use crate::apply::inventory::{self, Inventory, Store};
use crate::plan::configuration::{ClusterFacts, FactsError};

/// Nodes of one page; keeps the memory bounded in large clusters.
const NODE_PAGE: u32 = 100;

/// Something could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// The version of the API server.
    #[error("cannot read the version of the API server")]
    Version {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The nodes.
    #[error("cannot list the nodes, from which size and provider of the cluster follow")]
    Nodes {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// A ConfigMap with settings of the cluster.
    #[error("cannot read ConfigMap {namespace}/{name}")]
    ConfigMap {
        /// Its namespace.
        namespace: &'static str,
        /// Its name.
        name: &'static str,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// What was read makes no sense.
    #[error("cannot derive the facts of the cluster")]
    Facts {
        /// Which object, and why.
        #[from]
        source: FactsError,
    },
    /// What was installed so far.
    #[error("cannot tell what is installed")]
    Inventory {
        /// What happened.
        #[from]
        source: inventory::Error,
    },
    /// How the installed objects look now.
    #[error("cannot look at what is installed")]
    Live {
        /// What happened.
        #[from]
        source: live::Error,
    },
}

/// What a reconcile decides on.
#[derive(Debug)]
pub struct Observed {
    /// Size, provider and settings of the cluster.
    pub facts: ClusterFacts,
    /// Version of the API server, such as `v1.36.3`.
    pub kubernetes_version: String,
    /// What was made so far.
    pub inventory: Inventory,
    /// How it looks now.
    pub live: Live,
}

/// Observes the cluster.
pub async fn observe(client: &Client, store: &Store) -> Result<Observed, Error> {
    let mut observed = observe_all_but_live(client, store).await?;
    observed.live = live::live(client, &observed.inventory).await?;
    Ok(observed)
}

/// Like [`observe`], for a caller who knows by himself how the installed objects look; `live` is left empty.
pub async fn observe_all_but_live(client: &Client, store: &Store) -> Result<Observed, Error> {
    let (facts, version, inventory) =
        futures::try_join!(facts(client), kubernetes_version(client), load(store))?;
    Ok(Observed { facts, kubernetes_version: version, inventory, live: Live::new() })
}

async fn load(store: &Store) -> Result<Inventory, Error> {
    Ok(store.load().await?)
}

async fn kubernetes_version(client: &Client) -> Result<String, Error> {
    match client.apiserver_version().await {
        Ok(info) => Ok(info.git_version),
        Err(source) => Err(Error::Version { source: Box::new(source) }),
    }
}

async fn facts(client: &Client) -> Result<ClusterFacts, Error> {
    let mut objects = nodes(client).await?;
    for (namespace, name) in [
        (names::OPERATOR_NAMESPACE, names::FEATURES_CONFIG_MAP),
        (names::OPERATOR_NAMESPACE, names::PROVISIONING_INFO_CONFIG_MAP),
        (names::ISTIO_NAMESPACE, names::ELB_DEPRECATED_CONFIG_MAP),
    ] {
        objects.extend(config_map(client, namespace, name).await?);
    }
    Ok(ClusterFacts::from_objects(&objects)?)
}

/// The nodes, reduced to what facts are derived from: capacity, kubelet, operating system and provider.
async fn nodes(client: &Client) -> Result<Vec<Value>, Error> {
    let api: Api<Node> = Api::all(client.clone());
    let mut params = ListParams::default().limit(NODE_PAGE);
    let mut nodes = Vec::new();
    loop {
        let page = api.list(&params).await.map_err(|source| Error::Nodes { source: Box::new(source) })?;
        nodes.extend(page.items.iter().map(reduced));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(nodes),
        }
    }
}

fn reduced(node: &Node) -> Value {
    let status = node.status.as_ref();
    let info = status.and_then(|status| status.node_info.as_ref());
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name_any()},
        "spec": {"providerID": node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref())},
        "status": {
            "capacity": status.and_then(|status| status.capacity.as_ref()),
            "nodeInfo": {
                "kubeletVersion": info.map(|info| info.kubelet_version.as_str()),
                "osImage": info.map(|info| info.os_image.as_str()),
            },
        },
    })
}

async fn config_map(
    client: &Client,
    namespace: &'static str,
    name: &'static str,
) -> Result<Option<Value>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(|source| Error::ConfigMap { namespace, name, source: Box::new(source) })?;
    Ok(found.map(|map| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": namespace, "name": name},
            "data": map.data,
        })
    }))
}
