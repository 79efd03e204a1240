//! Reads everything a reconcile decides on, before anything is decided: facts of the cluster and what
//! was made so far.
//!
//! Only reads. A failed read is an error to be tried again and never taken for a default.

pub mod cluster;
pub mod installed;
pub mod istiod;
pub mod legacy_resources;
pub mod remembered_facts;

use kube::Client;
use thiserror::Error;

use self::cluster::{ClusterView, ClusterWatch};
use crate::inventory::{self, Inventory, InventoryStore};

/// Something could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// The version of the API server.
    #[error("cannot read the version of the API server")]
    Version {
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Size, provider and settings of the cluster.
    #[error("cannot tell the settings of the cluster")]
    Cluster {
        /// What could not be read.
        #[from]
        source: cluster::Error,
    },
    /// What was installed so far.
    #[error("cannot tell what is installed")]
    Inventory {
        /// What happened.
        #[from]
        source: inventory::Error,
    },
}

/// What a reconcile decides on.
#[derive(Debug)]
pub struct ReconcileInput {
    /// Size, provider and settings of the cluster.
    pub cluster_view: ClusterView,
    /// Version of the API server, such as `v1.36.3`.
    pub kubernetes_version: String,
    /// What was made so far.
    pub inventory: Inventory,
}

/// Observes the cluster. How the installed objects look now is known to the watches for drift.
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
