//! Follows the rollouts that were begun: one watch for each kind, from the version of its first restart on. What the
//! watches tell about other workloads is dropped.

use futures::stream::{BoxStream, SelectAll, StreamExt};
use kube::Client;
use kube::core::WatchEvent;
use kube::runtime::watcher::DefaultBackoff;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::time::Instant;

use crate::dataplane::requests::{self, is_transient};
use crate::dataplane::types::{Meta, Workload, WorkloadSpec, WorkloadStatus};
use crate::dataplane::workload::kind::WorkloadKind;
use crate::dataplane::workload::rollout::{RolloutStatus, rollout_status};
use crate::kubernetes::object::ObjectId;
use crate::telemetry::format_error_chain;

type RolloutWatchEvent = (WorkloadKind, Result<WatchEvent<RolloutSnapshot>, kube::Error>);

/// What tells how far a rollout is. All changes of all workloads of a kind come by here, so that the rest of them,
/// templates above all, is skipped while reading.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RolloutSnapshot {
    metadata: RolloutSnapshotMeta,
    spec: RolloutSnapshotSpec,
    status: WorkloadStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RolloutSnapshotMeta {
    uid: String,
    resource_version: String,
    generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RolloutSnapshotSpec {
    replicas: Option<i64>,
}

impl From<RolloutSnapshot> for Workload {
    fn from(RolloutSnapshot { metadata, spec, status }: RolloutSnapshot) -> Self {
        let RolloutSnapshotMeta { uid, resource_version, generation } = metadata;
        Self {
            metadata: Meta { uid, resource_version, generation, ..Meta::default() },
            spec: WorkloadSpec { replicas: spec.replicas, ..WorkloadSpec::default() },
            status,
        }
    }
}

/// A rollout that is followed.
#[derive(Clone, Debug)]
struct WatchedRollout {
    id: usize,
    kind: WorkloadKind,
    workload: ObjectId,
    generation: i64,
}

/// The watch of one kind, or the reads of what could not be read.
#[derive(Default)]
struct RetryTimer {
    /// When it is to be tried again, if it failed.
    retry_at: Option<Instant>,
    /// What fails again and again is tried ever more seldom: for a watch, each time all that is followed is read.
    backoff: DefaultBackoff,
}

impl RetryTimer {
    fn is_due(&self) -> bool {
        self.retry_at.is_some_and(|due| due <= Instant::now())
    }

    /// Notes that it failed; no matter how often that is told.
    fn schedule_retry(&mut self) {
        if self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + self.backoff.next().unwrap_or_default());
        }
    }
}

/// Follows rollouts.
pub struct RolloutWatcher {
    client: Client,
    events: SelectAll<BoxStream<'static, RolloutWatchEvent>>,
    watches: BTreeMap<WorkloadKind, RetryTimer>,
    rollouts: HashMap<String, WatchedRollout>,
    /// What is followed and could not be read, by UID.
    unread: VecDeque<String>,
    read_retry: RetryTimer,
}

/// What became of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutEvent {
    /// Its rollout, as it now is.
    Status(RolloutStatus),
    /// It is gone.
    Gone,
}

