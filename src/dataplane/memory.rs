//! What is remembered about restarts, outside the workloads: which were restarted for what, what the mesh was when all
//! were settled, and whether a wave was stopped.
//!
//! Written before a restart, never after: a restart that is remembered and did not happen shows by the generation of its
//! workload and is made up for; one that happened and is not remembered could happen twice.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;

use super::names::{FIELD_MANAGER, MEMORY_CONFIG_MAP};

/// Restarts that fit into one ConfigMap with room to spare.
const CAPACITY: usize = 12_000;
/// Prefix of the keys of concerns.
const CONCERN: &str = "concern.";

/// The memory could not be kept.
#[derive(Debug, Error)]
pub enum Error {
    /// It could not be read.
    #[error("cannot read ConfigMap {namespace}/{MEMORY_CONFIG_MAP}, which remembers restarts")]
    Read {
        /// The operator's namespace.
        namespace: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// It could not be written.
    #[error("cannot write ConfigMap {namespace}/{MEMORY_CONFIG_MAP}, which remembers restarts")]
    Write {
        /// The operator's namespace.
        namespace: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Someone else wrote it meanwhile.
    #[error("somebody else restarts workloads at this moment")]
    Conflict,
}

/// One restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// What it was for.
    pub target: String,
    /// Generation of the workload before it.
    pub generation: i64,
    /// When, in seconds since the epoch.
    pub at: i64,
}

/// A part of the configuration that some workloads take in only when they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Identity of its content.
    pub digest: String,
    /// When it was seen to change, in seconds since the epoch; 0 if it never was.
    pub since: i64,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Hash of the mesh when the last wave was settled.
    pub settled: Option<String>,
    /// Hash of the mesh for which injection was asked about every workload.
    pub asked: Option<String>,
    /// The wave that was stopped after failures.
    pub stopped: Option<String>,
    /// What Istio's own workloads take in when they start, by name.
    pub concerns: BTreeMap<String, Concern>,
    /// The last restart of each workload, by its UID.
    pub attempts: BTreeMap<String, Attempt>,
}

impl Memory {
    /// Whether a workload was restarted for `target`. Its generation tells whether a remembered restart took place.
    #[must_use]
    pub fn tried(&self, uid: &str, target: &str, generation: i64) -> bool {
        self.attempts
            .get(uid)
            .is_some_and(|attempt| attempt.target == target && attempt.generation != generation)
    }

    /// Whether pods of a workload were evicted for `target` before `created`, so that these are replacements already.
    #[must_use]
    pub fn replaced(&self, uid: &str, target: &str, created: i64) -> bool {
        self.attempts.get(uid).is_some_and(|attempt| attempt.target == target && created > attempt.at)
    }

    /// Notes the present content of a concern, and the time if it changed in a way that `matters`.
    ///
    /// What is seen for the first time did not change: its workloads may have started with it.
    pub fn concern(&mut self, name: &str, digest: &str, now: i64, matters: bool) {
        let since = match self.concerns.get(name) {
            Some(known) if known.digest == digest => return,
            Some(_) if matters => now,
            _ => 0,
        };
        self.concerns.insert(name.to_owned(), Concern { digest: digest.to_owned(), since });
    }

    /// Remembers a restart that is about to be made; false if there is no room.
    pub fn remember(&mut self, uid: &str, attempt: Attempt) -> bool {
        if self.attempts.len() >= CAPACITY && !self.attempts.contains_key(uid) {
            return false;
        }
        self.attempts.insert(uid.to_owned(), attempt);
        true
    }

    /// Remembers that the wave for `mesh` was stopped; returns what releases it.
    pub fn stop(&mut self, mesh: &str, now: i64) -> String {
        let identity = format!("{mesh}-{now}");
        self.stopped = Some(identity.clone());
        identity
    }

    /// Takes over what another process wrote, beside the restarts, which are only made by one at a time.
    fn adopt(&mut self, written: Self) {
        *self = Self { attempts: std::mem::take(&mut self.attempts), ..written };
    }

