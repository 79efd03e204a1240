//! Uninstalls Istio: deletes the objects in the inventory, in an order that keeps workloads running.
//!
//! Every step follows from the inventory and the cluster, so that an interrupted uninstallation continues where it was. It must
//! delete nothing that the inventory does not record.

pub mod blockers;
pub mod namespace;
pub mod order;
pub mod remaining_sidecars;

use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::Client;
use kube::runtime::{WatchStreamExt, watcher};
use thiserror::Error;

use self::order::UninstallStep;
use self::remaining_sidecars::RemainingSidecars;
use crate::dataplane::restart::uninstall_restarts::UninstallRestarts;
use crate::inventory::deletion::{self, Deletion};
use crate::inventory::{self, Inventory, InventoryStore, access};
use crate::kubernetes::ServiceAccountRef;
use crate::kubernetes::object::ObjectId;
use crate::status::Progress;
use crate::text::list_limited;

/// Annotation of the `Istio` resource with the policy of its deletion; with [`ORPHAN`] nothing is uninstalled.
pub const DELETION_POLICY_ANNOTATION: &str = "istios.operator.kyma-project.io/deletion-policy";
/// The policy that keeps everything in the cluster, the inventory included, for the next `Istio` resource.
pub const ORPHAN: &str = "orphan";

/// The uninstallation failed. What was deleted before is gone, and the rest is still recorded.
#[derive(Debug, Error)]
pub enum Error {
    /// Blockers could not be listed.
    #[error("failed to check for resources that block deletion")]
    Blockers {
        /// The cause.
        #[from]
        source: blockers::Error,
    },
    /// An object could not be deleted.
    #[error("failed to complete step {step}")]
    Delete {
        /// The step.
        step: UninstallStep,
        /// The object and the response of the API server.
        source: deletion::Error,
    },
    /// The inventory could not be written.
    #[error("failed to update the inventory")]
    Inventory {
        /// The cause.
        #[from]
        source: inventory::Error,
    },
    /// The objects in the namespace could not be listed.
    #[error("failed to check for objects of users in the namespace")]
    Namespace {
        /// The cause.
        #[from]
        source: namespace::Error,
    },
    /// The pods could not be listed.
    #[error("failed to find workloads that still have a sidecar")]
    Sidecars {
        /// The cause.
        #[from]
        source: remaining_sidecars::Error,
    },
    /// The workloads that have a sidecar could not be restarted.
    #[error("failed to restart workloads without sidecars")]
    DataPlane {
        /// The cause.
        #[from]
        source: crate::dataplane::restart::uninstall_restarts::Error,
    },
}

/// Objects that a message names at most.
const MAX_NAMED_OBJECTS: usize = 5;

/// How an uninstallation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UninstallOutcome {
    /// All recorded objects are gone, except for a namespace with objects of users.
    Removed(RemainingObjects),
    /// Resources of users would be lost. Nothing was deleted.
    Blocked(Vec<ObjectId>),
    /// These objects are being deleted, but were not gone before the timeout.
    NotGone {
        /// The step that is not complete.
        step: UninstallStep,
        /// The objects that still exist.
        remaining: Vec<ObjectId>,
    },
}

/// What remains after an uninstallation, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemainingObjects {
    /// Objects of users, for which the namespace is kept.
    pub user_objects: Vec<ObjectId>,
    /// Workloads that still have a sidecar.
    pub sidecars: RemainingSidecars,
}

impl RemainingObjects {
    /// A message that names them; `None` if nothing remains.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let namespace = self.user_objects.first().map(|first| {
            let namespace = first.namespace.as_deref().unwrap_or_default();
            let named = list_limited(&self.user_objects, MAX_NAMED_OBJECTS);
            format!("namespace {namespace} is kept because it contains other objects: {named}")
        });
        let texts: Vec<String> = namespace.into_iter().chain(self.sidecars.describe()).collect();
        (!texts.is_empty()).then(|| format!("Istio is uninstalled; {}", texts.join("; ")))
    }
}

/// Uninstalls Istio.
pub struct Uninstaller {
    /// Client with the write fence.
    pub client: Client,
    /// The `ServiceAccount` that the client acts as, if it is one.
    pub account: Option<ServiceAccountRef>,
    /// Store of the inventory.
    pub store: InventoryStore,
    /// Timeout of the wait until the objects of one step are gone.
    pub deadline: Duration,
    /// Receives progress.
    pub progress: Progress,
    /// Restarts workloads without sidecars.
    pub data_plane: UninstallRestarts,
}

