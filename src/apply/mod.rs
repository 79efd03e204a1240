//! Applies a plan: stage by stage, by server-side apply, with a wait until each stage is ready.
//!
//! The only step that combines [`crate::ssa`], [`crate::inventory`], [`crate::readiness`], [`crate::crds`] and [`crate::drift`].
//! It writes differences, records what it wrote, and prunes what is no longer planned; it must not decide what is planned.

mod object_applier;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join;
use futures::stream::{self, StreamExt};
use kube::Client;
use serde_json::Value;
use thiserror::Error;

use self::object_applier::{ApplyContext, ApplyResult, ObjectApplier};
pub use self::object_applier::{SkipReason, Skipped};
use crate::crds::{policy, warmup};
pub use crate::drift::StageMonitor;
use crate::drift::conflict_backoff::ConflictBackoff;
pub use crate::drift::reverts::RevertMetrics;
use crate::drift::snapshot::{LiveObjects, ObjectSnapshot};
use crate::inventory::deletion::{self, Deletion};
use crate::inventory::pending_records::PendingRecords;
use crate::inventory::{self, Inventory, InventoryStore, helm_releases};
use crate::kubernetes::object::ObjectId;
use crate::plan::{self, BoundaryError, Plan, Stage, check_boundary};
use crate::readiness::conditions::readiness_conditions;
use crate::readiness::wait::{WaitOutcome, wait_until_ready};
use crate::ssa;
use crate::status::Progress;

/// The plan was not applied. What was written before stays, and is recorded.
#[derive(Debug, Error)]
pub enum Error {
    /// A planned object could not be read.
    #[error("failed to read a planned object of stage {stage}")]
    Plan {
        /// The stage.
        stage: Stage,
        /// What is wrong with the object.
        source: plan::Error,
    },
    /// The plan exceeds its boundary. Nothing was written.
    #[error("the plan is refused, nothing was written")]
    Boundary(#[from] BoundaryError),
    /// The inventory could not be written.
    #[error("failed to update the inventory")]
    Inventory {
        /// The cause.
        #[from]
        source: inventory::Error,
    },
    /// The live object, to which fields may have to be yielded, could not be read.
    #[error("failed to read {object}")]
    Read {
        /// The object.
        object: ObjectId,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// The fields of a previous installer could not be adopted.
    #[error("failed to adopt the fields of a previous installer")]
    Adopt {
        /// The object and the response of the API server.
        source: ssa::apply::Error,
    },
    /// Others write the object so often that its managed fields cannot be rewritten.
    #[error("failed to adopt {object}: too many conflicting writes")]
    Contended {
        /// The object.
        object: ObjectId,
    },
    /// The Helm releases of adopted objects could not be listed.
    #[error("failed to check for Helm releases of adopted objects")]
    HelmReleases {
        /// The cause.
        #[from]
        source: helm_releases::Error,
    },
    /// An existing CRD could not be compared with the planned one.
    #[error("failed to compare the CustomResourceDefinitions of the cluster")]
    CrdPolicy {
        /// The cause.
        #[from]
        source: policy::Error,
    },
    /// The API server did not accept an object.
    #[error("failed to complete stage {stage}")]
    Apply {
        /// The stage.
        stage: Stage,
        /// The object and the response of the API server.
        source: ssa::apply::Error,
    },
    /// An object that is no longer planned could not be deleted.
    #[error("failed to prune")]
    Prune {
        /// The object and the response of the API server.
        #[from]
        source: deletion::Error,
    },
}

/// How an apply ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Every object is as planned and every workload is ready.
    Complete(ApplySummary),
    /// A stage failed, or was not ready before its timeout.
    NotReady {
        /// The stage.
        stage: Stage,
        /// The object that is not ready, and why.
        reason: String,
    },
    /// An applied object was changed while a later stage was not ready yet: the reconcile must start again.
    DriftDetected,
}

impl ApplyOutcome {
    /// The objects that were not written.
    #[must_use]
    pub fn skipped(&self) -> Vec<ObjectId> {
        match self {
            Self::Complete(applied) => {
                let skipped = applied.skipped.iter().map(|skipped| &skipped.object);
                skipped.chain(&applied.kept_crds).cloned().collect()
            }
            Self::NotReady { .. } | Self::DriftDetected => Vec::new(),
        }
    }
}

/// The result of a plan that was applied completely, except for skipped objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplySummary {
    /// Objects that were written.
    pub written: usize,
    /// Objects that were in sync already.
    pub unchanged: usize,
    /// Objects that are no longer planned and were deleted.
    pub pruned: usize,
    /// Objects that are no longer planned, and stay because they are not ours.
    pub released: usize,
    /// Objects that are skipped for now.
    pub skipped: Vec<Skipped>,
    /// Secrets of Helm releases that still list objects of ours.
    pub helm_secrets: Vec<ObjectId>,
    /// CRDs that were not replaced.
    pub kept_crds: Vec<ObjectId>,
    /// Problems that users should fix, although Istio runs.
    pub warnings: Vec<String>,
}