impl RolloutWatcher {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            events: SelectAll::new(),
            watches: BTreeMap::new(),
            rollouts: HashMap::new(),
            unread: VecDeque::new(),
            read_retry: RetryTimer::default(),
        }
    }

    /// Follows a rollout that was stored with `generation` under `version`.
    pub async fn add(
        &mut self,
        id: usize,
        kind: WorkloadKind,
        workload: &ObjectId,
        uid: &str,
        generation: i64,
        version: &str,
    ) {
        let rollout = WatchedRollout { id, kind, workload: workload.clone(), generation };
        self.rollouts.insert(uid.to_owned(), rollout);
        if !self.watches.contains_key(&kind) {
            self.open_watch(kind, workload, version).await;
        }
    }

    async fn open_watch(&mut self, kind: WorkloadKind, any: &ObjectId, version: &str) {
        match requests::watch_coalesced::<RolloutSnapshot>(&self.client, &any.api_resource(), version).await {
            Ok(events) => {
                let events = events.map(move |event| (kind, event));
                // The end of a watch is an event, too: the API server ends each after some minutes.
                let end = futures::stream::once(async move {
                    (kind, Err(kube::Error::ReadEvents(std::io::ErrorKind::UnexpectedEof.into())))
                });
                self.events.push(events.chain(end).boxed());
                self.watches.entry(kind).or_default().retry_at = None;
            }
            Err(error) => {
                tracing::debug!(%error, ?kind, "cannot watch");
                self.watches.entry(kind).or_default().schedule_retry();
            }
        }
    }

    /// Forgets a rollout.
    pub fn remove(&mut self, uid: &str) {
        self.rollouts.remove(uid);
    }

    /// The next sight of a followed workload; pending while nothing happens.
    pub async fn next_event(&mut self) -> (usize, RolloutEvent) {
        loop {
            let Some((kind, event)) = self.events.next().await else { return std::future::pending().await };
            if let Some(event) = self.handle_event(kind, event) {
                return event;
            }
        }
    }

    fn handle_event(
        &mut self,
        kind: WorkloadKind,
        event: Result<WatchEvent<RolloutSnapshot>, kube::Error>,
    ) -> Option<(usize, RolloutEvent)> {
        match event {
            Ok(WatchEvent::Added(workload) | WatchEvent::Modified(workload)) => {
                let rollout = self.rollouts.get(&workload.metadata.uid)?;
                Some((rollout.id, rollout_event(rollout, &workload.into())))
            }
            Ok(WatchEvent::Deleted(workload)) => {
                Some((self.rollouts.get(&workload.metadata.uid)?.id, RolloutEvent::Gone))
            }
            Ok(WatchEvent::Bookmark(_)) => None,
            // Anybody may write such a workload; if it is one that is followed, it is read when its time is over.
            Err(error) if requests::is_too_large(&error) => None,
            Ok(WatchEvent::Error(_)) | Err(_) => {
                self.watches.entry(kind).or_default().schedule_retry();
                None
            }
        }
    }

    /// Reads again what could not be read, and opens broken watches anew, each after a pause; first reads what these follow,
    /// since events may have been lost.
    pub async fn repair(&mut self) -> Vec<(usize, RolloutEvent)> {
        let mut events = Vec::new();
        if self.read_retry.is_due() {
            self.read_retry.retry_at = None;
            let unread = std::mem::take(&mut self.unread);
            events.extend(self.read_all(unread).await.0);
        }
        let due: Vec<WorkloadKind> =
            self.watches.iter().filter(|(_, watch)| watch.is_due()).map(|(kind, _)| *kind).collect();
        for kind in due {
            events.extend(self.repair_watch(kind).await);
        }
        events
    }

    /// A followed workload as it is now: what its watch tells may have begun too late for it. If it cannot be read, it is
    /// read again by [`RolloutWatcher::repair`].
    pub async fn read_now(&mut self, uid: &str) -> Option<(usize, RolloutEvent)> {
        self.read_all(VecDeque::from([uid.to_owned()])).await.0.pop()
    }

    async fn repair_watch(&mut self, kind: WorkloadKind) -> Vec<(usize, RolloutEvent)> {
        let of_kind = self.rollouts.iter().filter(|(_, rollout)| rollout.kind == kind);
        let (uids, workloads): (VecDeque<_>, Vec<_>) =
            of_kind.map(|(uid, rollout)| (uid.clone(), rollout.workload.clone())).unzip();
        let Some(any) = workloads.first() else {
            self.watches.remove(&kind);
            return Vec::new();
        };
        let (events, version) = self.read_all(uids).await;
        let watch = self.watches.entry(kind).or_default();
        watch.retry_at = None;
        match version {
            // Newer states of the others come once more, and do no harm.
            Some(version) => self.open_watch(kind, any, &version).await,
            None => watch.schedule_retry(),
        }
        events
    }

    /// Reads followed workloads up to the first that cannot be read now, since the others could not be either; and the version
    /// of one of them, from which nothing of the others is missed.
    async fn read_all(&mut self, mut uids: VecDeque<String>) -> (Vec<(usize, RolloutEvent)>, Option<String>) {
        let (mut events, mut version) = (Vec::new(), None);
        while let Some(uid) = uids.pop_front() {
            let Some(rollout) = self.rollouts.get(&uid) else { continue };
            let Some((event, read)) = read_rollout(&self.client, &uid, rollout).await else {
                // The last of the next round, so that it is in nobody's way if it is the only one.
                uids.push_back(uid);
                break;
            };
            version = version.or(read);
            events.push((rollout.id, event));
        }
        uids.retain(|uid| !self.unread.contains(uid));
        self.unread.extend(uids);
        if self.unread.is_empty() {
            self.read_retry = RetryTimer::default();
        } else {
            self.read_retry.schedule_retry();
        }
        (events, version)
    }
}

/// A followed workload and its version, if it still has one; `None` if it cannot be read for now.
async fn read_rollout(
    client: &Client,
    uid: &str,
    rollout: &WatchedRollout,
) -> Option<(RolloutEvent, Option<String>)> {
    match requests::get::<RolloutSnapshot>(client, &rollout.workload).await {
        Ok(Some(workload)) if workload.metadata.uid == uid => {
            let version = workload.metadata.resource_version.clone();
            Some((rollout_event(rollout, &workload.into()), Some(version)))
        }
        Ok(_) => Some((RolloutEvent::Gone, None)),
        Err(error) if is_transient(&error) => {
            tracing::debug!(%error, workload = %rollout.workload, "cannot read");
            None
        }
        Err(error) => Some((
            RolloutEvent::Status(RolloutStatus::InProgress(format!(
                "it cannot be read: {}",
                format_error_chain(&error)
            ))),
            None,
        )),
    }
}