impl Uninstaller {
    /// Deletes the objects in `inventory`, unless resources of users would be lost.
    pub async fn uninstall(&self, mut inventory: Inventory) -> Result<UninstallOutcome, Error> {
        let blockers = blockers::find(&self.client, &inventory).await?;
        if !blockers.is_empty() {
            return Ok(UninstallOutcome::Blocked(blockers));
        }
        if let Some(account) = &self.account
            && let Some((id, record)) = access::ensure(&self.client, account).await
        {
            inventory.record(id, record);
        }
        for step in UninstallStep::ALL.into_iter().filter(|step| *step < UninstallStep::Access) {
            if step == UninstallStep::Gateways {
                // Injection has ended, and istiod still serves the remaining sidecars.
                self.data_plane.run(&|text| self.progress.report(text)).await?;
            }
            let remaining = self.delete_step(step, &mut inventory).await?;
            if !remaining.is_empty() {
                return Ok(UninstallOutcome::NotGone { step, remaining });
            }
        }
        let user_objects = self.find_user_objects(&inventory).await?;
        let last = if user_objects.is_empty() { UninstallStep::Namespace } else { UninstallStep::Access };
        for step in [UninstallStep::Access, UninstallStep::Namespace].into_iter().filter(|step| *step <= last)
        {
            let remaining = self.delete_step(step, &mut inventory).await?;
            if !remaining.is_empty() {
                return Ok(UninstallOutcome::NotGone { step, remaining });
            }
        }
        let sidecars = remaining_sidecars::find(&self.client).await?;
        self.data_plane.clear_ledger().await?;
        self.store.delete().await?;
        Ok(UninstallOutcome::Removed(RemainingObjects { user_objects, sidecars }))
    }

    /// Deletes the objects of one step and waits until they are gone; returns those left at the timeout.
    async fn delete_step(
        &self,
        step: UninstallStep,
        inventory: &mut Inventory,
    ) -> Result<Vec<ObjectId>, Error> {
        let objects = step.objects(inventory);
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let mut started = Vec::new();
        for (id, record) in objects {
            self.progress.report(format!("uninstalling {step}: deleting {id}"));
            let deletion = deletion::delete(&self.client, &id, &record).await;
            let deletion = deletion.map_err(|source| Error::Delete { step, source })?;
            match deletion {
                Deletion::Released => tracing::info!(object = %id, "released an object: it existed before"),
                Deletion::NotOurs => {
                    tracing::info!(object = %id, "released an object: it is not ours any more");
                }
                Deletion::Gone | Deletion::Started => {}
            }
            if deletion.is_final() {
                inventory.remove(&id);
            } else {
                started.push(id);
            }
        }
        let remaining = self.wait_gone(step, started, inventory).await;
        self.store.save(inventory).await?;
        Ok(remaining)
    }

    /// Waits by watches; an object that is gone is removed from the inventory.
    async fn wait_gone(
        &self,
        step: UninstallStep,
        mut remaining: Vec<ObjectId>,
        inventory: &mut Inventory,
    ) -> Vec<ObjectId> {
        let mut gone = stream::select_all(remaining.iter().map(|id| watch_gone(&self.client, id.clone())));
        let end = tokio::time::sleep(self.deadline);
        tokio::pin!(end);
        while let Some(first) = remaining.first() {
            self.progress.report(format!("uninstalling {step}: waiting until {first} is deleted"));
            tokio::select! {
                Some(id) = gone.next() => {
                    inventory.remove(&id);
                    remaining.retain(|other| *other != id);
                }
                () = &mut end => break,
            }
        }
        remaining
    }

    async fn find_user_objects(&self, inventory: &Inventory) -> Result<Vec<ObjectId>, Error> {
        let namespaces = UninstallStep::Namespace.objects(inventory);
        let mut content = Vec::new();
        for (id, _) in namespaces {
            content.extend(namespace::find_user_objects(&self.client, &id.name).await?);
        }
        Ok(content)
    }
}

/// Yields the identity of the object once it is gone.
fn watch_gone(client: &Client, id: ObjectId) -> stream::BoxStream<'static, ObjectId> {
    watcher::watch_object(id.metadata_api(client.clone()), &id.name)
        .default_backoff()
        .filter_map(move |result| {
            let gone = matches!(result, Ok(None)).then(|| id.clone());
            async move { gone }
        })
        .take(1)
        .boxed()
}
