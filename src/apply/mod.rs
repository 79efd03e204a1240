//! Brings the cluster to what the plan says: stage by stage, by server-side apply, waiting for each to be ready.
//!
//! It writes what differs, remembers what it wrote, and prunes what is no longer planned. It decides nothing about what
//! Istio should look like.

pub mod access;
mod object_applier;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, join};
use futures::stream::{self, StreamExt};
use kube::Client;
use serde_json::Value;
use thiserror::Error;

use self::object_applier::{ApplyContext, ApplyResult, ObjectApplier};
pub use self::object_applier::{SkipReason, Skipped};
use crate::drift::conflict_backoff::ConflictBackoff;
pub use crate::drift::reverts::RevertMetrics;
use crate::drift::snapshot::LiveObjects;
use crate::inventory::deletion::Deletion;
use crate::inventory::pending_records::PendingRecords;
use crate::inventory::{Inventory, InventoryStore};
use crate::kubernetes::object::ObjectId;
use crate::plan::{BoundaryError, Plan, Stage, check_boundary};
use crate::readiness::wait::WaitOutcome;
use crate::status::Progress;

/// Applying the plan failed; what was written before stays, and is remembered.
#[derive(Debug, Error)]
pub enum Error {
    /// The plan could not be unfolded into objects.
    #[error("cannot read a planned object of stage {stage}")]
    Plan {
        /// The stage.
        stage: Stage,
        /// What is wrong with the object.
        source: crate::plan::Error,
    },
    /// The objects of the plan must not be written together. Nothing was written.
    #[error("the plan is refused before anything is written")]
    Boundary(#[from] BoundaryError),
    /// The inventory could not be kept.
    #[error("cannot keep the inventory")]
    Inventory {
        /// What happened.
        #[from]
        source: crate::inventory::Error,
    },
    /// The present state of an object, to which fields may have to be conceded, could not be read.
    #[error("cannot read {object}")]
    Read {
        /// The object.
        object: ObjectId,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The fields of predecessors could not be taken over.
    #[error("cannot take over the fields of those who managed it before")]
    Adopt {
        /// The object and what the API server said.
        source: crate::ssa::apply::Error,
    },
    /// Others write the object so often that its managed fields cannot be rewritten.
    #[error("cannot take over {object}: others write it all the time")]
    Contended {
        /// The object.
        object: ObjectId,
    },
    /// The Helm releases of objects that were taken over could not be looked for.
    #[error("cannot tell whether Helm still knows what was taken over")]
    HelmReleases {
        /// What happened.
        #[from]
        source: crate::inventory::helm_releases::Error,
    },
    /// It is not known whether a definition may be written.
    #[error("cannot judge the custom resource definitions of this cluster")]
    CrdPolicy {
        /// What happened.
        #[from]
        source: crate::crds::policy::Error,
    },
    /// An object was refused.
    #[error("stage {stage} is not complete")]
    Apply {
        /// The stage.
        stage: Stage,
        /// The object and what the API server said.
        source: crate::ssa::apply::Error,
    },
    /// An object that is no longer wanted could not be deleted.
    #[error("cannot prune")]
    Prune {
        /// The object and what the API server said.
        #[from]
        source: crate::inventory::deletion::Error,
    },
}

/// How an apply ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Every object is as planned and every workload is ready.
    Complete(ApplySummary),
    /// A stage did not become ready before its deadline; the text names the object and why.
    NotReady {
        /// The stage.
        stage: Stage,
        /// The object that is not ready, with its own words.
        reason: String,
    },
    /// Something that was as planned was changed while a later stage was awaited: it is to be looked at anew.
    DriftDetected,
}

impl ApplyOutcome {
    /// The objects that were left alone.
    #[must_use]
    pub fn skipped(&self) -> Vec<ObjectId> {
        match self {
            Self::Complete(applied) => {
                let skipped = applied.skipped.iter().map(|held| &held.object);
                skipped.chain(&applied.kept_crds).cloned().collect()
            }
            Self::NotReady { .. } | Self::DriftDetected => Vec::new(),
        }
    }
}

/// Proof that a plan was applied as a whole, but for what is named here, with what that took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplySummary {
    /// Objects that were written.
    pub written: usize,
    /// Objects that were as planned already.
    pub unchanged: usize,
    /// Objects that are no longer planned and were deleted.
    pub pruned: usize,
    /// Objects that are left alone for now.
    pub skipped: Vec<Skipped>,
    /// Secrets of Helm releases that still list objects of ours.
    pub helm_secrets: Vec<ObjectId>,
    /// Definitions that stay as they are.
    pub kept_crds: Vec<ObjectId>,
    /// What the user should mend, although everything runs.
    pub warnings: Vec<String>,
}

/// Who looks after what is written already while more is awaited.
pub trait StageMonitor: Sync {
    /// These objects are to stay as they are here.
    fn set_expected(&self, objects: LiveObjects);
    /// Ends when one of them has changed.
    fn changed(&self) -> BoxFuture<'_, ()>;
}

