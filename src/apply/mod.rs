//! Brings the cluster to what the plan says: stage by stage, by server-side apply, waiting for each to be ready.
//!
//! It writes what differs, remembers what it wrote, and prunes what is no longer planned. It decides nothing about what
//! Istio should look like.

pub mod concede;
pub mod definition_gate;
pub mod definitions;
pub mod deletion;
pub mod explain;
pub mod inventory;
pub mod ready;
pub mod server_side;
pub mod wait;

use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::Client;
use serde_json::Value;
use thiserror::Error;

use self::definition_gate::Gate;
use self::deletion::Deletion;
use self::inventory::{Inventory, Record, Store};
use self::wait::Verdict;
use crate::object::ObjectId;
use crate::observe::Live;
use crate::plan::{Plan, Stage};
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
}

/// Proof that a plan was applied as a whole, with what that took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects that were written.
    pub written: usize,
    /// Objects that were as planned already.
    pub unchanged: usize,
    /// Objects that are no longer planned and were deleted.
    pub pruned: usize,
    /// What the user should mend, although everything runs.
    pub warnings: Vec<String>,
}

/// The means of an apply.
pub struct Applier {
    /// Client whose writes are gated by leadership.
    pub client: Client,
    /// Where the inventory is kept.
    pub store: Store,
    /// Longest wait for one stage.
    pub deadline: Duration,
    /// Where progress is told.
    pub progress: Progress,
}

impl Applier {
    /// Applies `plan`, given the `inventory` of earlier applies and the `live` state of what it lists.
    pub async fn apply(&self, plan: &Plan, mut inventory: Inventory, live: &Live) -> Result<Outcome, Error> {
        let planned = plan.ids().map_err(|(stage, source)| Error::Plan { stage, source })?;
        let before = inventory.clone();
        if inventory.extend(planned.iter().cloned()) {
            self.store.save(&inventory).await?;
        }
        let extended = inventory.clone();
        let result = self.apply_stages(plan, &planned, &mut inventory, live).await;
        // What was written is remembered even if a later stage failed.
        if inventory != extended && inventory != before {
            self.store.save(&inventory).await?;
        }
        result
    }

    async fn apply_stages(
        &self,
        plan: &Plan,
        planned: &[(Stage, ObjectId)],
        inventory: &mut Inventory,
        live: &Live,
    ) -> Result<Outcome, Error> {
        let mut applied = Applied::default();
        let gate = Gate::new(self.client.clone());
        for stage in Stage::ALL {
            self.write_stage(plan, stage, inventory, live, &gate, &mut applied).await?;
            let gates = wait::gates(stage, planned);
            let verdict = wait::wait(&self.client, &gates, self.deadline, &self.progress.within(stage)).await;
            if let Verdict::NotReady(reason) = verdict {
                return Ok(Outcome::NotReady { stage, reason });
            }
        }
        let wanted: Vec<ObjectId> = planned.iter().map(|(_, id)| id.clone()).collect();
        applied.pruned = self.prune(&wanted, inventory).await?;
        applied.warnings = plan.warnings().iter().cloned().chain(gate.into_warnings()).collect();
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
        gate: &Gate,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let known = inventory.clone();
        let mut writes = stream::iter(plan.objects(stage))
            .map(|object| self.write(stage, object, &known, live, gate))
            .buffer_unordered(stage.concurrency());
        while let Some(result) = writes.next().await {
            match result? {
                (_, None) => applied.unchanged += 1,
                (id, Some(record)) => {
                    inventory.record(id, record);
                    applied.written += 1;
                }
            }
        }
        Ok(())
    }

