//! Stores the restart ledger in ConfigMaps: the first holds everything except attempts that do not fit, which are in further
//! ones.
//!
//! Writes use optimistic locking. The first ConfigMap holds the number of all and is written first, so that of two writers that
//! add one, the second gets a conflict.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use super::{Error, RestartLedger};
use crate::api::names::{MODULE_LABEL, MODULE_LABEL_VALUE, OWN_FIELD_MANAGER};
use crate::dataplane::model::MeshRevision;
use crate::dataplane::names::RESTARTS_CONFIG_MAP;
use crate::dataplane::requests::is_transient;
use crate::dataplane::schedule::throttle::StopScope;

/// Attempts at a write that fails transiently.
const MAX_ATTEMPTS: u32 = 4;
const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(200);

type ConfigMapData = BTreeMap<String, String>;

/// Reads and writes the restart ledger.
#[derive(Clone, Debug)]
pub struct LedgerStore {
    api: Api<ConfigMap>,
    namespace: String,
    /// Each ConfigMap as it was read or written last.
    stored: Vec<StoredConfigMap>,
    /// Identity of the attempts in them.
    attempts_hash: u64,
}

/// A ConfigMap as it was read or written last.
#[derive(Clone, Debug, Default)]
struct StoredConfigMap {
    resource_version: Option<String>,
    data: ConfigMapData,
}

/// The result of one attempt to write.
enum WriteResult {
    Done(StoredConfigMap),
    /// No other process wrote; the write may be retried.
    Retry,
}

