//! What is remembered about restarts, outside the workloads: which were restarted for what, what the mesh was when all
//! were settled, and whether a wave was stopped.
//!
//! Written before a restart, never after: a restart that is remembered and did not happen shows by the generation of its
//! workload and is made up for; one that happened and is not remembered could happen twice.

mod store;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use thiserror::Error;

pub use self::store::Store;
use super::decide::pace::Extent;
use super::names::RESTARTS_CONFIG_MAP;

/// Restarts of one ConfigMap: a third of what an object may hold, since all of it is written for each batch of restarts.
const CAPACITY: usize = 4_000;
/// Prefix of the keys of concerns.
const CONCERN: &str = "concern.";
/// Key of the restarts.
const ATTEMPTS: &str = "attempts";
/// Key of what releases restarts that were stopped, and of the namespaces whose restarts were; without it, all were.
const STOPPED: &str = "stopped";
const STOPPED_NAMESPACES: &str = "stopped-namespaces";
/// Key of the number of ConfigMaps.
const PARTS: &str = "parts";

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

/// Restarts that were stopped after failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What releases them: the hash of the mesh, and when they were stopped.
    pub release: String,
    /// Which were stopped.
    pub extent: Extent,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Hash of the mesh when the last wave was settled; empty if there was another since then.
    pub settled: Option<String>,
    /// Hash of the mesh for which injection was asked about every workload.
    pub asked: Option<String>,
    /// What was stopped after failures.
    pub stopped: Option<Stopped>,
    /// What Istio's own workloads take in when they start, by name.
    pub concerns: BTreeMap<String, Concern>,
    /// The last restart of each workload, by its UID, in parts of bounded size. A workload stays in its part.
    pub(super) attempts: Vec<BTreeMap<String, Attempt>>,
}

/// Identity of what a workload is restarted for: the mesh, and what of the workload itself counts.
///
/// The mesh can be told from it, since what was done for another is of no use any more.
#[must_use]
pub fn target(mesh: &str, own: &str) -> String {
    format!("{}.{own}", short(mesh))
}

fn short(mesh: &str) -> &str {
    mesh.get(..8).unwrap_or(mesh)
}

impl Memory {
    fn attempt(&self, uid: &str) -> Option<&Attempt> {
        self.attempts.iter().find_map(|part| part.get(uid))
    }

    fn attempt_for(&self, uid: &str, target: &str) -> Option<&Attempt> {
        self.attempt(uid).filter(|attempt| attempt.target == target)
    }

    /// Whether a restart for `target` is remembered, made or not.
    #[must_use]
    pub fn is_remembered(&self, uid: &str, target: &str) -> bool {
        self.attempt_for(uid, target).is_some()
    }

    /// Whether a workload was restarted for `target`. Its generation tells whether a remembered restart took place.
    #[must_use]
    pub fn tried(&self, uid: &str, target: &str, generation: i64) -> bool {
        self.attempt_for(uid, target).is_some_and(|attempt| attempt.generation != generation)
    }

    /// Whether pods of a workload were evicted for `target` before `created`, so that these are replacements already.
    #[must_use]
    pub fn replaced(&self, uid: &str, target: &str, created: i64) -> bool {
        self.attempt_for(uid, target).is_some_and(|attempt| created > attempt.at)
    }