    /// Applies one object unless it is as planned already; returns its new record if it was written.
    async fn write(
        &self,
        stage: Stage,
        object: Result<(ObjectId, Value), crate::plan::Error>,
        known: &Inventory,
        live: &Live,
        gate: &Gate,
    ) -> Result<(ObjectId, Option<Record>), Error> {
        let (id, mut manifest) = object.map_err(|source| Error::Plan { stage, source })?;
        let digest = server_side::digest(&manifest);
        if is_unchanged(&id, &digest, known, live) {
            return Ok((id, None));
        }
        if stage == Stage::CustomResourceDefinitions && !gate.lets_pass(&id, &manifest).await? {
            return Ok((id, None));
        }
        if id.kind == "ValidatingWebhookConfiguration" && self.concede(&id, &mut manifest).await? {
            return Ok((id, None));
        }
        self.progress.within(stage).say(format!("applying {id}"));
        let written = server_side::apply(&self.client, &id, &manifest)
            .await
            .map_err(|source| Error::Apply { stage, source })?;
        tracing::debug!(object = %id, "applied");
        let record = Record { stage, uid: written.uid, digest: Some(digest), entry: written.entry };
        Ok((id, Some(record)))
    }

    /// Leaves out what others own; returns whether the live object then needs no write.
    async fn concede(&self, id: &ObjectId, manifest: &mut Value) -> Result<bool, Error> {
        let live = id.api(self.client.clone()).get_opt(&id.name).await;
        let live = live.map_err(|source| Error::Read { object: id.clone(), source: Box::new(source) })?;
        let Some(live) = live.and_then(|live| serde_json::to_value(live).ok()) else { return Ok(false) };
        concede::concede(manifest, &live);
        Ok(concede::contains(&live, manifest))
    }

    async fn prune(&self, wanted: &[ObjectId], inventory: &mut Inventory) -> Result<usize, Error> {
        let mut pruned = 0;
        for (id, record) in inventory.surplus(wanted) {
            match deletion::delete(&self.client, &id, &record).await? {
                Deletion::Gone | Deletion::NotOurs => inventory.forget(&id),
                Deletion::Started => {}
            }
            tracing::info!(object = %id, "pruned, as it is no longer configured");
            pruned += 1;
        }
        Ok(pruned)
    }
}

/// Whether the object is as the last apply left it, and that was what is planned now.
fn is_unchanged(id: &ObjectId, digest: &str, known: &Inventory, live: &Live) -> bool {
    let (Some(record), Some(seen)) = (known.get(id), live.get(id)) else { return false };
    record.digest.as_deref() == Some(digest)
        && record.uid.is_some()
        && record.uid == seen.uid
        && record.entry.is_some()
        && record.entry == seen.entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Seen;

    fn id() -> ObjectId {
        ObjectId {
            group: String::new(),
            version: "v1".into(),
            kind: "Service".into(),
            namespace: None,
            name: "x".into(),
        }
    }

    fn known(digest: &str, uid: Option<&str>, entry: Option<&str>) -> Inventory {
        let mut inventory = Inventory::default();
        let own = |text: Option<&str>| text.map(str::to_owned);
        let record =
            Record { stage: Stage::Istiod, uid: own(uid), digest: Some(digest.into()), entry: own(entry) };
        inventory.record(id(), record);
        inventory
    }

    fn live(uid: Option<&str>, entry: Option<&str>) -> Live {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Live::from([(id(), Seen { uid: own(uid), entry: own(entry) })])
    }

    #[test]
    fn an_object_is_left_alone_only_when_nothing_about_it_changed() {
        let same = known("d", Some("u"), Some("e"));
        for (name, known, live, unchanged) in [
            ("same", &same, live(Some("u"), Some("e")), true),
            ("gone", &same, Live::new(), false),
            ("recreated", &same, live(Some("other"), Some("e")), false),
            ("edited", &same, live(Some("u"), Some("other")), false),
            ("taken", &same, live(Some("u"), None), false),
            ("new configuration", &known("old", Some("u"), Some("e")), live(Some("u"), Some("e")), false),
            ("never confirmed", &known("d", None, None), live(None, None), false),
            ("unknown", &Inventory::default(), live(Some("u"), Some("e")), false),
        ] {
            assert_eq!(is_unchanged(&id(), "d", known, &live), unchanged, "{name}");
        }
    }
}
