//! What the operator remembers about restarts, outside of the workloads: which workloads were restarted for what, for which
//! mesh all restarts were done, and whether a wave was stopped.
//!
//! It is written before a restart, never after: a restart that is recorded and did not happen shows by the generation of its
//! workload and is repeated; one that happened and is not recorded could happen twice.

mod store;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::jiff::Timestamp;
use thiserror::Error;

pub use self::store::LedgerStore;
use super::model::{MeshRevision, RestartTarget, WorkloadUid};
use super::names::RESTARTS_CONFIG_MAP;
use super::schedule::throttle::StopScope;

/// Attempts in one ConfigMap: a third of what an object may hold, because each batch of restarts writes all of it.
const MAX_ATTEMPTS_PER_CONFIG_MAP: usize = 4_000;
/// Prefix of the keys of config records.
const CONFIG_KEY_PREFIX: &str = "config.";
/// Key of the restart attempts.
const ATTEMPTS_KEY: &str = "attempts";
/// Keys of the mesh that converged and of the mesh for which every workload was proven.
const CONVERGED_MESH_KEY: &str = "converged-mesh";
const SCANNED_MESH_KEY: &str = "fully-scanned-mesh";
/// Value of [`CONVERGED_MESH_KEY`] if the mesh changed since it converged. No mesh revision has this form.
const SUPERSEDED: &str = "superseded";
/// Key of the approval that stopped restarts need, and of the namespaces whose restarts were stopped; without the second, all
/// were.
const PENDING_APPROVAL_KEY: &str = "pending-approval";
const STOPPED_NAMESPACES_KEY: &str = "stopped-namespaces";
/// Key of the number of ConfigMaps.
const PARTS_KEY: &str = "parts";

/// The restart ledger could not be read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// It could not be read.
    #[error("failed to read the restart ledger in ConfigMap {namespace}/{RESTARTS_CONFIG_MAP}")]
    Read {
        /// The operator's namespace.
        namespace: String,
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// It could not be written.
    #[error("failed to write the restart ledger in ConfigMap {namespace}/{RESTARTS_CONFIG_MAP}")]
    Write {
        /// The operator's namespace.
        namespace: String,
        /// The error of the request.
        source: Box<kube::Error>,
    },
    /// Another process wrote it meanwhile.
    #[error("another process is restarting workloads; retry when it is done")]
    Conflict,
}

/// One attempt to restart a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestartAttempt {
    /// What it was for.
    pub target: RestartTarget,
    /// Generation of the workload before it.
    pub generation: i64,
    /// When it began, in whole seconds.
    pub at: Timestamp,
}

/// A part of the configuration that some of Istio's own workloads read only when they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRecord {
    /// Identity of its content.
    pub digest: String,
    /// When its last change was observed; `None` if it never changed.
    pub changed_at: Option<Timestamp>,
}

/// Restarts that were stopped after failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedRestarts {
    /// The value that approves them: the mesh revision, and when they were stopped.
    pub approval_id: String,
    /// Which were stopped.
    pub scope: StopScope,
}

/// For which mesh all restarts were done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConvergedMesh {
    /// For none yet.
    #[default]
    Never,
    /// For a former mesh; it changed since then.
    Superseded,
    /// For this mesh.
    At(MeshRevision),
}

impl ConvergedMesh {
    /// Whether all restarts were done for `mesh`.
    #[must_use]
    pub fn is_at(&self, mesh: &MeshRevision) -> bool {
        matches!(self, Self::At(converged) if converged == mesh)
    }

    fn encode(&self) -> Option<String> {
        match self {
            Self::Never => None,
            Self::Superseded => Some(SUPERSEDED.to_owned()),
            Self::At(mesh) => Some(mesh.to_string()),
        }
    }

    fn decode(text: Option<String>) -> Self {
        match text {
            None => Self::Never,
            Some(text) if text == SUPERSEDED => Self::Superseded,
            Some(text) => Self::At(text.into()),
        }
    }
}

/// What is remembered about restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartLedger {
    /// For which mesh all restarts were done.
    pub converged_mesh: ConvergedMesh,
    /// The mesh for which every workload was proven by a dry run.
    pub fully_scanned_mesh: Option<MeshRevision>,
    /// The restarts that were stopped after failures.
    pub stopped: Option<StoppedRestarts>,
    /// What Istio's own workloads read when they start, by name.
    pub config_records: BTreeMap<String, ConfigRecord>,
    /// The last attempt for each workload, in parts of bounded size. A workload stays in its part.
    pub(super) attempts: Vec<BTreeMap<WorkloadUid, RestartAttempt>>,
}