    /// Identity of the restarts.
    fn restarts(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.attempts.hash(&mut hasher);
        hasher.finish()
    }

    fn encode(&self) -> BTreeMap<String, String> {
        let line = |(uid, attempt): (&String, &Attempt)| {
            format!("{uid} {} {} {}\n", attempt.target, attempt.generation, attempt.at)
        };
        let mut data = BTreeMap::from([("attempts".to_owned(), self.attempts.iter().map(line).collect())]);
        let concern = |(name, concern): (&String, &Concern)| {
            (format!("{CONCERN}{name}"), format!("{} {}", concern.digest, concern.since))
        };
        data.extend(self.concerns.iter().map(concern));
        data.extend(self.settled.clone().map(|mesh| ("settled".to_owned(), mesh)));
        data.extend(self.asked.clone().map(|mesh| ("asked".to_owned(), mesh)));
        data.extend(self.stopped.clone().map(|wave| ("stopped".to_owned(), wave)));
        data
    }

    /// A line that cannot be read is of a version to come; forgetting it is the smaller evil.
    fn decode(mut data: BTreeMap<String, String>) -> Self {
        let attempt = |line: &str| {
            let mut words = line.split(' ');
            let mut next = || words.next();
            let (uid, target) = (next()?.to_owned(), next()?.to_owned());
            let (generation, at) = (next()?.parse().ok()?, next()?.parse().ok()?);
            Some((uid, Attempt { target, generation, at }))
        };
        let concern = |(key, value): (&String, &String)| {
            let (digest, since) = value.split_once(' ')?;
            let concern = Concern { digest: digest.to_owned(), since: since.parse().ok()? };
            Some((key.strip_prefix(CONCERN)?.to_owned(), concern))
        };
        let concerns = data.iter().filter_map(concern).collect();
        let attempts = data.remove("attempts").unwrap_or_default();
        Self {
            settled: data.remove("settled"),
            asked: data.remove("asked"),
            stopped: data.remove("stopped"),
            concerns,
            attempts: attempts.lines().filter_map(attempt).collect(),
        }
    }
}

/// Reads and writes the memory.
#[derive(Clone, Debug)]
pub struct Store {
    api: Api<ConfigMap>,
    namespace: String,
    version: Option<String>,
    /// Identity of the restarts in that version.
    restarts: u64,
}