/// What outlives a single apply.
#[derive(Clone, Debug, Default)]
pub struct ApplyState {
    /// Who keeps changing what is put back.
    pub conflict_backoff: Arc<Mutex<ConflictBackoff>>,
    /// The metric of what was put back.
    pub revert_metrics: RevertMetrics,
    /// Whether the last apply ended with everything ready. What is not written again is not waited for again then; how it
    /// fares later is told by those who watch it.
    pub(crate) is_complete: Arc<AtomicBool>,
    /// Writes of applies that did not come to note them.
    pub(crate) pending_records: Arc<PendingRecords>,
}

/// The means of an apply.
pub struct Applier {
    /// Whether the control plane had no namespace a moment ago, so that nothing in it is of someone before us.
    pub namespace_is_missing: bool,
    /// Client whose writes are gated by leadership.
    pub client: Client,
    /// Where the inventory is kept.
    pub store: InventoryStore,
    /// Longest wait for one stage.
    pub deadline: Duration,
    /// Where progress is told.
    pub progress: Progress,
    /// What outlives this apply.
    pub state: ApplyState,
}

impl Applier {
    /// Applies `plan`, given the `inventory` of earlier applies, which it keeps up to date, and the `live` state of what it
    /// lists.
    pub async fn apply(
        &self,
        plan: &Plan,
        inventory: &mut Inventory,
        live: &LiveObjects,
        monitor: &dyn StageMonitor,
    ) -> Result<ApplyOutcome, Error> {
        let planned = plan.ids().map_err(|(stage, source)| Error::Plan { stage, source })?;
        check_boundary(planned.iter().map(|(_, id)| id))?;
        self.state.pending_records.reset_recorded();
        let before = inventory.clone();
        if inventory.extend(planned.iter().cloned()) {
            self.store.save(inventory).await?;
        }
        let extended = inventory.clone();
        // Until it is complete again: it may be dropped at any time.
        let was_complete = self.state.is_complete.swap(false, Ordering::Relaxed);
        let result = self.apply_stages(plan, &planned, inventory, live, monitor, was_complete).await;
        self.state.is_complete.store(matches!(result, Ok(ApplyOutcome::Complete(_))), Ordering::Relaxed);
        // What was written is remembered even if a later stage failed.
        if *inventory != extended && *inventory != before {
            self.store.save(inventory).await?;
        }
        self.state.pending_records.remove_recorded();
        result
    }

    async fn apply_stages(
        &self,
        plan: &Plan,
        planned: &[(Stage, ObjectId)],
        inventory: &mut Inventory,
        live: &LiveObjects,
        monitor: &dyn StageMonitor,
        was_complete: bool,
    ) -> Result<ApplyOutcome, Error> {
        let mut applied = ApplySummary::default();
        let context = ApplyContext::new(&self.client, self.namespace_is_missing);
        for stage in Stage::ALL {
            // Beside the writes: both are over before istiod, once it starts, gets to its watches.
            let kinds = if stage == Stage::Istiod { context.take_new_kinds() } else { Vec::new() };
            let write = self.write_stage(plan, stage, inventory, live, &context, &mut applied);
            let (written, ()) = join(write, crate::crds::warmup::warm_up(&self.client, kinds)).await;
            written?;
            // A definition that stays as it is may lack the label by which ours are watched.
            let ours = planned.iter().filter(|(_, id)| !applied.kept_crds.contains(id)).cloned();
            let conditions =
                crate::readiness::conditions::readiness_conditions(stage, &ours.collect::<Vec<_>>());
            if conditions.is_empty() || (was_complete && applied.written == 0) {
                continue;
            }
            monitor.set_expected(applied_objects(planned, stage, inventory, live, &applied));
            let progress = self.progress.for_stage(stage);
            tokio::select! {
                outcome = crate::readiness::wait::wait_until_ready(&self.client, &conditions, self.deadline, &progress) => {
                    if let WaitOutcome::NotReady(reason) = outcome {
                        return Ok(ApplyOutcome::NotReady { stage, reason });
                    }
                }
                () = monitor.changed() => return Ok(ApplyOutcome::DriftDetected),
            }
        }
        let wanted: Vec<ObjectId> = planned.iter().map(|(_, id)| id.clone()).collect();
        applied.pruned = self.prune(&wanted, inventory).await?;
        applied.helm_secrets =
            crate::inventory::helm_releases::find_remaining_secrets(&self.client, inventory).await?;
        applied.warnings =
            plan.warnings().iter().cloned().chain(context.crd_policy.into_warnings()).collect();
        Ok(ApplyOutcome::Complete(applied))
    }

