//! What is remembered about restarts, outside the workloads: which were restarted for what, what the mesh was when all
//! were settled, and whether a wave was stopped.
//!
//! Written before a restart, never after: a restart that is remembered and did not happen shows by the generation of its
//! workload and is made up for; one that happened and is not remembered could happen twice.

mod store;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use thiserror::Error;

pub use self::store::LedgerStore;
use super::names::RESTARTS_CONFIG_MAP;
use super::schedule::throttle::StopScope;

/// Restarts of one ConfigMap: a third of what an object may hold, since all of it is written for each batch of restarts.
const MAX_ATTEMPTS_PER_CONFIG_MAP: usize = 4_000;
/// Prefix of the keys of concerns.
const CONFIG_KEY_PREFIX: &str = "concern.";
/// Key of the restarts.
const ATTEMPTS_KEY: &str = "attempts";
/// Key of what releases restarts that were stopped, and of the namespaces whose restarts were; without it, all were.
const STOPPED_KEY: &str = "stopped";
const STOPPED_NAMESPACES_KEY: &str = "stopped-namespaces";
/// Key of the number of ConfigMaps.
const PARTS_KEY: &str = "parts";

/// The memory could not be kept.
#[derive(Debug, Error)]
pub enum Error {
    /// It could not be read.
    #[error("cannot read ConfigMap {namespace}/{RESTARTS_CONFIG_MAP}, which remembers restarts")]
    Read {
        /// The operator's namespace.
        namespace: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// It could not be written.
    #[error("cannot write ConfigMap {namespace}/{RESTARTS_CONFIG_MAP}, which remembers restarts")]
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
pub struct RestartAttempt {
    /// What it was for.
    pub target: String,
    /// Generation of the workload before it.
    pub generation: i64,
    /// When, in seconds since the epoch.
    pub at: i64,
}

/// A part of the configuration that some workloads take in only when they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRecord {
    /// Identity of its content.
    pub digest: String,
    /// When it was seen to change, in seconds since the epoch; 0 if it never was.
    pub changed_at: i64,
}

/// Restarts that were stopped after failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedRestarts {
    /// What releases them: the hash of the mesh, and when they were stopped.
    pub approval_id: String,
    /// Which were stopped.
    pub scope: StopScope,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartLedger {
    /// Hash of the mesh when the last wave was settled; empty if there was another since then.
    pub converged_mesh: Option<String>,
    /// Hash of the mesh for which injection was asked about every workload.
    pub fully_scanned_mesh: Option<String>,
    /// What was stopped after failures.
    pub stopped: Option<StoppedRestarts>,
    /// What Istio's own workloads take in when they start, by name.
    pub config_records: BTreeMap<String, ConfigRecord>,
    /// The last restart of each workload, by its UID, in parts of bounded size. A workload stays in its part.
    pub(super) attempts: Vec<BTreeMap<String, RestartAttempt>>,
}

/// Identity of what a workload is restarted for: the mesh, and what of the workload itself counts.
///
/// The mesh can be told from it, since what was done for another is of no use any more.
#[must_use]
pub fn restart_target(mesh: &str, own: &str) -> String {
    format!("{}.{own}", short_hash(mesh))
}

fn short_hash(mesh: &str) -> &str {
    mesh.get(..8).unwrap_or(mesh)
}

impl RestartLedger {
    fn attempt(&self, uid: &str) -> Option<&RestartAttempt> {
        self.attempts.iter().find_map(|part| part.get(uid))
    }

    fn attempt_for(&self, uid: &str, target: &str) -> Option<&RestartAttempt> {
        self.attempt(uid).filter(|attempt| attempt.target == target)
    }

    /// Whether a restart for `target` is remembered, made or not.
    #[must_use]
    pub fn has_attempt(&self, uid: &str, target: &str) -> bool {
        self.attempt_for(uid, target).is_some()
    }

    /// Whether a workload was restarted for `target`. Its generation tells whether a remembered restart took place.
    #[must_use]
    pub fn was_restarted(&self, uid: &str, target: &str, generation: i64) -> bool {
        self.attempt_for(uid, target).is_some_and(|attempt| attempt.generation != generation)
    }