impl Store {
    /// A store in the operator's own namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let restarts = Memory::default().restarts();
        let namespace = namespace.to_owned();
        Self { api: Api::namespaced(client, &namespace), namespace, version: None, restarts }
    }

    /// Reads what is remembered; empty if nothing ever was.
    pub async fn load(&mut self) -> Result<Memory, Error> {
        let found = self.api.get_opt(MEMORY_CONFIG_MAP).await;
        let found = found
            .map_err(|source| Error::Read { namespace: self.namespace.clone(), source: Box::new(source) })?;
        self.version = found.as_ref().and_then(|found| found.metadata.resource_version.clone());
        let memory = found.and_then(|found| found.data).map(Memory::decode).unwrap_or_default();
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

    /// Writes the memory, unless somebody else did since it was read.
    pub async fn save(&mut self, memory: &Memory) -> Result<(), Error> {
        let data = memory.encode();
        let metadata = json!({"name": MEMORY_CONFIG_MAP, "resourceVersion": self.version,
            "labels": {"kyma-project.io/module": "istio"}});
        let written = if self.version.is_none() {
            self.create(&json!({"metadata": metadata, "data": data})).await
        } else {
            let mut content = json!({"settled": null, "asked": null, "stopped": null});
            if let Some(content) = content.as_object_mut() {
                content.extend(data.into_iter().map(|(key, value)| (key, json!(value))));
            }
            let patch = Patch::Merge(json!({"metadata": metadata, "data": content}));
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
            self.api.patch_metadata(MEMORY_CONFIG_MAP, &params, &patch).await.map(|object| object.metadata)
        };
        match written {
            Ok(metadata) => {
                self.version = metadata.resource_version;
                self.restarts = memory.restarts();
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(Error::Conflict),
            Err(source) => Err(Error::Write { namespace: self.namespace.clone(), source: Box::new(source) }),
        }
    }

    /// Forgets everything.
    pub async fn delete(&self) -> Result<(), Error> {
        match self.api.delete(MEMORY_CONFIG_MAP, &kube::api::DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(Error::Write { namespace: self.namespace.clone(), source: Box::new(source) }),
        }
    }

    async fn create(
        &self,
        object: &serde_json::Value,
    ) -> Result<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, kube::Error> {
        let mut object: ConfigMap =
            serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        object.metadata.resource_version = None;
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        Ok(self.api.create(&params, &object).await?.metadata)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn remembering(generation: i64) -> Memory {
        let mut memory = Memory::default();
        memory.remember("u", Attempt { target: "t".into(), generation, at: 100 });
        memory
    }

    #[test]
    fn a_restart_counts_as_tried_once_its_workload_has_changed() {
        let memory = remembering(3);
        for (name, uid, target, generation, tried) in [
            ("remembered, not made", "u", "t", 3, false),
            ("made", "u", "t", 4, true),
            ("made and taken back", "u", "t", 5, true),
            ("another target", "u", "x", 4, false),
            ("another workload of the name", "v", "t", 4, false),
        ] {
            assert_eq!(memory.tried(uid, target, generation), tried, "{name}");
        }
    }

    #[test]
    fn what_another_process_wrote_is_taken_over_beside_the_restarts() {
        let mut memory = remembering(3);
        let before = memory.restarts();
        memory.adopt(Memory { settled: Some("mesh".into()), ..Memory::default() });
        assert_eq!((memory.settled.as_deref(), memory.restarts()), (Some("mesh"), before));
        assert!(memory.tried("u", "t", 4));
    }

    #[test]
    fn restarts_of_another_process_are_told_from_what_else_it_writes() {
        let memory = remembering(3);
        assert_ne!(memory.restarts(), remembering(4).restarts());
        assert_ne!(memory.restarts(), Memory::default().restarts());
        let settled = Memory { settled: Some("mesh".into()), ..memory.clone() };
        assert_eq!(memory.restarts(), settled.restarts());
    }

    #[test]
    fn a_concern_dates_from_the_change_that_was_seen() {
        let mut memory = Memory::default();
        for (digest, now, matters, since) in [
            ("a", 10, true, 0),
            ("a", 20, true, 0),
            ("b", 30, true, 30),
            ("b", 40, true, 30),
            ("c", 50, false, 0),
        ] {
            memory.concern("x", digest, now, matters);
            assert_eq!(memory.concerns["x"].since, since, "{digest} at {now}");
        }
    }

    #[test]
    fn a_pod_that_came_after_the_eviction_is_not_evicted_again() {
        let memory = remembering(3);
        assert!(!memory.replaced("u", "t", 50));
        assert!(memory.replaced("u", "t", 150));
        assert!(!memory.replaced("u", "x", 150));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            settled in prop::option::of("[0-9a-f]{16}"), asked in prop::option::of("[0-9a-f]{16}"), stopped in prop::option::of("[0-9a-f]{16}"),
            concerns in prop::collection::btree_map("[a-z-]{1,9}", ("[0-9a-f]{16}", any::<i64>()), 0..3),
            attempts in prop::collection::btree_map("[0-9a-f-]{36}", ("[0-9a-f]{16}", any::<i64>(), any::<i64>()), 0..20),
        ) {
            let concerns = concerns.into_iter()
                .map(|(name, (digest, since))| (name, Concern { digest, since })).collect();
            let attempts = attempts.into_iter()
                .map(|(uid, (target, generation, at))| (uid, Attempt { target, generation, at })).collect();
            let memory = Memory { settled, asked, stopped, concerns, attempts };
            prop_assert_eq!(Memory::decode(memory.encode()), memory);
        }
    }
}
