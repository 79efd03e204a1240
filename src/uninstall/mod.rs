//! Takes an installation apart in the order that hurts nobody, and only what the inventory lists.
//!
//! Every step is recomputed from the inventory and the cluster, so a removal that was interrupted at any point goes on
//! where it was.

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
use crate::apply::access;
use crate::dataplane::restart::uninstall_restarts::UninstallRestarts;
use crate::inventory::deletion::{self, Deletion};
use crate::inventory::{self, Inventory, InventoryStore};
use crate::kubernetes::ServiceAccountRef;
use crate::kubernetes::object::ObjectId;
use crate::status::Progress;

/// Annotation of the `Istio` resource that says what its deletion means; with [`ORPHAN`] it removes nothing.
pub const DELETION_POLICY_ANNOTATION: &str = "istios.operator.kyma-project.io/deletion-policy";
/// The policy that leaves everything in the cluster, the inventory included, for the next resource to take up.
pub const ORPHAN: &str = "orphan";

/// Removing failed; what was deleted before is gone, and the rest is remembered.
#[derive(Debug, Error)]
pub enum Error {
    /// Blockers could not be looked for.
    #[error("cannot tell whether resources of users would be lost")]
    Blockers {
        /// What happened.
        #[from]
        source: blockers::Error,
    },
    /// An object could not be deleted.
    #[error("step {step} is not complete")]
    Delete {
        /// The step.
        step: UninstallStep,
        /// The object and what the API server said.
        source: deletion::Error,
    },
    /// The inventory could not be kept.
    #[error("cannot keep the inventory")]
    Inventory {
        /// What happened.
        #[from]
        source: inventory::Error,
    },
    /// The namespace could not be looked into.
    #[error("cannot tell whether the namespace holds objects of users")]
    Namespace {
        /// What happened.
        #[from]
        source: namespace::Error,
    },
    /// The pods could not be looked at.
    #[error("cannot tell who still has a sidecar")]
    Sidecars {
        /// What happened.
        #[from]
        source: remaining_sidecars::Error,
    },
    /// The workloads that have a sidecar could not be restarted.
    #[error("cannot take the sidecars out of workloads")]
    DataPlane {
        /// What happened.
        #[from]
        source: crate::dataplane::restart::uninstall_restarts::Error,
    },
}

/// Objects that a text names at most.
const MAX_NAMED_OBJECTS: usize = 5;

/// How a removal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UninstallOutcome {
    /// Nothing that the inventory listed is left, but for a namespace.
    Removed(RemainingObjects),
    /// Resources of users would be lost; nothing was deleted.
    Blocked(Vec<ObjectId>),
    /// These are being deleted, but did not go before the deadline.
    NotGone {
        /// The step that is not complete.
        step: UninstallStep,
        /// The objects that are left.
        remaining: Vec<ObjectId>,
    },
}

/// What a removal leaves behind for good reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemainingObjects {
    /// Objects of users for whose sake the namespace stays.
    pub user_objects: Vec<ObjectId>,
    /// Workloads that still have a sidecar.
    pub sidecars: RemainingSidecars,
}

impl RemainingObjects {
    /// Sentences that name them, if there is anything.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let named: Vec<String> =
            self.user_objects.iter().take(MAX_NAMED_OBJECTS).map(ToString::to_string).collect();
        let more = self.user_objects.len().saturating_sub(MAX_NAMED_OBJECTS);
        let namespace = self.user_objects.first().map(|first| {
            let namespace = first.namespace.as_deref().unwrap_or_default();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("namespace {namespace} is kept for what others put into it: {}{more}", named.join(", "))
        });
        let texts: Vec<String> = namespace.into_iter().chain(self.sidecars.describe()).collect();
        (!texts.is_empty()).then(|| format!("Istio is removed; {}", texts.join("; ")))
    }
}

/// The means of a removal.
pub struct Uninstaller {
    /// Client whose writes are gated by leadership.
    pub client: Client,
    /// The `ServiceAccount` that the client acts as, if it is one.
    pub account: Option<ServiceAccountRef>,
    /// Where the inventory is kept.
    pub store: InventoryStore,
    /// Longest wait for the objects of one step to go.
    pub deadline: Duration,
    /// Where progress is told.
    pub progress: Progress,
    /// Takes the sidecars out of workloads.
    pub data_plane: UninstallRestarts,
}

impl Uninstaller {
    /// Removes what `inventory` lists, unless resources of users depend on it.
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
                // Injection is off, and istiod still serves those that keep their sidecar a little longer.
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

    /// Deletes the objects of one step and waits until they are gone; returns what is left at the deadline.
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
            self.progress.report(format!("removing {step}: {id}"));
            let deletion = deletion::delete(&self.client, &id, &record).await;
            let deletion = deletion.map_err(|source| Error::Delete { step, source })?;
            if deletion == Deletion::Released {
                tracing::info!(object = %id, "released, as it existed before");
            }
            if deletion.is_final() {
                inventory.forget(&id);
            } else {
                started.push(id);
            }
        }
        let remaining = self.wait_gone(step, started, inventory).await;
        self.store.save(inventory).await?;
        Ok(remaining)
    }

    /// Waits by watch; an object that is gone leaves the inventory.
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
            self.progress.report(format!("removing {step}: waiting for {first} to go"));
            tokio::select! {
                Some(id) = gone.next() => {
                    inventory.forget(&id);
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

/// Yields the object's identity once it is gone.
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