    /// Whether pods of a workload were evicted for `target` before `created`, so that these are replacements already.
    #[must_use]
    pub fn is_replacement(&self, uid: &str, target: &str, created: i64) -> bool {
        self.attempt_for(uid, target).is_some_and(|attempt| created > attempt.at)
    }

    /// Notes which mesh there is. What was settled, asked and stopped for another is of the past, also if that comes back: pods
    /// may have been made and restarted meanwhile.
    pub fn observe_mesh(&mut self, mesh: &str) {
        if let Some(converged) = self.converged_mesh.as_mut().filter(|converged| *converged != mesh) {
            converged.clear();
        }
        self.fully_scanned_mesh.take_if(|scanned| scanned != mesh);
        self.stopped.take_if(|stopped| !stopped.approval_id.starts_with(mesh));
    }

    /// Notes the present content of a concern, and the time if it changed in a way that `matters`.
    ///
    /// What is seen for the first time did not change: its workloads may have started with it.
    pub fn record_config(&mut self, name: &str, digest: &str, now: i64, matters: bool) {
        let since = match self.config_records.get(name) {
            Some(record) if record.digest == digest => return,
            Some(_) if matters => now,
            _ => 0,
        };
        self.config_records
            .insert(name.to_owned(), ConfigRecord { digest: digest.to_owned(), changed_at: since });
    }

    /// Remembers a restart that is about to be made, and tells since when it is under way.
    ///
    /// Evictions for the same target go on where they were, so that no replacement is taken for a pod that was there before.
    pub fn record_attempt(&mut self, uid: &str, attempt: RestartAttempt) -> i64 {
        let previous = self.attempt(uid).filter(|known| known.target == attempt.target);
        let at = previous.map_or(attempt.at, |known| known.at);
        self.part_for(uid).insert(uid.to_owned(), RestartAttempt { at, ..attempt });
        at
    }

    fn part_for(&mut self, uid: &str) -> &mut BTreeMap<String, RestartAttempt> {
        let existing = self.attempts.iter().position(|part| part.contains_key(uid));
        let room = || self.attempts.iter().position(|part| part.len() < MAX_ATTEMPTS_PER_CONFIG_MAP);
        let index = existing.or_else(room).unwrap_or(self.attempts.len());
        if index == self.attempts.len() {
            self.attempts.push(BTreeMap::new());
        }
        &mut self.attempts[index]
    }

    /// Forgets the restarts of workloads for other states of the mesh than this one: it would have to come back, and then
    /// it is a change like any other.
    pub fn forget_other_meshes(&mut self, mesh: &str) {
        let is_other = |attempt: &RestartAttempt| {
            attempt.target.split_once('.').is_some_and(|(other, _)| other != short_hash(mesh))
        };
        for part in &mut self.attempts {
            part.retain(|_, attempt| !is_other(attempt));
        }
    }

    /// Remembers that restarts for `mesh` were stopped; returns what releases these and those that were stopped before.
    pub fn record_stop(&mut self, mesh: &str, scope: &StopScope, now: i64) -> String {
        let approval_id = format!("{mesh}-{now}");
        let before = self.stopped.take().filter(|stopped| stopped.approval_id.starts_with(mesh));
        let scope = match before {
            Some(before) => before.scope.union(scope.clone()),
            None => scope.clone(),
        };
        self.stopped = Some(StoppedRestarts { approval_id: approval_id.clone(), scope });
        approval_id
    }

    /// Takes over what another process wrote, beside the restarts, which are only made by one at a time. What is of the past
    /// stays so: he may not have written it.
    fn merge_written(&mut self, written: Self) {
        let is_past = self.converged_mesh.as_ref().is_some_and(String::is_empty);
        *self = Self { attempts: std::mem::take(&mut self.attempts), ..written };
        if is_past {
            self.converged_mesh.iter_mut().for_each(String::clear);
            self.fully_scanned_mesh = None;
        }
    }

