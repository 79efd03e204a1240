//! Brings the cluster to what the plan says: stage by stage, by server-side apply, waiting for each to be ready.
//!
//! It writes what differs, remembers what it wrote, and prunes what is no longer planned. It decides nothing about what
//! Istio should look like.

pub mod access;
pub mod change;
pub mod concede;
pub mod definition_gate;
pub mod definitions;
pub mod deletion;
pub mod dispute;
pub mod explain;
pub mod fields;
pub mod fight;
pub mod gates;
pub mod heed;
pub mod inventory;
pub mod live;
pub mod ownership;
pub mod pause;
pub mod ready;
pub mod releases;
mod repairs;
pub mod server_side;
pub mod storage;
pub mod takeover;
mod unsaved;
pub mod wait;
mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, join};
use futures::stream::{self, StreamExt};
use kube::Client;
use serde_json::Value;
use thiserror::Error;

use self::deletion::Deletion;
use self::fight::Fights;
use self::inventory::{Inventory, Store};
use self::live::Live;
pub use self::repairs::Repairs;
use self::unsaved::Unsaved;
use self::wait::Verdict;
use self::write::{Fate, Ground, Hand};
pub use self::write::{Held, Why};
use crate::object::ObjectId;
use crate::plan::{BoundaryError, Plan, Stage, check_boundary};
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
        source: inventory::Error,
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
    TakeOver {
        /// The object and what the API server said.
        source: server_side::Error,
    },
    /// Others write the object so often that its managed fields cannot be rewritten.
    #[error("cannot take over {object}: others write it all the time")]
    Contended {
        /// The object.
        object: ObjectId,
    },
    /// The Helm releases of objects that were taken over could not be looked for.
    #[error("cannot tell whether Helm still knows what was taken over")]
    Releases {
        /// What happened.
        #[from]
        source: releases::Error,
    },
    /// It is not known whether a definition may be written.
    #[error("cannot judge the custom resource definitions of this cluster")]
    Definition {
        /// What happened.
        #[from]
        source: definition_gate::Error,
    },
    /// An object was refused.
    #[error("stage {stage} is not complete")]
    Apply {
        /// The stage.
        stage: Stage,
        /// The object and what the API server said.
        source: server_side::Error,
    },
    /// An object that is no longer wanted could not be deleted.
    #[error("cannot prune")]
    Prune {
        /// The object and what the API server said.
        #[from]
        source: deletion::Error,
    },
}

/// How an apply ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every object is as planned and every workload is ready.
    Complete(Applied),
    /// A stage did not become ready before its deadline; the text names the object and why.
    NotReady {
        /// The stage.
        stage: Stage,
        /// The object that is not ready, with its own words.
        reason: String,
    },
    /// Something that was as planned was changed while a later stage was awaited: it is to be looked at anew.
    Disturbed,
}

impl Outcome {
    /// The objects that were left alone.
    #[must_use]
    pub fn held(&self) -> Vec<ObjectId> {
        match self {
            Self::Complete(applied) => {
                let held = applied.held.iter().map(|held| &held.object);
                held.chain(&applied.kept).cloned().collect()
            }
            Self::NotReady { .. } | Self::Disturbed => Vec::new(),
        }
    }
}

/// Proof that a plan was applied as a whole, but for what is named here, with what that took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects that were written.
    pub written: usize,
    /// Objects that were as planned already.
    pub unchanged: usize,
    /// Objects that are no longer planned and were deleted.
    pub pruned: usize,
    /// Objects that are left alone for now.
    pub held: Vec<Held>,
    /// Secrets of Helm releases that still list objects of ours.
    pub releases: Vec<ObjectId>,
    /// Definitions that stay as they are.
    pub kept: Vec<ObjectId>,
    /// What the user should mend, although everything runs.
    pub warnings: Vec<String>,
}

/// Who looks after what is written already while more is awaited.
pub trait Vigil: Sync {
    /// These objects are to stay as they are here.
    fn content_with(&self, objects: Live);
    /// Ends when one of them has changed.
    fn disturbed(&self) -> BoxFuture<'_, ()>;
}