/// What happened to the objects that are no longer planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PruneSummary {
    /// Objects that were deleted, or whose deletion was started.
    deleted: usize,
    /// Objects that stay and are no longer managed: they existed before our first write, or are not ours any more.
    released: usize,
}

impl PruneSummary {
    fn record(&mut self, id: &ObjectId, deletion: Deletion) {
        match deletion {
            Deletion::Gone | Deletion::Started => {
                self.deleted += 1;
                tracing::info!(object = %id, "pruned an object that is no longer planned");
            }
            Deletion::Released => {
                self.released += 1;
                tracing::info!(object = %id, "released an object that is no longer planned: it existed before");
            }
            Deletion::NotOurs => {
                self.released += 1;
                tracing::info!(object = %id, "released an object that is no longer planned: it is not ours any more");
            }
        }
    }
}

/// State that outlives a single apply.
#[derive(Clone, Debug, Default)]
pub struct ApplyState {
    /// Objects that others keep changing.
    pub conflict_backoff: Arc<Mutex<ConflictBackoff>>,
    /// The metric of reverted drift.
    pub revert_metrics: RevertMetrics,
    /// Whether the last apply ended with everything ready. Then there is no wait for objects that are not written again: the
    /// drift watch reports their health.
    pub(crate) is_complete: Arc<AtomicBool>,
    /// Writes of applies that ended before they recorded them.
    pub(crate) pending_records: Arc<PendingRecords>,
}

/// Applies plans.
pub struct Applier {
    /// Whether the namespace of the control plane did not exist when it was last checked, so that it holds no older objects.
    pub namespace_is_missing: bool,
    /// Client with the write fence.
    pub client: Client,
    /// Store of the inventory.
    pub store: InventoryStore,
    /// Timeout of the wait for one stage.
    pub deadline: Duration,
    /// Receives progress and Events.
    pub progress: Progress,
    /// State that outlives this apply.
    pub state: ApplyState,
}

impl Applier {
    /// Applies `plan`, given the `inventory` of earlier applies, which it updates, and the `live` snapshots of recorded objects.
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
        // Reset first, because this future may be dropped at any time.
        let was_complete = self.state.is_complete.swap(false, Ordering::Relaxed);
        let result = self.apply_stages(plan, &planned, inventory, live, monitor, was_complete).await;
        self.state.is_complete.store(matches!(result, Ok(ApplyOutcome::Complete(_))), Ordering::Relaxed);
        // Written objects are recorded even if a later stage failed.
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
            // Concurrently with the writes: both end before a starting istiod opens its watches.
            let kinds = if stage == Stage::Istiod { context.take_new_kinds() } else { Vec::new() };
            let write = self.write_stage(plan, stage, inventory, live, &context, &mut applied);
            let (written, ()) = join(write, warmup::warm_up(&self.client, kinds)).await;
            written?;
            // A CRD that is not replaced may lack the label by which ours are watched.
            let ours = planned.iter().filter(|(_, id)| !applied.kept_crds.contains(id)).cloned();
            let conditions = readiness_conditions(stage, &ours.collect::<Vec<_>>());
            if conditions.is_empty() || (was_complete && applied.written == 0) {
                continue;
            }
            monitor.set_expected(applied_objects(planned, stage, inventory, live, &applied));
            let progress = self.progress.for_stage(stage);
            tokio::select! {
                outcome = wait_until_ready(&self.client, &conditions, self.deadline, &progress) => {
                    if let WaitOutcome::NotReady(reason) = outcome {
                        return Ok(ApplyOutcome::NotReady { stage, reason });
                    }
                }
                () = monitor.changed() => return Ok(ApplyOutcome::DriftDetected),
            }
        }
        let wanted: Vec<ObjectId> = planned.iter().map(|(_, id)| id.clone()).collect();
        let pruned = self.prune(&wanted, inventory).await?;
        (applied.pruned, applied.released) = (pruned.deleted, pruned.released);
        applied.helm_secrets = helm_releases::find_remaining_secrets(&self.client, inventory).await?;
        applied.warnings =
            plan.warnings().iter().cloned().chain(context.crd_policy.into_warnings()).collect();
        Ok(ApplyOutcome::Complete(applied))
    }

    /// Writes the objects of one stage that are not in sync.
    ///
    /// Objects are taken from the plan one by one: all CRDs together take too much memory.
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
        let writer = ObjectApplier {
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
                let writer = &writer;
                async move {
                    let (id, manifest) = object.map_err(|source| Error::Plan { stage, source })?;
                    Ok::<_, Error>((id.clone(), writer.apply_object(stage, id, manifest).await?))
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

    /// Deletes or releases the recorded objects that are not in `wanted`.
    async fn prune(&self, wanted: &[ObjectId], inventory: &mut Inventory) -> Result<PruneSummary, Error> {
        let mut pruned = PruneSummary::default();
        for (id, record) in inventory.surplus(wanted) {
            let deletion = deletion::delete(&self.client, &id, &record).await?;
            if deletion.is_final() {
                inventory.remove(&id);
            }
            pruned.record(&id, deletion);
        }
        Ok(pruned)
    }
}

/// The objects that are written in `stage`, each with the stage that it belongs to.
fn due<'a>(
    plan: &'a Plan,
    stage: Stage,
    inventory: &'a Inventory,
) -> impl Iterator<Item = (Stage, Result<(ObjectId, Value), plan::Error>)> + Send + 'a {
    let earlier = (stage == Stage::Istiod).then_some(Stage::Injection);
    let objects = [Some(stage), earlier].into_iter().flatten();
    objects.flat_map(move |of| plan.objects(of).map(move |object| (of, object))).filter(
        move |(of, object)| {
            object.as_ref().map_or(*of == stage, |(id, _)| of.write_stage(inventory.has_written(id)) == stage)
        },
    )
}