    /// Notes which mesh there is. What was settled, asked and stopped for another is of the past, also if that comes back: pods
    /// may have been made and restarted meanwhile.
    pub fn saw(&mut self, mesh: &str) {
        if let Some(settled) = self.settled.as_mut().filter(|settled| *settled != mesh) {
            settled.clear();
        }
        self.asked.take_if(|asked| asked != mesh);
        self.stopped.take_if(|stopped| !stopped.release.starts_with(mesh));
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

    /// Remembers a restart that is about to be made, and tells since when it is under way.
    ///
    /// Evictions for the same target go on where they were, so that no replacement is taken for a pod that was there before.
    pub fn remember(&mut self, uid: &str, attempt: Attempt) -> i64 {
        let known = self.attempt(uid).filter(|known| known.target == attempt.target);
        let at = known.map_or(attempt.at, |known| known.at);
        self.part_of(uid).insert(uid.to_owned(), Attempt { at, ..attempt });
        at
    }

    fn part_of(&mut self, uid: &str) -> &mut BTreeMap<String, Attempt> {
        let known = self.attempts.iter().position(|part| part.contains_key(uid));
        let room = || self.attempts.iter().position(|part| part.len() < CAPACITY);
        let index = known.or_else(room).unwrap_or(self.attempts.len());
        if index == self.attempts.len() {
            self.attempts.push(BTreeMap::new());
        }
        &mut self.attempts[index]
    }

    /// Forgets the restarts of workloads for other states of the mesh than this one: it would have to come back, and then
    /// it is a change like any other.
    pub fn forget_others(&mut self, mesh: &str) {
        let is_other =
            |attempt: &Attempt| attempt.target.split_once('.').is_some_and(|(other, _)| other != short(mesh));
        for part in &mut self.attempts {
            part.retain(|_, attempt| !is_other(attempt));
        }
    }

    /// Remembers that restarts for `mesh` were stopped; returns what releases these and those that were stopped before.
    pub fn stop(&mut self, mesh: &str, extent: &Extent, now: i64) -> String {
        let release = format!("{mesh}-{now}");
        let before = self.stopped.take().filter(|stopped| stopped.release.starts_with(mesh));
        let extent = match before {
            Some(before) => before.extent.and(extent.clone()),
            None => extent.clone(),
        };
        self.stopped = Some(Stopped { release: release.clone(), extent });
        release
    }

    /// Takes over what another process wrote, beside the restarts, which are only made by one at a time. What is of the past
    /// stays so: he may not have written it.
    fn adopt(&mut self, written: Self) {
        let is_past = self.settled.as_ref().is_some_and(String::is_empty);
        *self = Self { attempts: std::mem::take(&mut self.attempts), ..written };
        if is_past {
            self.settled.iter_mut().for_each(String::clear);
            self.asked = None;
        }
    }

    /// Identity of the restarts.
    fn restarts(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.attempts.iter().flatten().for_each(|attempt| attempt.hash(&mut hasher));
        hasher.finish()
    }

    /// The contents of the ConfigMaps.
    fn encode(&self) -> Vec<BTreeMap<String, String>> {
        let line = |(uid, attempt): (&String, &Attempt)| {
            format!("{uid} {} {} {}\n", attempt.target, attempt.generation, attempt.at)
        };
        let part = |part: &BTreeMap<String, Attempt>| {
            BTreeMap::from([(ATTEMPTS.to_owned(), part.iter().map(line).collect::<String>())])
        };
        let mut parts: Vec<_> = self.attempts.iter().map(part).collect();
        if parts.is_empty() {
            parts.push(part(&BTreeMap::new()));
        }
        let count = (parts.len() > 1).then(|| (PARTS.to_owned(), parts.len().to_string()));
        let concern = |(name, concern): (&String, &Concern)| {
            (format!("{CONCERN}{name}"), format!("{} {}", concern.digest, concern.since))
        };
        if let Some(data) = parts.first_mut() {
            data.extend(count);
            data.extend(self.concerns.iter().map(concern));
            data.extend(self.settled.clone().map(|mesh| ("settled".to_owned(), mesh)));
            data.extend(self.asked.clone().map(|mesh| ("asked".to_owned(), mesh)));
            if let Some(Stopped { release, extent }) = &self.stopped {
                data.insert(STOPPED.to_owned(), release.clone());
                if let Extent::Namespaces(namespaces) = extent {
                    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
                    data.insert(STOPPED_NAMESPACES.to_owned(), names.join(" "));
                }
            }
        }
        parts
    }

    /// How many ConfigMaps the first one says there are.
    fn parts(first: &BTreeMap<String, String>) -> usize {
        first.get(PARTS).and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// A line that cannot be read is of a version to come; forgetting it is the smaller evil.
    fn decode<'a>(parts: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> Self {
        let mut parts = parts.into_iter().peekable();
        let first = parts.peek().copied();
        let text = |key: &str| first.and_then(|data| data.get(key)).cloned();
        let concern = |(key, value): (&String, &String)| {
            let (digest, since) = value.split_once(' ')?;
            let concern = Concern { digest: digest.to_owned(), since: since.parse().ok()? };
            Some((key.strip_prefix(CONCERN)?.to_owned(), concern))
        };
        Self {
            settled: text("settled"),
            asked: text("asked"),
            stopped: text(STOPPED)
                .map(|release| Stopped { release, extent: extent(text(STOPPED_NAMESPACES)) }),
            concerns: first.into_iter().flatten().filter_map(concern).collect(),
            attempts: parts.map(attempts).collect(),
        }
    }
}

fn extent(namespaces: Option<String>) -> Extent {
    namespaces.map_or(Extent::Wave, |names| Extent::Namespaces(names.split(' ').map(str::to_owned).collect()))
}

fn attempts(data: &BTreeMap<String, String>) -> BTreeMap<String, Attempt> {
    let attempt = |line: &str| {
        let mut words = line.split(' ');
        let mut next = || words.next();
        let (uid, target) = (next()?.to_owned(), next()?.to_owned());
        let (generation, at) = (next()?.parse().ok()?, next()?.parse().ok()?);
        Some((uid, Attempt { target, generation, at }))
    };
    data.get(ATTEMPTS).map_or_else(BTreeMap::new, |text| text.lines().filter_map(attempt).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stopped(release: &str) -> Stopped {
        Stopped { release: release.to_owned(), extent: Extent::Wave }
    }

    #[test]
    fn one_release_is_for_all_that_was_stopped_for_a_mesh() {
        let of = |name: &str| Extent::Namespaces([name.to_owned()].into());
        let mut memory = Memory::default();
        assert_eq!(memory.stop("a", &of("x"), 1), "a-1");
        assert_eq!(memory.stop("a", &of("y"), 2), "a-2");
        let both = Extent::Namespaces(["x".to_owned(), "y".to_owned()].into());
        assert_eq!(memory.stopped, Some(Stopped { release: "a-2".into(), extent: both }));
        memory.stop("b", &of("z"), 3);
        assert_eq!(memory.stopped, Some(Stopped { release: "b-3".into(), extent: of("z") }));
    }

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
    fn a_mesh_that_comes_back_is_not_the_one_that_was_settled() {
        let settled = || Memory {
            settled: Some("a".into()),
            asked: Some("a".into()),
            stopped: Some(stopped("a-1")),
            ..Memory::default()
        };
        let mut memory = settled();
        memory.saw("a");
        assert_eq!(memory, settled());
        let past = Memory { settled: Some(String::new()), ..Memory::default() };
        for mesh in ["b", "a"] {
            memory.saw(mesh);
            assert_eq!(memory, past, "{mesh}");
        }
        memory.adopt(settled());
        assert_eq!(
            memory,
            Memory { stopped: Some(stopped("a-1")), ..past },
            "somebody else stopped restarts"
        );
        let mut never = Memory::default();
        never.saw("a");
        assert_eq!(never, Memory::default());
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
        assert!(!memory.replaced("u", "t", 100), "in the same second");
        assert!(memory.replaced("u", "t", 101));
        assert!(!memory.replaced("u", "x", 150));
    }

    #[test]
    fn evictions_that_go_on_know_when_they_began() {
        let mut memory = remembering(3);
        let again = |target: &str| Attempt { target: target.into(), generation: 3, at: 200 };
        assert_eq!(memory.remember("u", again("t")), 100);
        assert!(memory.replaced("u", "t", 150), "a replacement would be taken for an old pod");
        assert_eq!(memory.remember("u", again("new")), 200);
    }

    #[test]
    fn a_mesh_that_is_gone_takes_its_restarts_with_it_and_those_of_istio_itself_stay() {
        let mut memory = Memory::default();
        for (uid, target) in [
            ("old", target("aaaaaaaa1", "x")),
            ("new", target("bbbbbbbb1", "x")),
            ("istiod", "0123".to_owned()),
        ] {
            memory.remember(uid, Attempt { target, generation: 1, at: 0 });
        }
        memory.forget_others("bbbbbbbb1");
        let kept = |uid| memory.attempt(uid).is_some();
        assert_eq!([kept("old"), kept("new"), kept("istiod")], [false, true, true]);
    }

    #[test]
    fn a_mesh_of_any_size_is_remembered_in_objects_that_the_api_server_takes() {
        const WORKLOADS: i64 = 50_000;
        const LIMIT: usize = 1 << 20;
        let mut memory = Memory::default();
        let uid = |index: i64| format!("{index:08x}-0000-0000-0000-000000000000");
        let restart = |generation| Attempt {
            target: target("0123456789abcdef", "0123456789abcdef"),
            generation,
            at: 1_795_392_000,
        };
        for index in 0..WORKLOADS {
            memory.remember(&uid(index), restart(7));
        }
        let before = memory.encode();
        assert!(before.iter().flat_map(BTreeMap::values).all(|text| text.len() < LIMIT / 2));
        let read = Memory::decode(&before);
        assert_eq!(read, memory);
        assert!((0..WORKLOADS).all(|index| read.is_remembered(&uid(index), &restart(7).target)));
        // One more restart changes one object.
        memory.remember(&uid(3), restart(8));
        let after = memory.encode();
        assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            settled in prop::option::of("[0-9a-f]{16}"), asked in prop::option::of("[0-9a-f]{16}"),
            stopped in prop::option::of(("[0-9a-f]{16}", prop::option::of(prop::collection::btree_set("[a-z-]{1,9}", 1..4)))),
            concerns in prop::collection::btree_map("[a-z-]{1,9}", ("[0-9a-f]{16}", any::<i64>()), 0..3),
            attempts in prop::collection::btree_map("[0-9a-f-]{36}", ("[0-9a-f]{16}", any::<i64>(), any::<i64>()), 0..20),
        ) {
            let concerns = concerns.into_iter()
                .map(|(name, (digest, since))| (name, Concern { digest, since })).collect();
            let stopped = stopped.map(|(release, namespaces)| {
                Stopped { release, extent: namespaces.map_or(Extent::Wave, Extent::Namespaces) }
            });
            let mut memory = Memory { settled, asked, stopped, concerns, attempts: vec![BTreeMap::new()] };
            for (uid, (target, generation, at)) in attempts {
                memory.remember(&uid, Attempt { target, generation, at });
            }
            prop_assert_eq!(Memory::decode(&memory.encode()), memory);
        }
    }
}
