//! The objects that this operator created or adopted, and the Secret in which they are recorded.
//!
//! An object is added before its first write and removed after its confirmed deletion, so that a crash between two writes loses
//! none. Only what is recorded may be deleted: other controllers copy labels (an `EndpointSlice` has those of its Service), so
//! labels prove nothing. It must not know readiness or drift.

pub(crate) mod access;
pub mod deletion;
pub mod helm_releases;
pub mod ownership;
pub(crate) mod pending_records;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

pub use self::helm_releases::HelmRelease;
use self::ownership::Origin;
use crate::api::names::OWN_FIELD_MANAGER;
use crate::kubernetes::is_not_found;
use crate::kubernetes::object::ObjectId;
use crate::plan::Stage;
use crate::ssa::apply;

/// Name of the Secret, in the operator's namespace.
pub const SECRET_NAME: &str = "istio-manager-inventory";
const DATA_KEY: &str = "objects";

/// The inventory could not be read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// The Secret could not be read.
    #[error("failed to read the inventory, Secret {namespace}/{SECRET_NAME}")]
    Read {
        /// The operator's namespace.
        namespace: String,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// The Secret could not be written.
    #[error("failed to write the inventory, Secret {namespace}/{SECRET_NAME}")]
    Write {
        /// The operator's namespace.
        namespace: String,
        /// The response of the API server.
        source: Box<kube::Error>,
    },
    /// The Secret has other content.
    ///
    /// Never treated as an empty inventory: that would lose track of everything installed.
    #[error(
        "the inventory, Secret {namespace}/{SECRET_NAME}, is malformed; restore it, or delete it to adopt the installation again"
    )]
    Malformed {
        /// The operator's namespace.
        namespace: String,
        /// The position and kind of the problem.
        source: serde_json::Error,
    },
}

/// The record of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The stage that applies the object; the order of the uninstallation follows from it.
    pub stage: Stage,
    /// UID of the object; `None` until the first write is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Digest of the manifest that was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digest of our entry in `managedFields` as that apply returned it; it changes when anyone changes a field of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Paths of fields that admission changed; see `crate::ssa::admission_mutations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altered: Vec<String>,
    /// The Helm release that the object was adopted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<HelmRelease>,
    /// Where the object comes from; `None` before its first write, and in inventories of version 0.1, which do not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Record {
    /// The record of an object before its first write.
    #[must_use]
    pub const fn planned(stage: Stage) -> Self {
        Self { stage, uid: None, digest: None, entry: None, altered: Vec::new(), release: None, origin: None }
    }
}

/// The objects that this operator created or adopted, or is about to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    records: BTreeMap<ObjectId, Record>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    id: ObjectId,
    #[serde(flatten)]
    record: Record,
}

impl Inventory {
    /// Whether no object is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The recorded objects, sorted by identity.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Record)> {
        self.records.iter()
    }

    /// The record of an object.
    #[must_use]
    pub fn get(&self, id: &ObjectId) -> Option<&Record> {
        self.records.get(id)
    }

    /// Whether a write of the object is confirmed.
    #[must_use]
    pub fn has_written(&self, id: &ObjectId) -> bool {
        self.get(id).is_some_and(|record| record.uid.is_some())
    }

    /// Adds objects that are about to be written; returns whether any was new.
    ///
    /// An object that is applied by another API version keeps its record: it is the same object.
    pub fn extend(&mut self, planned: impl IntoIterator<Item = (Stage, ObjectId)>) -> bool {
        let mut grown = false;
        for (stage, id) in planned {
            if self.records.contains_key(&id) {
                continue;
            }
            let existing = self.records.keys().find(|other| other.is_same_object(&id)).cloned();
            let record =
                existing.and_then(|old| self.records.remove(&old)).unwrap_or_else(|| Record::planned(stage));
            self.records.insert(id, record);
            grown = true;
        }
        grown
    }

    /// Records the result of a write.
    pub fn record(&mut self, id: ObjectId, record: Record) {
        self.records.insert(id, record);
    }

    /// Removes an object whose deletion is confirmed.
    pub fn remove(&mut self, id: &ObjectId) {
        self.records.remove(id);
    }

    /// The Helm releases that objects were adopted from.
    #[must_use]
    pub fn helm_releases(&self) -> BTreeSet<HelmRelease> {
        self.records.values().filter_map(|record| record.release.clone()).collect()
    }

    /// Removes a Helm release that no longer exists from all records.
    pub fn remove_release(&mut self, release: &HelmRelease) {
        for record in self.records.values_mut().filter(|record| record.release.as_ref() == Some(release)) {
            record.release = None;
        }
    }

    /// The recorded objects that are no longer planned.
    #[must_use]
    pub fn surplus(&self, wanted: &[ObjectId]) -> Vec<(ObjectId, Record)> {
        let unwanted = |id: &ObjectId| !wanted.iter().any(|w| w.is_same_object(id));
        self.records
            .iter()
            .filter(|(id, _)| unwanted(id))
            .map(|(id, record)| (id.clone(), record.clone()))
            .collect()
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let entries: Vec<Entry> = self
            .records
            .iter()
            .map(|(id, record)| Entry { id: id.clone(), record: record.clone() })
            .collect();
        serde_json::to_vec(&entries)
    }

    fn decode(data: &[u8]) -> Result<Self, serde_json::Error> {
        let entries: Vec<Entry> = serde_json::from_slice(data)?;
        Ok(Self { records: entries.into_iter().map(|entry| (entry.id, entry.record)).collect() })
    }
}

