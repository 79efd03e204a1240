//! Keeps the memory in ConfigMaps: one holds everything but the restarts that do not fit any more, which are in further ones.
//!
//! All are guarded by their versions. The first tells how many there are and is written first, so that of two writers
//! that need a further one, the second notices.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use super::{Error, RestartLedger};
use crate::api::names::{MODULE_LABEL, MODULE_LABEL_VALUE, OWN_FIELD_MANAGER};
use crate::dataplane::names::RESTARTS_CONFIG_MAP;
use crate::dataplane::requests::is_transient;
use crate::dataplane::schedule::throttle::StopScope;

/// Writes that meet an API server in trouble are tried so often.
const MAX_ATTEMPTS: u32 = 4;
const INITIAL_RETRY_DELAY: Duration = Duration::from_millis(200);

type ConfigMapData = BTreeMap<String, String>;

/// Reads and writes the memory.
#[derive(Clone, Debug)]
pub struct LedgerStore {
    api: Api<ConfigMap>,
    namespace: String,
    /// What each ConfigMap holds, as far as we know.
    stored: Vec<StoredConfigMap>,
    /// Identity of the restarts in it.
    attempts_hash: u64,
}

/// A ConfigMap as it was read or written last.
#[derive(Clone, Debug, Default)]
struct StoredConfigMap {
    resource_version: Option<String>,
    data: ConfigMapData,
}

/// What became of one attempt to write.
enum WriteResult {
    Done(StoredConfigMap),
    /// Nobody else wrote; the API server only was busy.
    Retry,
}

impl LedgerStore {
    /// A store in the operator's own namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let attempts_hash = RestartLedger::default().attempts_hash();
        let namespace = namespace.to_owned();
        Self { api: Api::namespaced(client, &namespace), namespace, stored: Vec::new(), attempts_hash }
    }

    /// Reads what is remembered; empty if nothing ever was.
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

    /// Writes the memory also if somebody else did since it was read, unless he restarts workloads: two who do that at
    /// the same time would restart more at once than either may.
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

    /// Writes what changed of the memory, unless somebody else did since it was read.
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

    /// Remembers that restarts for `mesh` were stopped, whoever else writes meanwhile; returns what releases them.
    ///
    /// Were it lost, the next wave would go on to break workloads.
    pub async fn save_stop(
        &mut self,
        ledger: &mut RestartLedger,
        mesh: &str,
        scope: &StopScope,
        now: i64,
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

    /// Forgets everything.
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

    /// What is not there is empty: the first was written, and the operator was killed before the next was.
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

    /// After a conflict: it was ours when an answer was lost on the way, and nobody's when nothing was written.
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

/// A merge patch from one content to another.
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