/// What outlives a single apply.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Who keeps changing what is put back.
    pub fights: Arc<Mutex<Fights>>,
    /// The metric of what was put back.
    pub repairs: Repairs,
    /// Whether the last apply ended with everything ready. What is not written again is not waited for again then; how it
    /// fares later is told by those who watch it.
    pub(crate) complete: Arc<AtomicBool>,
    /// Writes of applies that did not come to note them.
    pub(crate) unsaved: Arc<Unsaved>,
}

/// The means of an apply.
pub struct Applier {
    /// Whether the control plane had no namespace a moment ago, so that nothing in it is of someone before us.
    pub namespace_is_missing: bool,
    /// Client whose writes are gated by leadership.
    pub client: Client,
    /// Where the inventory is kept.
    pub store: Store,
    /// Longest wait for one stage.
    pub deadline: Duration,
    /// Where progress is told.
    pub progress: Progress,
    /// What outlives this apply.
    pub memory: Memory,
}

impl Applier {
    /// Applies `plan`, given the `inventory` of earlier applies, which it keeps up to date, and the `live` state of what it
    /// lists.
    pub async fn apply(
        &self,
        plan: &Plan,
        inventory: &mut Inventory,
        live: &Live,
        vigil: &dyn Vigil,
    ) -> Result<Outcome, Error> {
        let planned = plan.ids().map_err(|(stage, source)| Error::Plan { stage, source })?;
        check_boundary(planned.iter().map(|(_, id)| id))?;
        self.memory.unsaved.start();
        let before = inventory.clone();
        if inventory.extend(planned.iter().cloned()) {
            self.store.save(inventory).await?;
        }
        let extended = inventory.clone();
        // Until it is complete again: it may be dropped at any time.
        let was_complete = self.memory.complete.swap(false, Ordering::Relaxed);
        let result = self.apply_stages(plan, &planned, inventory, live, vigil, was_complete).await;
        self.memory.complete.store(matches!(result, Ok(Outcome::Complete(_))), Ordering::Relaxed);
        // What was written is remembered even if a later stage failed.
        if *inventory != extended && *inventory != before {
            self.store.save(inventory).await?;
        }
        self.memory.unsaved.saved();
        result
    }

    async fn apply_stages(
        &self,
        plan: &Plan,
        planned: &[(Stage, ObjectId)],
        inventory: &mut Inventory,
        live: &Live,
        vigil: &dyn Vigil,
        was_complete: bool,
    ) -> Result<Outcome, Error> {
        let mut applied = Applied::default();
        let ground = Ground::new(&self.client, self.namespace_is_missing);
        for stage in Stage::ALL {
            // Beside the writes: both are over before istiod, once it starts, gets to its watches.
            let kinds = if stage == Stage::Istiod { ground.take_new_kinds() } else { Vec::new() };
            let write = self.write_stage(plan, stage, inventory, live, &ground, &mut applied);
            let (written, ()) = join(write, storage::prepare(&self.client, kinds)).await;
            written?;
            // A definition that stays as it is may lack the label by which ours are watched.
            let ours = planned.iter().filter(|(_, id)| !applied.kept.contains(id)).cloned();
            let gates = gates::gates(stage, &ours.collect::<Vec<_>>());
            if gates.is_empty() || (was_complete && applied.written == 0) {
                continue;
            }
            vigil.content_with(settled(planned, stage, inventory, live, &applied));
            let progress = self.progress.within(stage);
            tokio::select! {
                verdict = wait::wait(&self.client, &gates, self.deadline, &progress) => {
                    if let Verdict::NotReady(reason) = verdict {
                        return Ok(Outcome::NotReady { stage, reason });
                    }
                }
                () = vigil.disturbed() => return Ok(Outcome::Disturbed),
            }
        }
        let wanted: Vec<ObjectId> = planned.iter().map(|(_, id)| id.clone()).collect();
        applied.pruned = self.prune(&wanted, inventory).await?;
        applied.releases = releases::remaining(&self.client, inventory).await?;
        applied.warnings = plan.warnings().iter().cloned().chain(ground.gate.into_warnings()).collect();
        Ok(Outcome::Complete(applied))
    }