/// Reads and writes the inventory Secret.
#[derive(Clone, Debug)]
pub struct InventoryStore {
    api: Api<Secret>,
    namespace: String,
}

impl InventoryStore {
    /// A store in the operator's own namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// Reads the inventory. It is empty if the Secret does not exist.
    pub async fn load(&self) -> Result<Inventory, Error> {
        let secret = self.api.get_opt(SECRET_NAME).await.map_err(|source| self.read_error(source))?;
        let data = secret.and_then(|secret| secret.data).and_then(|mut data| data.remove(DATA_KEY));
        match data {
            None => Ok(Inventory::default()),
            Some(ByteString(bytes)) => Inventory::decode(&bytes)
                .map_err(|source| Error::Malformed { namespace: self.namespace.clone(), source }),
        }
    }

    /// Writes the inventory.
    pub async fn save(&self, inventory: &Inventory) -> Result<(), Error> {
        let bytes = inventory
            .encode()
            .map_err(|source| Error::Malformed { namespace: self.namespace.clone(), source })?;
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET_NAME, "labels": {"kyma-project.io/module": "istio"}},
            "type": "operator.kyma-project.io/inventory",
            "data": {DATA_KEY: ByteString(bytes)},
        });
        let params = PatchParams::apply(OWN_FIELD_MANAGER).force();
        let patch = Patch::Apply(&secret);
        apply::retry_transient(|| self.api.patch_metadata(SECRET_NAME, &params, &patch))
            .await
            .map(drop)
            .map_err(|source| Error::Write { namespace: self.namespace.clone(), source: Box::new(source) })
    }

    /// Deletes the Secret.
    pub async fn delete(&self) -> Result<(), Error> {
        match self.api.delete(SECRET_NAME, &kube::api::DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(Error::Write { namespace: self.namespace.clone(), source: Box::new(source) }),
        }
    }

    fn read_error(&self, source: kube::Error) -> Error {
        Error::Read { namespace: self.namespace.clone(), source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(version: &str, name: &str) -> ObjectId {
        ObjectId::namespaced(&format!("apps/{version}"), "Deployment", "istio-system", name)
    }

    #[test]
    fn an_object_that_changes_its_api_version_keeps_its_record() {
        let mut inventory = Inventory::default();
        let record = Record { uid: Some("u".into()), ..Record::planned(Stage::Istiod) };
        inventory.record(id("v1beta1", "istiod"), record.clone());
        assert!(inventory.extend([(Stage::Istiod, id("v1", "istiod"))]));
        assert_eq!(inventory.iter().collect::<Vec<_>>(), [(&id("v1", "istiod"), &record)]);
    }

    #[test]
    fn extending_by_recorded_objects_changes_nothing() {
        let mut inventory = Inventory::default();
        assert!(inventory.extend([(Stage::Istiod, id("v1", "istiod"))]));
        assert!(!inventory.extend([(Stage::Istiod, id("v1", "istiod"))]));
    }

    #[test]
    fn malformed_data_is_an_error_and_not_an_empty_inventory() {
        assert!(Inventory::decode(b"{}").is_err());
        assert!(Inventory::decode(b"").is_err());
    }

    #[test]
    fn an_inventory_of_version_0_1_is_read_without_origins() {
        let data = br#"[{"version":"v1","kind":"ConfigMap","namespace":"istio-system","name":"istio",
            "stage":"configuration","uid":"u"}]"#;
        let inventory = Inventory::decode(data).unwrap();
        let records: Vec<_> = inventory.iter().map(|(_, record)| record.origin).collect();
        assert_eq!(records, [None]);
    }

    fn any_id() -> impl Strategy<Value = ObjectId> {
        ("[a-z]{0,3}", "v[12]", "[A-Z][a-z]{1,3}", proptest::option::of("[a-z]{1,3}"), "[a-z]{1,3}").prop_map(
            |(group, version, kind, namespace, name)| ObjectId { group, version, kind, namespace, name },
        )
    }

    fn any_record() -> impl Strategy<Value = Record> {
        (
            proptest::sample::select(&Stage::ALL[..]),
            proptest::option::of(".{0,5}"),
            proptest::option::of("[a-f]{4}"),
            proptest::option::of(proptest::sample::select(vec![
                Origin::Created,
                Origin::Istio,
                Origin::Foreign,
            ])),
        )
            .prop_map(|(stage, uid, digest, origin)| Record {
                uid,
                digest,
                origin,
                ..Record::planned(stage)
            })
    }

    proptest! {
        #[test]
        fn a_written_inventory_is_read_back(records in proptest::collection::btree_map(any_id(), any_record(), 0..8)) {
            let inventory = Inventory { records };
            prop_assert_eq!(Inventory::decode(&inventory.encode().unwrap()).unwrap(), inventory);
        }

        #[test]
        fn every_recorded_object_is_either_planned_or_surplus(
            recorded in proptest::collection::vec(any_id(), 0..8), wanted in proptest::collection::vec(any_id(), 0..8),
        ) {
            let mut inventory = Inventory::default();
            inventory.extend(recorded.into_iter().map(|id| (Stage::Istiod, id)));
            let surplus = inventory.surplus(&wanted);
            for (id, _) in inventory.iter() {
                let is_wanted = wanted.iter().any(|w| w.is_same_object(id));
                prop_assert_eq!(is_wanted, !surplus.iter().any(|(s, _)| s == id));
            }
        }
    }
}