    /// Identity of the restarts.
    fn attempts_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.attempts.iter().flatten().for_each(|attempt| attempt.hash(&mut hasher));
        hasher.finish()
    }

    /// The contents of the ConfigMaps.
    fn encode(&self) -> Vec<BTreeMap<String, String>> {
        let line = |(uid, attempt): (&String, &RestartAttempt)| {
            format!("{uid} {} {} {}\n", attempt.target, attempt.generation, attempt.at)
        };
        let part = |part: &BTreeMap<String, RestartAttempt>| {
            BTreeMap::from([(ATTEMPTS_KEY.to_owned(), part.iter().map(line).collect::<String>())])
        };
        let mut parts: Vec<_> = self.attempts.iter().map(part).collect();
        if parts.is_empty() {
            parts.push(part(&BTreeMap::new()));
        }
        let count = (parts.len() > 1).then(|| (PARTS_KEY.to_owned(), parts.len().to_string()));
        let config_record = |(name, record): (&String, &ConfigRecord)| {
            (format!("{CONFIG_KEY_PREFIX}{name}"), format!("{} {}", record.digest, record.changed_at))
        };
        if let Some(data) = parts.first_mut() {
            data.extend(count);
            data.extend(self.config_records.iter().map(config_record));
            data.extend(self.converged_mesh.clone().map(|mesh| ("settled".to_owned(), mesh)));
            data.extend(self.fully_scanned_mesh.clone().map(|mesh| ("asked".to_owned(), mesh)));
            if let Some(StoppedRestarts { approval_id, scope }) = &self.stopped {
                data.insert(STOPPED_KEY.to_owned(), approval_id.clone());
                if let StopScope::Namespaces(namespaces) = scope {
                    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
                    data.insert(STOPPED_NAMESPACES_KEY.to_owned(), names.join(" "));
                }
            }
        }
        parts
    }

    /// How many ConfigMaps the first one says there are.
    fn part_count(first: &BTreeMap<String, String>) -> usize {
        first.get(PARTS_KEY).and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// A line that cannot be read is of a version to come; forgetting it is the smaller evil.
    fn decode<'a>(parts: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> Self {
        let mut parts = parts.into_iter().peekable();
        let first = parts.peek().copied();
        let text = |key: &str| first.and_then(|data| data.get(key)).cloned();
        let config_record = |(key, value): (&String, &String)| {
            let (digest, since) = value.split_once(' ')?;
            let record = ConfigRecord { digest: digest.to_owned(), changed_at: since.parse().ok()? };
            Some((key.strip_prefix(CONFIG_KEY_PREFIX)?.to_owned(), record))
        };
        Self {
            converged_mesh: text("settled"),
            fully_scanned_mesh: text("asked"),
            stopped: text(STOPPED_KEY).map(|approval_id| StoppedRestarts {
                approval_id,
                scope: read_stop_scope(text(STOPPED_NAMESPACES_KEY)),
            }),
            config_records: first.into_iter().flatten().filter_map(config_record).collect(),
            attempts: parts.map(parse_attempts).collect(),
        }
    }
}

fn read_stop_scope(namespaces: Option<String>) -> StopScope {
    namespaces
        .map_or(StopScope::Wave, |names| StopScope::Namespaces(names.split(' ').map(str::to_owned).collect()))
}