    /// Writes the objects of one stage that are not as planned.
    ///
    /// Objects are taken from the plan one by one: the CRDs together are too large to hold.
    async fn write_stage(
        &self,
        plan: &Plan,
        stage: Stage,
        inventory: &mut Inventory,
        live: &Live,
        ground: &Ground,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let known = inventory.clone();
        let progress = self.progress.within(stage);
        let hand = Hand {
            client: &self.client,
            known: &known,
            live,
            fights: &self.memory.fights,
            repairs: &self.memory.repairs,
            unsaved: &self.memory.unsaved,
            progress: &progress,
            ground,
        };
        let mut writes = stream::iter(due(plan, stage, &known))
            .map(|(stage, object)| {
                let hand = &hand;
                async move {
                    let (id, manifest) = object.map_err(|source| Error::Plan { stage, source })?;
                    Ok::<_, Error>((id.clone(), hand.bring(stage, id, manifest).await?))
                }
            })
            .buffer_unordered(stage.concurrency());
        while let Some(result) = writes.next().await {
            match result? {
                (_, Fate::Unchanged) => applied.unchanged += 1,
                (_, Fate::Held(held)) => applied.held.push(held),
                (id, Fate::Kept) => applied.kept.push(id),
                (id, Fate::Written(record, held)) => {
                    self.memory.unsaved.recorded(&id);
                    inventory.record(id, record);
                    applied.held.extend(held);
                    applied.written += 1;
                }
            }
        }
        Ok(())
    }

    async fn prune(&self, wanted: &[ObjectId], inventory: &mut Inventory) -> Result<usize, Error> {
        let mut pruned = 0;
        for (id, record) in inventory.surplus(wanted) {
            let deletion = deletion::delete(&self.client, &id, &record).await?;
            if deletion.is_settled() {
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
    known: &'a Inventory,
) -> impl Iterator<Item = (Stage, Result<(ObjectId, Value), crate::plan::Error>)> + Send + 'a {
    let earlier = (stage == Stage::Istiod).then_some(Stage::Injection);
    let objects = [Some(stage), earlier].into_iter().flatten();
    objects.flat_map(move |of| plan.objects(of).map(move |object| (of, object))).filter(
        move |(of, object)| {
            object.as_ref().map_or(*of == stage, |(id, _)| of.turn(known.has_written(id)) == stage)
        },
    )
}

/// The objects up to `stage` that are as planned.
fn settled(
    planned: &[(Stage, ObjectId)],
    stage: Stage,
    inventory: &Inventory,
    live: &Live,
    applied: &Applied,
) -> Live {
    let done =
        planned.iter().filter(|(of, id)| of.turn(inventory.has_written(id)) <= stage).map(|(_, id)| id);
    let left_alone =
        |id: &ObjectId| applied.kept.contains(id) || applied.held.iter().any(|held| held.object == *id);
    let written = done.filter(|id| !left_alone(id));
    written.filter_map(|id| Some((id.clone(), inventory.get(id)?.as_seen(live.get(id))))).collect()
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::api::{Istio, IstioSpec};
    use crate::status::Writer;

    struct Nobody;

    impl Vigil for Nobody {
        fn content_with(&self, _: Live) {}
        fn disturbed(&self) -> BoxFuture<'_, ()> {
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
            store: Store::new(client.clone(), "kyma-system"),
            deadline: Duration::from_secs(1),
            progress: Writer::start(client.clone(), "test".to_owned())
                .report_on(&Istio::new("default", IstioSpec::default())),
            memory: Memory::default(),
            client,
        }
    }

    #[tokio::test]
    async fn a_plan_that_reaches_beyond_its_boundary_is_not_begun() {
        let map = |namespace: &str, name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
        for objects in [
            vec![map("istio-system", "a"), map("istio-system", "b"), map("istio-system", "a")],
            vec![map("istio-system", "a"), map("kube-system", "coredns")],
        ] {
            let plan = Plan::unchecked(objects);
            let mut inventory = Inventory::default();
            let result = applier().apply(&plan, &mut inventory, &Live::default(), &Nobody).await;
            assert!(matches!(result, Err(Error::Boundary(_))), "{result:?}");
            assert_eq!(inventory, Inventory::default());
        }
    }
}