impl RestartLedger {
    fn attempt(&self, uid: &WorkloadUid) -> Option<&RestartAttempt> {
        self.attempts.iter().find_map(|part| part.get(uid))
    }

    fn attempt_for(&self, uid: &WorkloadUid, target: &RestartTarget) -> Option<&RestartAttempt> {
        self.attempt(uid).filter(|attempt| attempt.target == *target)
    }

    /// Whether a restart for `target` is recorded, whether it happened or not.
    #[must_use]
    pub fn has_attempt(&self, uid: &WorkloadUid, target: &RestartTarget) -> bool {
        self.attempt_for(uid, target).is_some()
    }

    /// Whether a workload was restarted for `target`. Its generation shows whether a recorded restart happened.
    #[must_use]
    pub fn was_restarted(&self, uid: &WorkloadUid, target: &RestartTarget, generation: i64) -> bool {
        self.attempt_for(uid, target).is_some_and(|attempt| attempt.generation != generation)
    }

    /// Whether a pod that was created at `created` replaces one that was evicted for `target`.
    #[must_use]
    pub fn is_replacement(&self, uid: &WorkloadUid, target: &RestartTarget, created: Timestamp) -> bool {
        self.attempt_for(uid, target).is_some_and(|attempt| created > attempt.at)
    }

    /// Records the present mesh. What converged, was scanned or was stopped for another mesh is obsolete, even if that comes
    /// back: pods may have been created and restarted meanwhile.
    pub fn observe_mesh(&mut self, mesh: &MeshRevision) {
        if matches!(&self.converged_mesh, ConvergedMesh::At(converged) if converged != mesh) {
            self.converged_mesh = ConvergedMesh::Superseded;
        }
        self.fully_scanned_mesh.take_if(|scanned| scanned != mesh);
        self.stopped.take_if(|stopped| !stopped.approval_id.starts_with(mesh.as_str()));
    }

    /// Records the present content of a part of the configuration, and the time if it changed and `requires_restart`.
    ///
    /// The first observation is not a change: the workloads may have started with this content.
    pub fn record_config(&mut self, name: &str, digest: &str, now: Timestamp, requires_restart: bool) {
        let changed_at = match self.config_records.get(name) {
            Some(record) if record.digest == digest => return,
            Some(_) if requires_restart => Some(now),
            _ => None,
        };
        self.config_records.insert(name.to_owned(), ConfigRecord { digest: digest.to_owned(), changed_at });
    }

    /// Records a restart that is about to happen, and returns when it began.
    ///
    /// Evictions for the same target continue with their first time, so that no replacement is taken for an old pod.
    pub fn record_attempt(&mut self, uid: &WorkloadUid, attempt: RestartAttempt) -> Timestamp {
        let previous = self.attempt_for(uid, &attempt.target);
        let at = previous.map_or(attempt.at, |previous| previous.at);
        self.part_for(uid).insert(uid.clone(), RestartAttempt { at, ..attempt });
        at
    }

    fn part_for(&mut self, uid: &WorkloadUid) -> &mut BTreeMap<WorkloadUid, RestartAttempt> {
        let existing = self.attempts.iter().position(|part| part.contains_key(uid));
        let room = || self.attempts.iter().position(|part| part.len() < MAX_ATTEMPTS_PER_CONFIG_MAP);
        let index = existing.or_else(room).unwrap_or(self.attempts.len());
        if index == self.attempts.len() {
            self.attempts.push(BTreeMap::new());
        }
        &mut self.attempts[index]
    }

    /// Forgets the attempts for other meshes than this one: if one comes back, that is a change like any other.
    pub fn forget_other_meshes(&mut self, mesh: &MeshRevision) {
        for part in &mut self.attempts {
            part.retain(|_, attempt| !attempt.target.is_for_other_mesh(mesh));
        }
    }

