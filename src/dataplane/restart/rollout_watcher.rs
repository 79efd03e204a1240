//! Follows rollouts: one watch per kind, from the resource version of its first restart on. Events of other workloads are
//! dropped.

use futures::stream::{BoxStream, SelectAll, StreamExt};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use kube::runtime::watcher::DefaultBackoff;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::time::Instant;

use crate::dataplane::model::{Meta, Workload, WorkloadSpec, WorkloadStatus, WorkloadUid};
use crate::dataplane::requests::{self, is_transient};
use crate::dataplane::workload::WorkloadKind;
use crate::dataplane::workload::rollout::{RolloutStatus, rollout_status};
use crate::kubernetes::object::ObjectId;
use crate::telemetry::format_error_chain;

type RolloutWatchEvent = (WorkloadKind, Result<WatchEvent<RolloutSnapshot>, kube::Error>);

/// What shows how far a rollout is. The watch sends every change of every workload of the kind, so that the rest of them,
/// mostly templates, is skipped during deserialization.
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
    uid: WorkloadUid,
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
            metadata: Meta { uid: uid.to_string(), resource_version, generation, ..Meta::default() },
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

/// When the watch of a kind, or failed reads, are retried.
#[derive(Default)]
struct RetryTimer {
    /// When it is retried, if it failed.
    retry_at: Option<Instant>,
    /// Repeated failures are retried with growing delays: for a watch, each retry reads all rollouts of the kind.
    backoff: DefaultBackoff,
}

impl RetryTimer {
    fn is_due(&self) -> bool {
        self.retry_at.is_some_and(|due| due <= Instant::now())
    }

    /// Records that it failed. Further calls before the retry have no effect.
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
    rollouts: HashMap<WorkloadUid, WatchedRollout>,
    /// Rollouts that could not be read.
    unread: VecDeque<WorkloadUid>,
    read_retry: RetryTimer,
}

/// What happened to a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutEvent {
    /// The present status of its rollout.
    Status(RolloutStatus),
    /// It was deleted.
    Gone,
}

impl RolloutWatcher {
    /// Follows no rollout yet.
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

    /// Follows the rollout of `generation`, which was stored with the resource version `version`.
    pub async fn add(
        &mut self,
        id: usize,
        kind: WorkloadKind,
        workload: &ObjectId,
        uid: &WorkloadUid,
        generation: i64,
        version: &str,
    ) {
        let rollout = WatchedRollout { id, kind, workload: workload.clone(), generation };
        self.rollouts.insert(uid.clone(), rollout);
        if !self.watches.contains_key(&kind) {
            self.open_watch(kind, workload, version).await;
        }
    }

    async fn open_watch(&mut self, kind: WorkloadKind, any: &ObjectId, version: &str) {
        let resource = any.api_resource();
        let params = WatchParams::default();
        match requests::watch::<RolloutSnapshot>(&self.client, &resource, None, &params, version).await {
            Ok(events) => {
                let events = events.map(move |event| (kind, event));
                // The end of a watch is an event, too: the API server ends each watch after some minutes.
                let end = futures::stream::once(async move {
                    (kind, Err(kube::Error::ReadEvents(std::io::ErrorKind::UnexpectedEof.into())))
                });
                self.events.push(events.chain(end).boxed());
                self.watches.entry(kind).or_default().retry_at = None;
            }
            Err(error) => {
                tracing::debug!(%error, ?kind, "failed to watch workloads");
                self.watches.entry(kind).or_default().schedule_retry();
            }
        }
    }

    /// Stops following a rollout.
    pub fn remove(&mut self, uid: &WorkloadUid) {
        self.rollouts.remove(uid);
    }