/// The expected snapshots of the objects that are written up to `stage`.
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
        applied.kept_crds.contains(id) || applied.skipped.iter().any(|skipped| skipped.object == *id)
    };
    let written = done.filter(|id| !is_skipped(id));
    let expected = |id: &ObjectId| Some(ObjectSnapshot::expected(inventory.get(id)?, live.get(id)));
    written.filter_map(|id| Some((id.clone(), expected(id)?))).collect()
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::api::{Istio, IstioSpec};
    use crate::inventory::Record;
    use crate::inventory::ownership::Origin;
    use crate::status::StatusWriter;

    struct NoopMonitor;

    impl StageMonitor for NoopMonitor {
        fn set_expected(&self, _: LiveObjects) {}
        fn changed(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }
    }

    /// An applier that must not send any request.
    fn applier() -> Applier {
        let service = tower::service_fn(|request: http::Request<Body>| async move {
            let request = format!("{} {}", request.method(), request.uri());
            Err::<http::Response<Body>, _>(format!("unexpected request: {request}"))
        });
        applier_with(Client::new(service, "istio-system"))
    }

    fn applier_with(client: Client) -> Applier {
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

    /// Serves ConfigMaps by name: `ours` with our fields, `theirs` recreated by others, all others missing.
    async fn config_maps(request: http::Request<Body>) -> Result<http::Response<Body>, tower::BoxError> {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let metadata = |uid: &str, manager: &str| {
            json!({"name": name, "namespace": "istio-system", "uid": uid, "resourceVersion": "1",
                "managedFields": [{"manager": manager, "operation": "Apply"}]})
        };
        let metadata = match name.as_str() {
            "ours" | "existed-before" => metadata("recorded", "istio-operator"),
            "recreated" => metadata("other", "istio-operator"),
            "taken" => metadata("recorded", "kubectl"),
            _ => {
                let status =
                    json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"});
                let body = Body::from(status.to_string().into_bytes());
                return Ok(http::Response::builder().status(404).body(body)?);
            }
        };
        let kind =
            if request.method() == http::Method::DELETE { "ConfigMap" } else { "PartialObjectMetadata" };
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
        Ok(http::Response::new(Body::from(object.to_string().into_bytes())))
    }

    #[tokio::test]
    async fn an_object_that_is_not_ours_any_more_is_released_not_pruned() {
        for (name, origin, expected) in [
            ("ours", Origin::Created, PruneSummary { deleted: 1, released: 0 }),
            ("missing", Origin::Created, PruneSummary { deleted: 1, released: 0 }),
            ("recreated", Origin::Created, PruneSummary { deleted: 0, released: 1 }),
            ("taken", Origin::Created, PruneSummary { deleted: 0, released: 1 }),
            ("existed-before", Origin::Foreign, PruneSummary { deleted: 0, released: 1 }),
        ] {
            let applier = applier_with(Client::new(tower::service_fn(config_maps), "istio-system"));
            let id = ObjectId::namespaced("v1", "ConfigMap", "istio-system", name);
            let mut inventory = Inventory::default();
            let record = Record {
                uid: Some("recorded".to_owned()),
                origin: Some(origin),
                ..Record::planned(Stage::Configuration)
            };
            inventory.record(id.clone(), record);
            assert_eq!(applier.prune(&[], &mut inventory).await.unwrap(), expected, "{name}");
            assert_eq!(inventory.get(&id).is_some(), name == "ours", "{name}");
        }
    }
}
