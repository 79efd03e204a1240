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

use super::{Error, Memory};
use crate::api::names::{MODULE_LABEL, MODULE_LABEL_VALUE, OWN_FIELD_MANAGER};
use crate::dataplane::decide::pace::Extent;
use crate::dataplane::names::RESTARTS_CONFIG_MAP;
use crate::dataplane::requests::is_passing;

/// Writes that meet an API server in trouble are tried so often.
const TRIES: u32 = 4;
const FIRST_DELAY: Duration = Duration::from_millis(200);

type Data = BTreeMap<String, String>;

/// Reads and writes the memory.
#[derive(Clone, Debug)]
pub struct Store {
    api: Api<ConfigMap>,
    namespace: String,
    /// What each ConfigMap holds, as far as we know.
    known: Vec<Known>,
    /// Identity of the restarts in it.
    restarts: u64,
}

/// A ConfigMap as it was read or written last.
#[derive(Clone, Debug, Default)]
struct Known {
    version: Option<String>,
    data: Data,
}

/// What became of one attempt to write.
enum Written {
    Done(Known),
    /// Nobody else wrote; the API server only was busy.
    Again,
}

impl Store {
    /// A store in the operator's own namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let restarts = Memory::default().restarts();
        let namespace = namespace.to_owned();
        Self { api: Api::namespaced(client, &namespace), namespace, known: Vec::new(), restarts }
    }

    /// Reads what is remembered; empty if nothing ever was.
    pub async fn load(&mut self) -> Result<Memory, Error> {
        let first = self.read(0).await?;
        let mut known = vec![first];
        for index in 1..Memory::parts(&known[0].data) {
            known.push(self.read(index).await?);
        }
        self.known = known;
        let memory = Memory::decode(self.known.iter().map(|known| &known.data));
        self.restarts = memory.restarts();
        Ok(memory)
    }

    /// Writes the memory also if somebody else did since it was read, unless he restarts workloads: two who do that at
    /// the same time would restart more at once than either may.
    pub async fn save_beside(&mut self, memory: &mut Memory) -> Result<(), Error> {
        match self.save(memory).await {
            Err(Error::Conflict) => {}
            saved => return saved,
        }
        let known = self.restarts;
        let written = self.load().await?;
        if written.restarts() != known {
            return Err(Error::Conflict);
        }
        memory.adopt(written);
        self.save(memory).await
    }

    /// Writes what changed of the memory, unless somebody else did since it was read.
    pub async fn save(&mut self, memory: &Memory) -> Result<(), Error> {
        for (index, data) in memory.encode().into_iter().enumerate() {
            if self.known.len() <= index {
                self.known.push(Known::default());
            }
            let known = &self.known[index];
            if known.version.is_none() || known.data != data {
                self.known[index] = self.write(index, &data).await?;
            }
        }
        self.restarts = memory.restarts();
        Ok(())
    }

    /// Remembers that restarts for `mesh` were stopped, whoever else writes meanwhile; returns what releases them.
    ///
    /// Were it lost, the next wave would go on to break workloads.
    pub async fn stop(
        &mut self,
        memory: &mut Memory,
        mesh: &str,
        extent: &Extent,
        now: i64,
    ) -> Result<String, Error> {
        for _ in 0..TRIES {
            let release = memory.stop(mesh, extent, now);
            match self.save(memory).await {
                Err(Error::Conflict) => {
                    *memory = self.load().await?;
                    memory.saw(mesh);
                }
                saved => return saved.map(|()| release),
            }
        }
        Err(Error::Conflict)
    }

    /// Forgets everything.
    pub async fn delete(&mut self) -> Result<(), Error> {
        self.load().await?;
        for index in 0..self.known.len() {
            match self.api.delete(&name(index), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(source) => return Err(self.cannot_write(source)),
                Ok(_) => {}
            }
        }
        self.known.clear();
        Ok(())
    }

    /// What is not there is empty: the first was written, and the operator was killed before the next was.
    async fn read(&self, index: usize) -> Result<Known, Error> {
        let found = self.api.get_opt(&name(index)).await;
        let found = found
            .map_err(|source| Error::Read { namespace: self.namespace.clone(), source: Box::new(source) })?;
        Ok(found.map(|map| known(&map.metadata, map.data)).unwrap_or_default())
    }

    async fn write(&self, index: usize, data: &Data) -> Result<Known, Error> {
        let mut delay = FIRST_DELAY;
        for attempt in 1..=TRIES {
            match self.try_write(index, data).await {
                Ok(known) => return Ok(known),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                    if let Written::Done(known) = self.who_wrote(index, data).await? {
                        return Ok(known);
                    }
                }
                Err(error) if attempt < TRIES && is_passing(&error) => {}
                Err(source) => return Err(self.cannot_write(source)),
            }
            tokio::time::sleep(delay).await;
            delay *= 2;
        }
        Err(Error::Conflict)
    }

    async fn try_write(&self, index: usize, data: &Data) -> Result<Known, kube::Error> {
        let known = &self.known[index];
        let metadata = json!({"name": name(index), "resourceVersion": known.version,
            "labels": {MODULE_LABEL: MODULE_LABEL_VALUE}});
        if known.version.is_none() {
            let map = json!({"metadata": metadata, "data": data});
            let map: ConfigMap = serde_json::from_value(map).map_err(kube::Error::SerdeError)?;
            let params = PostParams { dry_run: false, field_manager: Some(OWN_FIELD_MANAGER.into()) };
            let map = self.api.create(&params, &map).await?;
            return Ok(Known { version: map.metadata.resource_version, data: data.clone() });
        }
        let patch = Patch::Merge(json!({"metadata": metadata, "data": change(&known.data, data)}));
        let params = PatchParams { field_manager: Some(OWN_FIELD_MANAGER.into()), ..PatchParams::default() };
        let written = self.api.patch_metadata(&name(index), &params, &patch).await?;
        Ok(Known { version: written.metadata.resource_version, data: data.clone() })
    }

    /// After a conflict: it was ours when an answer was lost on the way, and nobody's when nothing was written.
    async fn who_wrote(&self, index: usize, data: &Data) -> Result<Written, Error> {
        let found = self.read(index).await?;
        if found.data == *data {
            return Ok(Written::Done(found));
        }
        if found.version == self.known[index].version {
            return Ok(Written::Again);
        }
        Err(Error::Conflict)
    }

    fn cannot_write(&self, source: kube::Error) -> Error {
        Error::Write { namespace: self.namespace.clone(), source: Box::new(source) }
    }
}

fn name(index: usize) -> String {
    if index == 0 { RESTARTS_CONFIG_MAP.to_owned() } else { format!("{RESTARTS_CONFIG_MAP}-{index}") }
}

fn known(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, data: Option<Data>) -> Known {
    Known { version: metadata.resource_version.clone(), data: data.unwrap_or_default() }
}

/// A merge patch from one content to another.
fn change(from: &Data, to: &Data) -> Value {
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
        let data = |pairs: &[(&str, &str)]| -> Data {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (from, to) = (data(&[("a", "1"), ("b", "2"), ("c", "3")]), data(&[("a", "1"), ("b", "5")]));
        assert_eq!(change(&from, &to), json!({"b": "5", "c": null}));
    }
}