    /// The next event of a rollout; pending while nothing happens.
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
            // Any tenant may write a workload of this size. If its rollout is followed, it is read at its timeout.
            Err(error) if requests::is_too_large(&error) => None,
            Ok(WatchEvent::Error(_)) | Err(_) => {
                self.watches.entry(kind).or_default().schedule_retry();
                None
            }
        }
    }

    /// Retries failed reads and reopens broken watches, each after its delay. Before a watch is reopened, its rollouts are read,
    /// because events may have been lost.
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

    /// The present status of a rollout, for which the watch may have started too late. If it cannot be read,
    /// [`RolloutWatcher::repair`] retries.
    pub async fn read_now(&mut self, uid: &WorkloadUid) -> Option<(usize, RolloutEvent)> {
        self.read_all(VecDeque::from([uid.clone()])).await.0.pop()
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
            // Newer states of the other workloads are sent again, which does no harm.
            Some(version) => self.open_watch(kind, any, &version).await,
            None => watch.schedule_retry(),
        }
        events
    }

    /// Reads rollouts up to the first failure, because further reads would most likely fail, too. Returns also the resource
    /// version of the first one, from which a watch misses no event of the others.
    async fn read_all(
        &mut self,
        mut uids: VecDeque<WorkloadUid>,
    ) -> (Vec<(usize, RolloutEvent)>, Option<String>) {
        let (mut events, mut version) = (Vec::new(), None);
        while let Some(uid) = uids.pop_front() {
            let Some(rollout) = self.rollouts.get(&uid) else { continue };
            let Some((event, read)) = read_rollout(&self.client, &uid, rollout).await else {
                // It is retried last, so that it does not block the others if only this read fails.
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

/// The status of a rollout and its resource version, if it still exists; `None` after a transient failure.
async fn read_rollout(
    client: &Client,
    uid: &WorkloadUid,
    rollout: &WatchedRollout,
) -> Option<(RolloutEvent, Option<String>)> {
    match requests::get::<RolloutSnapshot>(client, &rollout.workload).await {
        Ok(Some(workload)) if workload.metadata.uid == *uid => {
            let version = workload.metadata.resource_version.clone();
            Some((rollout_event(rollout, &workload.into()), Some(version)))
        }
        Ok(_) => Some((RolloutEvent::Gone, None)),
        Err(error) if is_transient(&error) => {
            tracing::debug!(%error, workload = %rollout.workload, "failed to read workload");
            None
        }
        Err(error) => Some((
            RolloutEvent::Status(RolloutStatus::InProgress(format!(
                "failed to read it: {}",
                format_error_chain(&error)
            ))),
            None,
        )),
    }
}

fn rollout_event(rollout: &WatchedRollout, workload: &Workload) -> RolloutEvent {
    if workload.metadata.generation < rollout.generation {
        return RolloutEvent::Status(RolloutStatus::InProgress(
            "its change has not been observed yet".to_owned(),
        ));
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
    use crate::dataplane::workload::deployment;

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
            watcher.add(id, deployment::KIND, &stale_workload(name).workload, &name.into(), 1, "1").await;
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
        assert_eq!(
            watcher.read_now(&"a".into()).await,
            Some((0, RolloutEvent::Status(RolloutStatus::Complete)))
        );
        assert_eq!(watcher.read_now(&"b".into()).await, None, "its first read fails");
        tokio::time::sleep(MINUTE).await;
        assert!(watcher.repair().await.contains(&(1, RolloutEvent::Status(RolloutStatus::Complete))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_read_is_retried_without_a_new_watch() {
        let server = server();
        let mut watcher = start_watcher(server.client()).await;
        assert_eq!(watcher.read_now(&"b".into()).await, None);
        assert_eq!(watcher.repair().await, [], "after a delay");
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
        // Each watch reads both rollouts once. In the end, 30 to 60 seconds pass between two watches.
        assert!((8..=2 * 6).contains(&in_a_minute[0]), "{in_a_minute:?}");
        let later: usize = in_a_minute[5..].iter().sum();
        assert!((2 * 14..=2 * 30).contains(&later), "{in_a_minute:?}");
    }
}
