//! Gathers everything that an install decides on, before it decides anything. Reads only.

use kube::Client;
use thiserror::Error;

use crate::api::Istio;
use crate::drift::snapshot::LiveObjects;
use crate::drift::watcher::{self, DriftWatcher};
use crate::gather::cluster::{ClusterView, ClusterWatch};
use crate::gather::installed::{self, InstalledIstio};
use crate::gather::{self, legacy_resources};
use crate::inventory::{Inventory, InventoryStore, Record};
use crate::kubernetes::object::ObjectId;

/// The state of the cluster could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// Version of istiod.
    #[error("failed to determine the installed version of Istio")]
    Installed(#[from] installed::Error),
    /// Version of Kubernetes, inventory, properties of the cluster.
    #[error("failed to read the properties of the cluster")]
    Facts(#[from] gather::Error),
    /// Objects of an earlier installer.
    #[error("failed to find the objects of the previous installer")]
    LegacyResources(#[from] legacy_resources::Error),
    /// Objects of the inventory.
    #[error("failed to read the installed objects")]
    Live(#[from] watcher::Error),
}

/// What the cluster looks like at the beginning of an install.
#[derive(Debug)]
pub(super) struct ClusterState {
    /// Version of Istio that runs.
    pub(super) installed: InstalledIstio,
    /// Size, provider and settings of the cluster.
    pub(super) view: ClusterView,
    /// Version of the API server, such as `v1.36.3`.
    pub(super) kubernetes_version: String,
    /// Objects that the operator manages.
    pub(super) inventory: Inventory,
    /// Current metadata of these objects.
    pub(super) live: LiveObjects,
    /// Objects of a previous installer; empty once the operator manages objects itself.
    pub(super) legacy: Vec<(ObjectId, Record)>,
}

/// Where the state is read from.
pub(super) struct ClusterReader<'a> {
    pub(super) client: &'a Client,
    pub(super) store: &'a InventoryStore,
    pub(super) cluster: &'a ClusterWatch,
    pub(super) drift: &'a DriftWatcher,
}

impl ClusterReader<'_> {
    /// Reads the state. Most of it is known to watches, so that a reconcile without changes needs two requests.
    pub(super) async fn read(&self, resource: &Istio) -> Result<ClusterState, Error> {
        let installed = installed::discover(self.client, resource).await?;
        let input = gather::gather(self.client, self.store, self.cluster).await?;
        let has_previous_installer = input.inventory.is_empty() && installed.version().is_some();
        let legacy = if has_previous_installer {
            legacy_resources::find_legacy_resources(self.client).await?
        } else {
            Vec::new()
        };
        let live = self.drift.live_objects(&input.inventory).await?;
        Ok(ClusterState {
            installed,
            view: input.cluster_view,
            kubernetes_version: input.kubernetes_version,
            inventory: input.inventory,
            live,
            legacy,
        })
    }
}
