//! Takes an installation apart in the order that hurts nobody, and only what the inventory lists.
//!
//! Every step is recomputed from the inventory and the cluster, so a removal that was interrupted at any point goes on
//! where it was.

pub mod blockers;
pub mod namespace;
pub mod order;
pub mod sidecars;

use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::Client;
use kube::runtime::{WatchStreamExt, watcher};
use thiserror::Error;

use self::order::Step;
use self::sidecars::Meshed;
use crate::apply::access;
use crate::apply::deletion::{self, Deletion};
use crate::apply::inventory::{self, Inventory, Store};
use crate::dataplane::act::removal::Removal;
use crate::kubernetes::Account;
use crate::object::ObjectId;
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
        step: Step,
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
        source: sidecars::Error,
    },
    /// The workloads that have a sidecar could not be restarted.
    #[error("cannot take the sidecars out of workloads")]
    DataPlane {
        /// What happened.
        #[from]
        source: crate::dataplane::act::removal::Error,
    },
}

/// Objects that a text names at most.
const NAMED: usize = 5;

/// How a removal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that the inventory listed is left, but for a namespace.
    Removed(Leftovers),
    /// Resources of users would be lost; nothing was deleted.
    Blocked(Vec<ObjectId>),
    /// These are being deleted, but did not go before the deadline.
    NotGone {
        /// The step that is not complete.
        step: Step,
        /// The objects that are left.
        left: Vec<ObjectId>,
    },
}

/// What a removal leaves behind for good reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Objects of users for whose sake the namespace stays.
    pub kept_for: Vec<ObjectId>,
    /// Workloads that still have a sidecar.
    pub meshed: Meshed,
}

impl Leftovers {
    /// Sentences that name them, if there is anything.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let named: Vec<String> = self.kept_for.iter().take(NAMED).map(ToString::to_string).collect();
        let more = self.kept_for.len().saturating_sub(NAMED);
        let namespace = self.kept_for.first().map(|first| {
            let namespace = first.namespace.as_deref().unwrap_or_default();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("namespace {namespace} is kept for what others put into it: {}{more}", named.join(", "))
        });
        let texts: Vec<String> = namespace.into_iter().chain(self.meshed.describe()).collect();
        (!texts.is_empty()).then(|| format!("Istio is removed; {}", texts.join("; ")))
    }
}

/// The means of a removal.
pub struct Remover {
    /// Client whose writes are gated by leadership.
    pub client: Client,
    /// The `ServiceAccount` that the client acts as, if it is one.
    pub account: Option<Account>,
    /// Where the inventory is kept.
    pub store: Store,
    /// Longest wait for the objects of one step to go.
    pub deadline: Duration,
    /// Where progress is told.
    pub progress: Progress,
    /// Takes the sidecars out of workloads.
    pub data_plane: Removal,
}

impl Remover {
    /// Removes what `inventory` lists, unless resources of users depend on it.
    pub async fn remove(&self, mut inventory: Inventory) -> Result<Outcome, Error> {
        let blockers = blockers::find(&self.client, &inventory).await?;
        if !blockers.is_empty() {
            return Ok(Outcome::Blocked(blockers));
        }
        if let Some(account) = &self.account
            && let Some((id, record)) = access::ensure(&self.client, account).await
        {
            inventory.record(id, record);
        }
        for step in Step::ALL.into_iter().filter(|step| *step < Step::Access) {
            if step == Step::Gateways {
                // Injection is off, and istiod still serves those that keep their sidecar a little longer.
                self.data_plane.run(&|text| self.progress.say(text)).await?;
            }
            let left = self.take(step, &mut inventory).await?;
            if !left.is_empty() {
                return Ok(Outcome::NotGone { step, left });
            }
        }
        let kept_for = self.user_content(&inventory).await?;
        let last = if kept_for.is_empty() { Step::Namespace } else { Step::Access };
        for step in [Step::Access, Step::Namespace].into_iter().filter(|step| *step <= last) {
            let left = self.take(step, &mut inventory).await?;
            if !left.is_empty() {
                return Ok(Outcome::NotGone { step, left });
            }
        }
        let meshed = sidecars::find(&self.client).await?;
        self.data_plane.forget().await?;
        self.store.delete().await?;
        Ok(Outcome::Removed(Leftovers { kept_for, meshed }))
    }

    /// Deletes the objects of one step and waits until they are gone; returns what is left at the deadline.
    async fn take(&self, step: Step, inventory: &mut Inventory) -> Result<Vec<ObjectId>, Error> {
        let objects = step.objects(inventory);
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let mut started = Vec::new();
        for (id, record) in objects {
            self.progress.say(format!("removing {step}: {id}"));
            let deletion = deletion::delete(&self.client, &id, &record).await;
            let deletion = deletion.map_err(|source| Error::Delete { step, source })?;
            if deletion == Deletion::Released {
                tracing::info!(object = %id, "released, as it existed before");
            }
            if deletion.is_settled() {
                inventory.forget(&id);
            } else {
                started.push(id);
            }
        }
        let left = self.wait_gone(step, started, inventory).await;
        self.store.save(inventory).await?;
        Ok(left)
    }

    /// Waits by watch; an object that is gone leaves the inventory.
    async fn wait_gone(
        &self,
        step: Step,
        mut left: Vec<ObjectId>,
        inventory: &mut Inventory,
    ) -> Vec<ObjectId> {
        let mut gone = stream::select_all(left.iter().map(|id| watch_gone(&self.client, id.clone())));
        let end = tokio::time::sleep(self.deadline);
        tokio::pin!(end);
        while let Some(first) = left.first() {
            self.progress.say(format!("removing {step}: waiting for {first} to go"));
            tokio::select! {
                Some(id) = gone.next() => {
                    inventory.forget(&id);
                    left.retain(|other| *other != id);
                }
                () = &mut end => break,
            }
        }
        left
    }

    async fn user_content(&self, inventory: &Inventory) -> Result<Vec<ObjectId>, Error> {
        let namespaces = Step::Namespace.objects(inventory);
        let mut content = Vec::new();
        for (id, _) in namespaces {
            content.extend(namespace::user_content(&self.client, &id.name).await?);
        }
        Ok(content)
    }
}

/// Yields the object's identity once it is gone.
fn watch_gone(client: &Client, id: ObjectId) -> stream::BoxStream<'static, ObjectId> {
    watcher::watch_object(id.metadata_api(client.clone()), &id.name)
        .default_backoff()
        .filter_map(move |sighting| {
            let gone = matches!(sighting, Ok(None)).then(|| id.clone());
            async move { gone }
        })
        .take(1)
        .boxed()
}