    /// Writes the objects of one stage that are not as planned.
    ///
    /// Objects are taken from the plan one by one: the CRDs together are too large to hold.
    async fn write_stage(
        &self,
        plan: &Plan,
        stage: Stage,
        inventory: &mut Inventory,
        live: &LiveObjects,
        context: &ApplyContext,
        applied: &mut ApplySummary,
    ) -> Result<(), Error> {
        let recorded = inventory.clone();
        let progress = self.progress.for_stage(stage);
        let applier = ObjectApplier {
            client: &self.client,
            inventory: &recorded,
            live,
            conflict_backoff: &self.state.conflict_backoff,
            revert_metrics: &self.state.revert_metrics,
            pending_records: &self.state.pending_records,
            progress: &progress,
            context,
        };
        let mut writes = stream::iter(due(plan, stage, &recorded))
            .map(|(stage, object)| {
                let applier = &applier;
                async move {
                    let (id, manifest) = object.map_err(|source| Error::Plan { stage, source })?;
                    Ok::<_, Error>((id.clone(), applier.apply_object(stage, id, manifest).await?))
                }
            })
            .buffer_unordered(stage.concurrency());
        while let Some(result) = writes.next().await {
            match result? {
                (_, ApplyResult::Unchanged) => applied.unchanged += 1,
                (_, ApplyResult::Skipped(skipped)) => applied.skipped.push(skipped),
                (id, ApplyResult::KeptCrd) => applied.kept_crds.push(id),
                (id, ApplyResult::Written(record, skipped)) => {
                    self.state.pending_records.mark_recorded(&id);
                    inventory.record(id, record);
                    applied.skipped.extend(skipped);
                    applied.written += 1;
                }
            }
        }
        Ok(())
    }

    async fn prune(&self, wanted: &[ObjectId], inventory: &mut Inventory) -> Result<usize, Error> {
        let mut pruned = 0;
        for (id, record) in inventory.surplus(wanted) {
            let deletion = crate::inventory::deletion::delete(&self.client, &id, &record).await?;
            if deletion.is_final() {
                inventory.forget(&id);
            }
            match deletion {
                Deletion::Gone | Deletion::Started => {
                    tracing::info!(object = %id, "pruned, as it is no longer configured");
                    pruned += 1;
                }
                Deletion::Released => {
                    tracing::info!(object = %id, "released, as it is no longer configured and existed before");
                }
                Deletion::NotOurs => {
                    tracing::info!(object = %id, "left alone, as it is no longer configured and was replaced");
                }
            }
        }
        Ok(pruned)
    }
}

/// The objects that are written in `stage`, with the stage that they belong to.
fn due<'a>(
    plan: &'a Plan,
    stage: Stage,
    inventory: &'a Inventory,
) -> impl Iterator<Item = (Stage, Result<(ObjectId, Value), crate::plan::Error>)> + Send + 'a {
    let earlier = (stage == Stage::Istiod).then_some(Stage::Injection);
    let objects = [Some(stage), earlier].into_iter().flatten();
    objects.flat_map(move |of| plan.objects(of).map(move |object| (of, object))).filter(
        move |(of, object)| {
            object.as_ref().map_or(*of == stage, |(id, _)| of.write_stage(inventory.has_written(id)) == stage)
        },
    )
}

/// The objects up to `stage` that are as planned.
fn applied_objects(
    planned: &[(Stage, ObjectId)],
    stage: Stage,
    inventory: &Inventory,
    live: &LiveObjects,
    applied: &ApplySummary,
) -> LiveObjects {
    let done = planned
        .iter()
        .filter(|(of, id)| of.write_stage(inventory.has_written(id)) <= stage)
        .map(|(_, id)| id);
    let is_skipped = |id: &ObjectId| {
        applied.kept_crds.contains(id) || applied.skipped.iter().any(|held| held.object == *id)
    };
    let written = done.filter(|id| !is_skipped(id));
    written.filter_map(|id| Some((id.clone(), inventory.get(id)?.as_snapshot(live.get(id))))).collect()
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::api::{Istio, IstioSpec};
    use crate::status::StatusWriter;

    struct NoopMonitor;

    impl StageMonitor for NoopMonitor {
        fn set_expected(&self, _: LiveObjects) {}
        fn changed(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }
    }

    /// An applier whose every request fails the test.
    fn applier() -> Applier {
        let service = tower::service_fn(|request: http::Request<Body>| async move {
            let request = format!("{} {}", request.method(), request.uri());
            Err::<http::Response<Body>, _>(format!("asked the API server: {request}"))
        });
        let client = Client::new(service, "istio-system");
        Applier {
            namespace_is_missing: false,
            store: InventoryStore::new(client.clone(), "kyma-system"),
            deadline: Duration::from_secs(1),
            progress: StatusWriter::start(client.clone(), "test".to_owned())
                .report_on(&Istio::new("default", IstioSpec::default())),
            state: ApplyState::default(),
            client,
        }
    }

    #[tokio::test]
    async fn a_plan_that_exceeds_its_boundary_is_not_started() {
        let map = |namespace: &str, name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
        for objects in [
            vec![map("istio-system", "a"), map("istio-system", "b"), map("istio-system", "a")],
            vec![map("istio-system", "a"), map("kube-system", "coredns")],
        ] {
            let plan = Plan::unchecked(objects);
            let mut inventory = Inventory::default();
            let result = applier().apply(&plan, &mut inventory, &LiveObjects::default(), &NoopMonitor).await;
            assert!(matches!(result, Err(Error::Boundary(_))), "{result:?}");
            assert_eq!(inventory, Inventory::default());
        }
    }
}