fn rollout_event(rollout: &WatchedRollout, workload: &Workload) -> RolloutEvent {
    if workload.metadata.generation < rollout.generation {
        return RolloutEvent::Status(RolloutStatus::InProgress("an older state".to_owned()));
    }
    RolloutEvent::Status(rollout_status(rollout.kind, workload))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fake_apiserver::{FakeApiServer, Fault, Occurrence, RequestMatcher, Verb, rules};
    use serde_json::{Value, json};

    use super::*;
    use crate::dataplane::fixtures::stale_workload;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A server with the complete rollouts `a` and `b`, which fails the first read of `b`.
    fn server() -> FakeApiServer {
        let server = FakeApiServer::new();
        for name in ["a", "b"] {
            let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1}, "spec": {"replicas": 1}});
            deployment["status"] = rules::complete_status(&deployment, 1);
            server.put(deployment);
        }
        let read = RequestMatcher::verb(Verb::Get).named("b");
        server.fail(read, Occurrence::First(1), Fault::status(503, "no"));
        server
    }

    /// As [`server`]; the first watch fails, and all others end at once.
    fn server_without_watches() -> FakeApiServer {
        let (server, watches) = (server(), RequestMatcher::verb(Verb::Watch));
        server.fail(watches.clone(), Occurrence::First(1), Fault::status(503, "no"));
        server.fail(watches, Occurrence::Always, Fault::Answer(200, Value::String(String::new())));
        server
    }

    fn count(server: &FakeApiServer, verb: Verb) -> usize {
        server.matching(&RequestMatcher::verb(verb)).len()
    }

    async fn start_watcher(client: Client) -> RolloutWatcher {
        let mut watcher = RolloutWatcher::new(client);
        for (id, name) in ["a", "b"].into_iter().enumerate() {
            watcher.add(id, WorkloadKind::Deployment, &stale_workload(name).workload, name, 1, "1").await;
        }
        watcher
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollout_that_ends_while_it_cannot_be_read_is_still_reported() {
        let mut watcher = start_watcher(server_without_watches().client()).await;
        let mut events = Vec::new();
        for _ in 0..3 {
            tokio::time::sleep(MINUTE).await;
            events.extend(watcher.repair().await);
        }
        for id in [0, 1] {
            assert!(events.contains(&(id, RolloutEvent::Status(RolloutStatus::Complete))), "{events:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollout_that_ended_before_its_watch_is_read_again() {
        let mut watcher = start_watcher(server_without_watches().client()).await;
        assert_eq!(watcher.read_now("a").await, Some((0, RolloutEvent::Status(RolloutStatus::Complete))));
        assert_eq!(watcher.read_now("b").await, None, "its first read fails");
        tokio::time::sleep(MINUTE).await;
        assert!(watcher.repair().await.contains(&(1, RolloutEvent::Status(RolloutStatus::Complete))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_read_is_retried_without_a_new_watch() {
        let server = server();
        let mut watcher = start_watcher(server.client()).await;
        assert_eq!(watcher.read_now("b").await, None);
        assert_eq!(watcher.repair().await, [], "after a pause");
        tokio::time::sleep(MINUTE).await;
        assert_eq!(watcher.repair().await, [(1, RolloutEvent::Status(RolloutStatus::Complete))]);
        tokio::time::sleep(MINUTE).await;
        assert_eq!(watcher.repair().await, []);
        assert_eq!(count(&server, Verb::Watch), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn watches_that_end_at_once_are_reopened_with_growing_delays() {
        let server = server_without_watches();
        let mut watcher = start_watcher(server.client()).await;
        let mut in_a_minute = Vec::new();
        for _ in 0..20 {
            let (before, end) = (count(&server, Verb::Get), Instant::now() + MINUTE);
            while Instant::now() < end {
                let _no_event = tokio::time::timeout(Duration::from_secs(2), watcher.next_event()).await;
                watcher.repair().await;
            }
            in_a_minute.push(count(&server, Verb::Get) - before);
        }
        // Two rollouts, each of which is read once for each watch; from one to the next pass 30 s to a minute in the end.
        assert!((8..=2 * 6).contains(&in_a_minute[0]), "{in_a_minute:?}");
        let later: usize = in_a_minute[5..].iter().sum();
        assert!((2 * 14..=2 * 30).contains(&later), "{in_a_minute:?}");
    }
}
