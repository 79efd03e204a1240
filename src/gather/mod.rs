//! Reads everything that a reconcile decides on: facts about the cluster, and the inventory.
//!
//! It decides and writes nothing. A failed read is an error to be retried, and never treated as a default.

pub mod cluster;
pub mod installed;
pub mod istiod;
pub mod legacy_resources;
pub mod remembered_facts;

use kube::Client;
use thiserror::Error;

use self::cluster::{ClusterView, ClusterWatch};
use crate::inventory::{self, Inventory, InventoryStore};

/// A read failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The version of the API server.
    #[error("failed to read the version of the API server")]
    Version {
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// Size, provider and settings of the cluster.
    #[error("failed to read the settings of the cluster")]
    Cluster {
        /// The settings that could not be read.
        #[from]
        source: cluster::Error,
    },
    /// The inventory.
    #[error("failed to read the installed objects")]
    Inventory {
        /// The cause.
        #[from]
        source: inventory::Error,
    },
}

/// The input of a reconcile.
#[derive(Debug)]
pub struct ReconcileInput {
    /// Size, provider and settings of the cluster.
    pub cluster_view: ClusterView,
    /// Version of the API server, such as `v1.36.3`.
    pub kubernetes_version: String,
    /// The objects created or adopted so far.
    pub inventory: Inventory,
}

/// Reads the input of a reconcile. The state of installed objects comes from [`crate::drift`].
pub async fn gather(
    client: &Client,
    store: &InventoryStore,
    cluster: &ClusterWatch,
) -> Result<ReconcileInput, Error> {
    let (cluster_view, version, inventory) =
        futures::try_join!(load_cluster_view(cluster), kubernetes_version(client), load_inventory(store))?;
    Ok(ReconcileInput { cluster_view, kubernetes_version: version, inventory })
}

async fn load_cluster_view(cluster: &ClusterWatch) -> Result<ClusterView, Error> {
    Ok(cluster.view().await?)
}

async fn load_inventory(store: &InventoryStore) -> Result<Inventory, Error> {
    Ok(store.load().await?)
}

async fn kubernetes_version(client: &Client) -> Result<String, Error> {
    match client.apiserver_version().await {
        Ok(info) => Ok(info.git_version),
        Err(source) => Err(Error::Version { source: Box::new(source) }),
    }
}