fn parse_attempts(data: &BTreeMap<String, String>) -> BTreeMap<String, RestartAttempt> {
    let attempt = |line: &str| {
        let mut words = line.split(' ');
        let mut next = || words.next();
        let (uid, target) = (next()?.to_owned(), next()?.to_owned());
        let (generation, at) = (next()?.parse().ok()?, next()?.parse().ok()?);
        Some((uid, RestartAttempt { target, generation, at }))
    };
    data.get(ATTEMPTS_KEY).map_or_else(BTreeMap::new, |text| text.lines().filter_map(attempt).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stopped(approval_id: &str) -> StoppedRestarts {
        StoppedRestarts { approval_id: approval_id.to_owned(), scope: StopScope::Wave }
    }

    #[test]
    fn one_approval_covers_all_restarts_stopped_for_a_mesh() {
        let of = |name: &str| StopScope::Namespaces([name.to_owned()].into());
        let mut ledger = RestartLedger::default();
        assert_eq!(ledger.record_stop("a", &of("x"), 1), "a-1");
        assert_eq!(ledger.record_stop("a", &of("y"), 2), "a-2");
        let both = StopScope::Namespaces(["x".to_owned(), "y".to_owned()].into());
        assert_eq!(ledger.stopped, Some(StoppedRestarts { approval_id: "a-2".into(), scope: both }));
        ledger.record_stop("b", &of("z"), 3);
        assert_eq!(ledger.stopped, Some(StoppedRestarts { approval_id: "b-3".into(), scope: of("z") }));
    }

    fn ledger_with_attempt(generation: i64) -> RestartLedger {
        let mut ledger = RestartLedger::default();
        ledger.record_attempt("u", RestartAttempt { target: "t".into(), generation, at: 100 });
        ledger
    }

    #[test]
    fn a_restart_counts_once_the_generation_has_changed() {
        let ledger = ledger_with_attempt(3);
        for (name, uid, target, generation, was_restarted) in [
            ("remembered, not made", "u", "t", 3, false),
            ("made", "u", "t", 4, true),
            ("made and taken back", "u", "t", 5, true),
            ("another target", "u", "x", 4, false),
            ("another workload of the name", "v", "t", 4, false),
        ] {
            assert_eq!(ledger.was_restarted(uid, target, generation), was_restarted, "{name}");
        }
    }

    #[test]
    fn a_mesh_that_comes_back_has_not_converged() {
        let converged = || RestartLedger {
            converged_mesh: Some("a".into()),
            fully_scanned_mesh: Some("a".into()),
            stopped: Some(stopped("a-1")),
            ..RestartLedger::default()
        };
        let mut ledger = converged();
        ledger.observe_mesh("a");
        assert_eq!(ledger, converged());
        let past = RestartLedger { converged_mesh: Some(String::new()), ..RestartLedger::default() };
        for mesh in ["b", "a"] {
            ledger.observe_mesh(mesh);
            assert_eq!(ledger, past, "{mesh}");
        }
        ledger.merge_written(converged());
        assert_eq!(
            ledger,
            RestartLedger { stopped: Some(stopped("a-1")), ..past },
            "somebody else stopped restarts"
        );
        let mut never = RestartLedger::default();
        never.observe_mesh("a");
        assert_eq!(never, RestartLedger::default());
    }

    #[test]
    fn changes_by_another_process_are_merged_except_attempts() {
        let mut ledger = ledger_with_attempt(3);
        let before = ledger.attempts_hash();
        ledger
            .merge_written(RestartLedger { converged_mesh: Some("mesh".into()), ..RestartLedger::default() });
        assert_eq!((ledger.converged_mesh.as_deref(), ledger.attempts_hash()), (Some("mesh"), before));
        assert!(ledger.was_restarted("u", "t", 4));
    }

    #[test]
    fn attempts_of_another_process_are_detected() {
        let ledger = ledger_with_attempt(3);
        assert_ne!(ledger.attempts_hash(), ledger_with_attempt(4).attempts_hash());
        assert_ne!(ledger.attempts_hash(), RestartLedger::default().attempts_hash());
        let converged = RestartLedger { converged_mesh: Some("mesh".into()), ..ledger.clone() };
        assert_eq!(ledger.attempts_hash(), converged.attempts_hash());
    }

    #[test]
    fn a_config_record_dates_from_the_observed_change() {
        let mut ledger = RestartLedger::default();
        for (digest, now, matters, since) in [
            ("a", 10, true, 0),
            ("a", 20, true, 0),
            ("b", 30, true, 30),
            ("b", 40, true, 30),
            ("c", 50, false, 0),
        ] {
            ledger.record_config("x", digest, now, matters);
            assert_eq!(ledger.config_records["x"].changed_at, since, "{digest} at {now}");
        }
    }

    #[test]
    fn a_pod_that_came_after_the_eviction_is_not_evicted_again() {
        let ledger = ledger_with_attempt(3);
        assert!(!ledger.is_replacement("u", "t", 50));
        assert!(!ledger.is_replacement("u", "t", 100), "in the same second");
        assert!(ledger.is_replacement("u", "t", 101));
        assert!(!ledger.is_replacement("u", "x", 150));
    }

    #[test]
    fn continued_evictions_keep_their_start_time() {
        let mut ledger = ledger_with_attempt(3);
        let again = |target: &str| RestartAttempt { target: target.into(), generation: 3, at: 200 };
        assert_eq!(ledger.record_attempt("u", again("t")), 100);
        assert!(ledger.is_replacement("u", "t", 150), "a replacement would be taken for an old pod");
        assert_eq!(ledger.record_attempt("u", again("new")), 200);
    }

    #[test]
    fn attempts_for_other_meshes_are_forgotten_except_those_of_istio() {
        let mut ledger = RestartLedger::default();
        for (uid, target) in [
            ("old", restart_target("aaaaaaaa1", "x")),
            ("new", restart_target("bbbbbbbb1", "x")),
            ("istiod", "0123".to_owned()),
        ] {
            ledger.record_attempt(uid, RestartAttempt { target, generation: 1, at: 0 });
        }
        ledger.forget_other_meshes("bbbbbbbb1");
        let is_remembered = |uid| ledger.attempt(uid).is_some();
        assert_eq!(
            [is_remembered("old"), is_remembered("new"), is_remembered("istiod")],
            [false, true, true]
        );
    }

    #[test]
    fn a_large_mesh_is_stored_in_config_maps_of_bounded_size() {
        const WORKLOADS: i64 = 50_000;
        const LIMIT: usize = 1 << 20;
        let mut ledger = RestartLedger::default();
        let uid = |index: i64| format!("{index:08x}-0000-0000-0000-000000000000");
        let restart = |generation| RestartAttempt {
            target: restart_target("0123456789abcdef", "0123456789abcdef"),
            generation,
            at: 1_795_392_000,
        };
        for index in 0..WORKLOADS {
            ledger.record_attempt(&uid(index), restart(7));
        }
        let before = ledger.encode();
        assert!(before.iter().flat_map(BTreeMap::values).all(|text| text.len() < LIMIT / 2));
        let read = RestartLedger::decode(&before);
        assert_eq!(read, ledger);
        assert!((0..WORKLOADS).all(|index| read.has_attempt(&uid(index), &restart(7).target)));
        // One more restart changes one object.
        ledger.record_attempt(&uid(3), restart(8));
        let after = ledger.encode();
        assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            converged_mesh in prop::option::of("[0-9a-f]{16}"), fully_scanned_mesh in prop::option::of("[0-9a-f]{16}"),
            stopped in prop::option::of(("[0-9a-f]{16}", prop::option::of(prop::collection::btree_set("[a-z-]{1,9}", 1..4)))),
            config_records in prop::collection::btree_map("[a-z-]{1,9}", ("[0-9a-f]{16}", any::<i64>()), 0..3),
            attempts in prop::collection::btree_map("[0-9a-f-]{36}", ("[0-9a-f]{16}", any::<i64>(), any::<i64>()), 0..20),
        ) {
            let config_records = config_records.into_iter()
                .map(|(name, (digest, changed_at))| (name, ConfigRecord { digest, changed_at })).collect();
            let stopped = stopped.map(|(approval_id, namespaces)| {
                StoppedRestarts { approval_id, scope: namespaces.map_or(StopScope::Wave, StopScope::Namespaces) }
            });
            let mut ledger = RestartLedger { converged_mesh, fully_scanned_mesh, stopped, config_records, attempts: vec![BTreeMap::new()] };
            for (uid, (target, generation, at)) in attempts {
                ledger.record_attempt(&uid, RestartAttempt { target, generation, at });
            }
            prop_assert_eq!(RestartLedger::decode(&ledger.encode()), ledger);
        }
    }
}