impl LedgerStore {
    /// A store in the namespace of the operator.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let attempts_hash = RestartLedger::default().attempts_hash();
        let namespace = namespace.to_owned();
        Self { api: Api::namespaced(client, &namespace), namespace, stored: Vec::new(), attempts_hash }
    }

    /// Reads the ledger; empty if there is none.
    pub async fn load(&mut self) -> Result<RestartLedger, Error> {
        let first = self.read_config_map(0).await?;
        let mut stored = vec![first];
        for index in 1..RestartLedger::part_count(&stored[0].data) {
            stored.push(self.read_config_map(index).await?);
        }
        self.stored = stored;
        let ledger = RestartLedger::decode(self.stored.iter().map(|config_map| &config_map.data));
        self.attempts_hash = ledger.attempts_hash();
        Ok(ledger)
    }

    /// Writes the ledger even if another process wrote it since it was read, unless that one restarts workloads: together, both
    /// would exceed the limits.
    pub async fn save_merging(&mut self, ledger: &mut RestartLedger) -> Result<(), Error> {
        match self.save(ledger).await {
            Err(Error::Conflict) => {}
            saved => return saved,
        }
        let attempts_hash = self.attempts_hash;
        let written = self.load().await?;
        if written.attempts_hash() != attempts_hash {
            return Err(Error::Conflict);
        }
        ledger.merge_written(written);
        self.save(ledger).await
    }

    /// Writes what changed in the ledger, unless another process wrote it since it was read.
    pub async fn save(&mut self, ledger: &RestartLedger) -> Result<(), Error> {
        for (index, data) in ledger.encode().into_iter().enumerate() {
            if self.stored.len() <= index {
                self.stored.push(StoredConfigMap::default());
            }
            let current = &self.stored[index];
            if current.resource_version.is_none() || current.data != data {
                self.stored[index] = self.write_config_map(index, &data).await?;
            }
        }
        self.attempts_hash = ledger.attempts_hash();
        Ok(())
    }

    /// Records that restarts for `mesh` were stopped, even if other processes write meanwhile. Returns what approves them.
    ///
    /// If this were lost, the next wave would continue to break workloads.
    pub async fn save_stop(
        &mut self,
        ledger: &mut RestartLedger,
        mesh: &MeshRevision,
        scope: &StopScope,
        now: Timestamp,
    ) -> Result<String, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let approval_id = ledger.record_stop(mesh, scope, now);
            match self.save(ledger).await {
                Err(Error::Conflict) => {
                    *ledger = self.load().await?;
                    ledger.observe_mesh(mesh);
                }
                saved => return saved.map(|()| approval_id),
            }
        }
        Err(Error::Conflict)
    }

    /// Deletes the ledger.
    pub async fn delete(&mut self) -> Result<(), Error> {
        self.load().await?;
        for index in 0..self.stored.len() {
            match self.api.delete(&config_map_name(index), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(source) => return Err(self.write_error(source)),
                Ok(_) => {}
            }
        }
        self.stored.clear();
        Ok(())
    }

    /// A missing ConfigMap is empty: the operator may have been killed after it wrote the first one.
    async fn read_config_map(&self, index: usize) -> Result<StoredConfigMap, Error> {
        let found = self.api.get_opt(&config_map_name(index)).await;
        let found = found
            .map_err(|source| Error::Read { namespace: self.namespace.clone(), source: Box::new(source) })?;
        Ok(found.map(|map| stored_config_map(&map.metadata, map.data)).unwrap_or_default())
    }

    async fn write_config_map(&self, index: usize, data: &ConfigMapData) -> Result<StoredConfigMap, Error> {
        let mut delay = INITIAL_RETRY_DELAY;
        for attempt in 1..=MAX_ATTEMPTS {
            match self.try_write(index, data).await {
                Ok(written) => return Ok(written),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                    if let WriteResult::Done(written) = self.resolve_conflict(index, data).await? {
                        return Ok(written);
                    }
                }
                Err(error) if attempt < MAX_ATTEMPTS && is_transient(&error) => {}
                Err(source) => return Err(self.write_error(source)),
            }
            tokio::time::sleep(delay).await;
            delay *= 2;
        }
        Err(Error::Conflict)
    }

    async fn try_write(&self, index: usize, data: &ConfigMapData) -> Result<StoredConfigMap, kube::Error> {
        let current = &self.stored[index];
        let metadata = json!({"name": config_map_name(index), "resourceVersion": current.resource_version,
            "labels": {MODULE_LABEL: MODULE_LABEL_VALUE}});
        if current.resource_version.is_none() {
            let map = json!({"metadata": metadata, "data": data});
            let map: ConfigMap = serde_json::from_value(map).map_err(kube::Error::SerdeError)?;
            let params = PostParams { dry_run: false, field_manager: Some(OWN_FIELD_MANAGER.into()) };
            let map = self.api.create(&params, &map).await?;
            return Ok(StoredConfigMap {
                resource_version: map.metadata.resource_version,
                data: data.clone(),
            });
        }
        let patch = Patch::Merge(json!({"metadata": metadata, "data": data_patch(&current.data, data)}));
        let params = PatchParams { field_manager: Some(OWN_FIELD_MANAGER.into()), ..PatchParams::default() };
        let written = self.api.patch_metadata(&config_map_name(index), &params, &patch).await?;
        Ok(StoredConfigMap { resource_version: written.metadata.resource_version, data: data.clone() })
    }

    /// After a conflict: either the response to this write was lost, nothing was written, or another process wrote.
    async fn resolve_conflict(&self, index: usize, data: &ConfigMapData) -> Result<WriteResult, Error> {
        let found = self.read_config_map(index).await?;
        if found.data == *data {
            return Ok(WriteResult::Done(found));
        }
        if found.resource_version == self.stored[index].resource_version {
            return Ok(WriteResult::Retry);
        }
        Err(Error::Conflict)
    }

    fn write_error(&self, source: kube::Error) -> Error {
        Error::Write { namespace: self.namespace.clone(), source: Box::new(source) }
    }
}

fn config_map_name(index: usize) -> String {
    if index == 0 { RESTARTS_CONFIG_MAP.to_owned() } else { format!("{RESTARTS_CONFIG_MAP}-{index}") }
}

fn stored_config_map(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    data: Option<ConfigMapData>,
) -> StoredConfigMap {
    StoredConfigMap { resource_version: metadata.resource_version.clone(), data: data.unwrap_or_default() }
}

/// The merge patch from one content to another.
fn data_patch(from: &ConfigMapData, to: &ConfigMapData) -> Value {
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let new = to.iter().filter(|(key, value)| from.get(*key) != Some(value));
    let new = new.map(|(key, value)| (key.clone(), json!(value)));
    Value::Object(gone.chain(new).collect::<Map<String, Value>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written() {
        let data = |pairs: &[(&str, &str)]| -> ConfigMapData {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (from, to) = (data(&[("a", "1"), ("b", "2"), ("c", "3")]), data(&[("a", "1"), ("b", "5")]));
        assert_eq!(data_patch(&from, &to), json!({"b": "5", "c": null}));
    }
}