    /// Records that restarts for `mesh` were stopped. Returns what approves these and those that were stopped before.
    pub fn record_stop(&mut self, mesh: &MeshRevision, scope: &StopScope, now: Timestamp) -> String {
        let approval_id = format!("{mesh}-{}", now.as_second());
        let before = self.stopped.take().filter(|stopped| stopped.approval_id.starts_with(mesh.as_str()));
        let scope = match before {
            Some(before) => before.scope.union(scope.clone()),
            None => scope.clone(),
        };
        self.stopped = Some(StoppedRestarts { approval_id: approval_id.clone(), scope });
        approval_id
    }

    /// Adopts what another process wrote, except the attempts, which only one process makes at a time. What is obsolete here
    /// stays obsolete, because the other process may not have observed the change.
    fn merge_written(&mut self, written: Self) {
        let is_superseded = self.converged_mesh == ConvergedMesh::Superseded;
        *self = Self { attempts: std::mem::take(&mut self.attempts), ..written };
        if is_superseded {
            self.fully_scanned_mesh = None;
            if self.converged_mesh != ConvergedMesh::Never {
                self.converged_mesh = ConvergedMesh::Superseded;
            }
        }
    }

    /// Identity of all attempts.
    fn attempts_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.attempts.iter().flatten().for_each(|attempt| attempt.hash(&mut hasher));
        hasher.finish()
    }

    /// The contents of the ConfigMaps.
    fn encode(&self) -> Vec<BTreeMap<String, String>> {
        let line = |(uid, attempt): (&WorkloadUid, &RestartAttempt)| {
            format!("{uid} {} {} {}\n", attempt.target, attempt.generation, attempt.at.as_second())
        };
        let part = |part: &BTreeMap<WorkloadUid, RestartAttempt>| {
            BTreeMap::from([(ATTEMPTS_KEY.to_owned(), part.iter().map(line).collect::<String>())])
        };
        let mut parts: Vec<_> = self.attempts.iter().map(part).collect();
        if parts.is_empty() {
            parts.push(part(&BTreeMap::new()));
        }
        let count = (parts.len() > 1).then(|| (PARTS_KEY.to_owned(), parts.len().to_string()));
        let config_record = |(name, record): (&String, &ConfigRecord)| {
            let changed_at = record.changed_at.map_or(0, Timestamp::as_second);
            (format!("{CONFIG_KEY_PREFIX}{name}"), format!("{} {changed_at}", record.digest))
        };
        if let Some(data) = parts.first_mut() {
            data.extend(count);
            data.extend(self.config_records.iter().map(config_record));
            data.extend(self.converged_mesh.encode().map(|mesh| (CONVERGED_MESH_KEY.to_owned(), mesh)));
            let scanned = self.fully_scanned_mesh.as_ref().map(MeshRevision::to_string);
            data.extend(scanned.map(|mesh| (SCANNED_MESH_KEY.to_owned(), mesh)));
            if let Some(StoppedRestarts { approval_id, scope }) = &self.stopped {
                data.insert(PENDING_APPROVAL_KEY.to_owned(), approval_id.clone());
                if let StopScope::Namespaces(namespaces) = scope {
                    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
                    data.insert(STOPPED_NAMESPACES_KEY.to_owned(), names.join(" "));
                }
            }
        }
        parts
    }

    /// The number of ConfigMaps, which the first one holds.
    fn part_count(first: &BTreeMap<String, String>) -> usize {
        first.get(PARTS_KEY).and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// Lines that cannot be parsed come from a later version and are ignored: at worst, a workload is restarted once more.
    fn decode<'a>(parts: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> Self {
        let mut parts = parts.into_iter().peekable();
        let first = parts.peek().copied();
        let text = |key: &str| first.and_then(|data| data.get(key)).cloned();
        let config_record = |(key, value): (&String, &String)| {
            let (digest, changed_at) = value.split_once(' ')?;
            let changed_at = Some(parse_second(changed_at)?).filter(|time| *time != Timestamp::UNIX_EPOCH);
            let record = ConfigRecord { digest: digest.to_owned(), changed_at };
            Some((key.strip_prefix(CONFIG_KEY_PREFIX)?.to_owned(), record))
        };
        Self {
            converged_mesh: ConvergedMesh::decode(text(CONVERGED_MESH_KEY)),
            fully_scanned_mesh: text(SCANNED_MESH_KEY).map(MeshRevision::from),
            stopped: text(PENDING_APPROVAL_KEY).map(|approval_id| StoppedRestarts {
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

fn parse_second(text: &str) -> Option<Timestamp> {
    Timestamp::from_second(text.parse().ok()?).ok()
}

fn parse_attempts(data: &BTreeMap<String, String>) -> BTreeMap<WorkloadUid, RestartAttempt> {
    let attempt = |line: &str| {
        let mut words = line.split(' ');
        let mut next = || words.next();
        let (uid, target) = (WorkloadUid::from(next()?), RestartTarget::from(next()?));
        let (generation, at) = (next()?.parse().ok()?, parse_second(next()?)?);
        Some((uid, RestartAttempt { target, generation, at }))
    };
    data.get(ATTEMPTS_KEY).map_or_else(BTreeMap::new, |text| text.lines().filter_map(attempt).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn stopped(approval_id: &str) -> StoppedRestarts {
        StoppedRestarts { approval_id: approval_id.to_owned(), scope: StopScope::Wave }
    }

    #[test]
    fn one_approval_covers_all_restarts_stopped_for_a_mesh() {
        let of = |name: &str| StopScope::Namespaces([name.to_owned()].into());
        let mut ledger = RestartLedger::default();
        assert_eq!(ledger.record_stop(&"a".into(), &of("x"), second(1)), "a-1");
        assert_eq!(ledger.record_stop(&"a".into(), &of("y"), second(2)), "a-2");
        let both = StopScope::Namespaces(["x".to_owned(), "y".to_owned()].into());
        assert_eq!(ledger.stopped, Some(StoppedRestarts { approval_id: "a-2".into(), scope: both }));
        ledger.record_stop(&"b".into(), &of("z"), second(3));
        assert_eq!(ledger.stopped, Some(StoppedRestarts { approval_id: "b-3".into(), scope: of("z") }));
    }

    fn ledger_with_attempt(generation: i64) -> RestartLedger {
        let mut ledger = RestartLedger::default();
        ledger
            .record_attempt(&"u".into(), RestartAttempt { target: "t".into(), generation, at: second(100) });
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
            assert_eq!(
                ledger.was_restarted(&uid.into(), &target.into(), generation),
                was_restarted,
                "{name}"
            );
        }
    }

    #[test]
    fn a_mesh_that_comes_back_has_not_converged() {
        let converged = || RestartLedger {
            converged_mesh: ConvergedMesh::At("a".into()),
            fully_scanned_mesh: Some("a".into()),
            stopped: Some(stopped("a-1")),
            ..RestartLedger::default()
        };
        let mut ledger = converged();
        ledger.observe_mesh(&"a".into());
        assert_eq!(ledger, converged());
        let past = RestartLedger { converged_mesh: ConvergedMesh::Superseded, ..RestartLedger::default() };
        for mesh in ["b", "a"] {
            ledger.observe_mesh(&mesh.into());
            assert_eq!(ledger, past, "{mesh}");
        }
        ledger.merge_written(converged());
        assert_eq!(
            ledger,
            RestartLedger { stopped: Some(stopped("a-1")), ..past },
            "somebody else stopped restarts"
        );
        let mut never = RestartLedger::default();
        never.observe_mesh(&"a".into());
        assert_eq!(never, RestartLedger::default());
    }

    #[test]
    fn changes_by_another_process_are_merged_except_attempts() {
        let mut ledger = ledger_with_attempt(3);
        let before = ledger.attempts_hash();
        let converged_mesh = ConvergedMesh::At("mesh".into());
        ledger.merge_written(RestartLedger {
            converged_mesh: converged_mesh.clone(),
            ..RestartLedger::default()
        });
        assert_eq!((&ledger.converged_mesh, ledger.attempts_hash()), (&converged_mesh, before));
        assert!(ledger.was_restarted(&"u".into(), &"t".into(), 4));
    }

    #[test]
    fn attempts_of_another_process_are_detected() {
        let ledger = ledger_with_attempt(3);
        assert_ne!(ledger.attempts_hash(), ledger_with_attempt(4).attempts_hash());
        assert_ne!(ledger.attempts_hash(), RestartLedger::default().attempts_hash());
        let converged = RestartLedger { converged_mesh: ConvergedMesh::At("mesh".into()), ..ledger.clone() };
        assert_eq!(ledger.attempts_hash(), converged.attempts_hash());
    }

    #[test]
    fn a_config_record_dates_from_the_observed_change() {
        let mut ledger = RestartLedger::default();
        for (digest, now, requires_restart, changed_at) in [
            ("a", 10, true, None),
            ("a", 20, true, None),
            ("b", 30, true, Some(30)),
            ("b", 40, true, Some(30)),
            ("c", 50, false, None),
        ] {
            ledger.record_config("x", digest, second(now), requires_restart);
            let found = ledger.config_records["x"].changed_at;
            assert_eq!(found, changed_at.map(second), "{digest} at {now}");
        }
    }

    #[test]
    fn a_pod_that_came_after_the_eviction_is_not_evicted_again() {
        let ledger = ledger_with_attempt(3);
        let is_replacement =
            |target: &str, created| ledger.is_replacement(&"u".into(), &target.into(), second(created));
        assert!(!is_replacement("t", 50));
        assert!(!is_replacement("t", 100), "in the same second");
        assert!(is_replacement("t", 101));
        assert!(!is_replacement("x", 150));
    }

    #[test]
    fn continued_evictions_keep_their_start_time() {
        let mut ledger = ledger_with_attempt(3);
        let again = |target: &str| RestartAttempt { target: target.into(), generation: 3, at: second(200) };
        let uid = "u".into();
        assert_eq!(ledger.record_attempt(&uid, again("t")), second(100));
        assert!(
            ledger.is_replacement(&uid, &"t".into(), second(150)),
            "a replacement would be taken for an old pod"
        );
        assert_eq!(ledger.record_attempt(&uid, again("new")), second(200));
    }

    #[test]
    fn attempts_for_other_meshes_are_forgotten_except_those_of_istio() {
        let mut ledger = RestartLedger::default();
        for (uid, target) in [
            ("old", RestartTarget::new(&"aaaaaaaa1".into(), "x")),
            ("new", RestartTarget::new(&"bbbbbbbb1".into(), "x")),
            ("istiod", "0123".into()),
        ] {
            ledger.record_attempt(&uid.into(), RestartAttempt { target, generation: 1, at: second(0) });
        }
        ledger.forget_other_meshes(&"bbbbbbbb1".into());
        let is_remembered = |uid: &str| ledger.attempt(&uid.into()).is_some();
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
        let uid = |index: i64| WorkloadUid::from(format!("{index:08x}-0000-0000-0000-000000000000"));
        let restart = |generation| RestartAttempt {
            target: RestartTarget::new(&"0123456789abcdef".into(), "0123456789abcdef"),
            generation,
            at: second(1_795_392_000),
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
            converged_mesh in prop::option::of(prop::option::of("[0-9a-f]{16}")), fully_scanned_mesh in prop::option::of("[0-9a-f]{16}"),
            stopped in prop::option::of(("[0-9a-f]{16}", prop::option::of(prop::collection::btree_set("[a-z-]{1,9}", 1..4)))),
            config_records in prop::collection::btree_map("[a-z-]{1,9}", ("[0-9a-f]{16}", 0..100_i64), 0..3),
            attempts in prop::collection::btree_map("[0-9a-f-]{36}", ("[0-9a-f]{16}", any::<i64>(), 0..10_000_000_000_i64), 0..20),
        ) {
            let config_records = config_records.into_iter()
                .map(|(name, (digest, at))| (name, ConfigRecord { digest, changed_at: (at > 0).then(|| second(at)) })).collect();
            let converged_mesh = match converged_mesh {
                None => ConvergedMesh::Never,
                Some(None) => ConvergedMesh::Superseded,
                Some(Some(mesh)) => ConvergedMesh::At(mesh.into()),
            };
            let fully_scanned_mesh = fully_scanned_mesh.map(MeshRevision::from);
            let stopped = stopped.map(|(approval_id, namespaces)| {
                StoppedRestarts { approval_id, scope: namespaces.map_or(StopScope::Wave, StopScope::Namespaces) }
            });
            let mut ledger = RestartLedger { converged_mesh, fully_scanned_mesh, stopped, config_records, attempts: vec![BTreeMap::new()] };
            for (uid, (target, generation, at)) in attempts {
                ledger.record_attempt(&uid.into(), RestartAttempt { target: target.into(), generation, at: second(at) });
            }
            prop_assert_eq!(RestartLedger::decode(&ledger.encode()), ledger);
        }
    }
}
