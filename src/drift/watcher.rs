//! Watches applied objects and triggers a reconcile when others change, delete or replace them.
//!
//! Watches the metadata of every applied kind by the module's label, and keeps a snapshot of each object of ours. An object that
//! loses the label leaves the watch as if it were deleted. Workloads are watched completely, for the health in their status.
//! It only decides when to reconcile; the reconcile decides what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use kube::api::{DynamicObject, ObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::StageMonitor;
use super::observations::{ObservedObjects, WatchReport};
use super::snapshot::{LiveObjects, ObjectSnapshot};
use super::workload_health::HealthTracker;
use crate::inventory::Inventory;
use crate::kubernetes::object::{Metadata, ObjectId, ObjectKind};
use crate::kubernetes::{is_not_served, streaming_watcher};
use crate::lock::lock;
use crate::plan::MODULE_SELECTOR;
use crate::readiness::conditions::is_workload;
use crate::readiness::rules::{self, WorkloadHealth};
use crate::text::list_limited;

/// How long a difference must last before it triggers a reconcile: the events of one change arrive one by one, and those of our
/// own writes after their responses.
const DRIFT_DEBOUNCE_INTERVAL: Duration = Duration::from_millis(300);
/// Delay before a watch is opened that no reconcile waits for. Its list contains what happens before, and a healthy installation
/// is complete by then, so that the watch does not slow it down.
const WATCH_OPEN_DELAY: Duration = Duration::from_secs(4);
/// Objects per page; limits the memory for a list.
const PAGE_SIZE: u32 = 100;
/// Timeout of the first lists.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Objects that a log line names at most.
const MAX_NAMED_OBJECTS: usize = 5;

/// The watches did not complete their first lists in time.
#[derive(Debug, Error)]
#[error("failed to list installed objects of kind {kinds} within {after:?}")]
pub struct Error {
    /// The kinds that were not listed.
    pub kinds: String,
    /// The timeout.
    after: Duration,
}

/// The watches of all applied kinds. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct DriftWatcher {
    state: Arc<Mutex<ObservedObjects>>,
    health: Arc<Mutex<HealthTracker>>,
    /// Wakes the task that watches.
    changed: Arc<Notify>,
    /// Wakes reconciles that wait for a list.
    listed: Arc<Notify>,
    drift_signal: watch::Receiver<()>,
}

/// Signals that trigger a reconcile.
pub struct DriftSignals {
    /// Installed objects differ from what was applied.
    pub drifted: watch::Receiver<()>,
    /// The unhealthy workloads have changed.
    pub health: watch::Receiver<()>,
}

/// A reconcile in progress: nothing counts as drift until it sets expectations.
pub struct DriftSession {
    watcher: DriftWatcher,
    ended: bool,
}

impl StageMonitor for DriftSession {
    fn set_expected(&self, objects: LiveObjects) {
        let expected = objects.into_iter().map(|(id, snapshot)| (id, Some(snapshot))).collect();
        self.watcher.state().expect_during_wait(expected);
        self.watcher.changed.notify_one();
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let mut signal = self.watcher.drift_signal.clone();
        signal.mark_unchanged();
        Box::pin(async move {
            if signal.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl DriftWatcher {
    /// Starts the task that watches.
    #[must_use]
    pub fn start(client: Client) -> (Self, DriftSignals) {
        let (announce, drifted) = watch::channel(());
        let (announce_health, health) = watch::channel(());
        let drift = Self {
            state: Arc::default(),
            health: Arc::default(),
            changed: Arc::default(),
            listed: Arc::default(),
            drift_signal: drifted.clone(),
        };
        tokio::spawn(run(client, drift.clone(), announce, announce_health));
        (drift, DriftSignals { drifted, health })
    }

    /// Our workloads that have been unhealthy for longer than a grace period.
    #[must_use]
    pub fn unhealthy(&self) -> BTreeMap<ObjectId, WorkloadHealth> {
        self.health().unhealthy(Instant::now())
    }

    /// Snapshots of the objects in the inventory.
    ///
    /// Waits for the first lists; after that it returns what the watches reported, without a request. Reports can be late, so a
    /// difference must be confirmed by a read. Equality need not be: the watch will report a change.
    pub async fn live_objects(&self, inventory: &Inventory) -> Result<LiveObjects, Error> {
        let kinds = kinds(inventory);
        self.state().require(&kinds);
        self.changed.notify_one();
        let all_listed = async {
            loop {
                let listed = self.listed.notified();
                tokio::pin!(listed);
                listed.as_mut().enable();
                if self.state().missing(&kinds).is_empty() {
                    return;
                }
                listed.await;
            }
        };
        if tokio::time::timeout(LIST_TIMEOUT, all_listed).await.is_err() {
            let missing = self.state().missing(&kinds);
            let kinds = missing.into_iter().map(|missing| missing.kind).collect::<Vec<_>>().join(", ");
            return Err(Error { kinds, after: LIST_TIMEOUT });
        }
        Ok(self.state().live().clone())
    }

    /// Begins a reconcile.
    #[must_use]
    pub fn begin_session(&self) -> DriftSession {
        self.state().begin();
        DriftSession { watcher: self.clone(), ended: false }
    }

    /// Ends all watches, because no object is ours any more.
    pub fn stop(&self) {
        *self.state() = ObservedObjects::default();
        *self.health() = HealthTracker::default();
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, ObservedObjects> {
        lock(&self.state)
    }

    fn health(&self) -> MutexGuard<'_, HealthTracker> {
        lock(&self.health)
    }

    fn record(&self, kind: &ObjectKind, report: WatchReport) {
        self.health().record(kind, &report, Instant::now());
        let was_listed = matches!(report, WatchReport::Listed | WatchReport::NotServed);
        self.state().record(kind, report);
        if was_listed {
            self.listed.notify_waiters();
        }
    }

    /// Sends a signal about drift that was not reported yet.
    fn notify_drift(&self, notify: &watch::Sender<()>) {
        let different = self.state().report_differences();
        if !different.is_empty() {
            tracing::info!(
                objects = list_limited(&different, MAX_NAMED_OBJECTS),
                "installed objects differ from what was applied"
            );
            notify.send_replace(());
        }
    }
}

impl DriftSession {
    /// Ends the reconcile: from now on the objects are expected as in `inventory`, and skipped ones as in `live`.
    pub fn finish(mut self, inventory: &Inventory, live: &LiveObjects, skipped: &[ObjectId]) {
        self.ended = true;
        let expected = inventory.iter().map(|(id, record)| {
            let is_skipped = skipped.contains(id) || record.uid.is_none();
            let snapshot = live.get(id);
            (
                id.clone(),
                if is_skipped { snapshot.cloned() } else { Some(ObjectSnapshot::expected(record, snapshot)) },
            )
        });
        self.watcher.state().expect(expected.collect());
        self.watcher.changed.notify_one();
    }
}

impl Drop for DriftSession {
    /// A failed reconcile is repeated anyway; only changes from now on are drift.
    fn drop(&mut self) {
        if !self.ended {
            self.watcher.state().expect_live();
            self.watcher.changed.notify_one();
        }
    }
}

fn kinds(inventory: &Inventory) -> BTreeSet<ObjectKind> {
    inventory.iter().map(|(id, _)| id.object_kind()).collect()
}

/// Records the reports of all watches until the process ends.
async fn run(
    client: Client,
    drift: DriftWatcher,
    announce: watch::Sender<()>,
    announce_health: watch::Sender<()>,
) {
    let mut watches = KindWatches { client, open: BTreeMap::new(), reports: SelectAll::new() };
    // `SelectAll` would end if it were polled without a stream.
    watches.reports.push(stream::pending().boxed());
    let mut check_at: Option<Instant> = None;
    let mut open_at: Option<Instant> = None;
    let mut notify_at: Option<Instant> = None;
    loop {
        tokio::select! {
            Some((kind, report)) = watches.reports.next() => watches.forward(&drift, &kind, report),
            () = drift.changed.notified() => open_at = watches.schedule(&drift, open_at),
            () = until(open_at) => {
                open_at = None;
                watches.sync(&drift);
            }
            () = until(check_at) => {
                check_at = None;
                drift.notify_drift(&announce);
            }
            () = until(notify_at) => {}
        }
        check_at = if drift.state().has_differences() {
            check_at.or_else(|| Some(Instant::now() + DRIFT_DEBOUNCE_INTERVAL))
        } else {
            None
        };
        let now = Instant::now();
        if drift.health().has_changed(now) {
            announce_health.send_replace(());
        }
        notify_at = drift.health().next_change_at(now);
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

struct KindWatches {
    client: Client,
    /// Dropping the sender ends the watch.
    open: BTreeMap<ObjectKind, oneshot::Sender<()>>,
    reports: SelectAll<BoxStream<'static, (ObjectKind, WatchReport)>>,
}

impl KindWatches {
    /// Whether one of `kinds` is not watched.
    fn is_missing_any(&self, kinds: &BTreeSet<ObjectKind>) -> bool {
        !kinds.iter().all(|kind| self.open.contains_key(kind))
    }

    /// Opens watches at once if a reconcile waits for them; returns the time at which to open the others.
    fn schedule(&mut self, drift: &DriftWatcher, open_at: Option<Instant>) -> Option<Instant> {
        if drift.state().is_waiting_for_list() || !self.is_missing_any(drift.state().kinds()) {
            self.sync(drift);
            return None;
        }
        open_at.or_else(|| Some(Instant::now() + WATCH_OPEN_DELAY))
    }

    /// Forwards a report to `drift`. A closed watch may still deliver one, which is dropped.
    fn forward(&self, drift: &DriftWatcher, kind: &ObjectKind, report: WatchReport) {
        if self.open.contains_key(kind) {
            drift.record(kind, report);
        }
    }

    /// Opens and closes watches until they match the kinds of `drift`.
    fn sync(&mut self, drift: &DriftWatcher) {
        let kinds = drift.state().kinds().clone();
        self.open.retain(|kind, _| kinds.contains(kind));
        drift.health().retain_kinds(&kinds);
        for kind in &kinds {
            if !self.open.contains_key(kind) {
                let (end, ended) = oneshot::channel();
                self.open.insert(kind.clone(), end);
                self.reports.push(watch_kind(self.client.clone(), kind.clone(), ended));
            }
        }
    }
}

fn watch_kind(
    client: Client,
    kind: ObjectKind,
    ended: oneshot::Receiver<()>,
) -> BoxStream<'static, (ObjectKind, WatchReport)> {
    let resource = kind.api_resource();
    if is_workload(&kind.group, &kind.kind) {
        let health = |kind: &str, object: &DynamicObject| Some(rules::workload_health(kind, &object.data));
        watch_reports(Api::all_with(client, &resource), kind, ended, health)
    } else {
        watch_reports(Api::<Metadata>::all_with(client, &resource), kind, ended, |_, _| None)
    }
}

/// The reports about objects of one kind; `health` returns the health of an object, if its kind has any.
fn watch_reports<K>(
    api: Api<K>,
    kind: ObjectKind,
    ended: oneshot::Receiver<()>,
    health: fn(&str, &K) -> Option<WorkloadHealth>,
) -> BoxStream<'static, (ObjectKind, WatchReport)>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().labels(MODULE_SELECTOR).page_size(PAGE_SIZE);
    streaming_watcher(api, config)
        .default_backoff()
        .take_until(ended)
        .flat_map(move |event| {
            let reports = to_reports(&kind, event, health).into_iter();
            stream::iter(reports.map(|report| (kind.clone(), report)).collect::<Vec<_>>())
        })
        .boxed()
}

fn to_reports<K: Resource>(
    kind: &ObjectKind,
    event: Result<watcher::Event<K>, watcher::Error>,
    health: fn(&str, &K) -> Option<WorkloadHealth>,
) -> Vec<WatchReport> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Ok(Init) => vec![WatchReport::Relisting],
        Ok(InitApply(object) | Apply(object)) => {
            present_reports(kind, object.meta(), health(&kind.kind, &object))
        }
        Ok(InitDone) => vec![WatchReport::Listed],
        Ok(Delete(object)) => vec![WatchReport::Gone(kind.object(object.meta()))],
        Err(error) if is_not_served(&error) => vec![WatchReport::NotServed],
        Err(error) => {
            tracing::debug!(%error, kind = kind.kind, "watch interrupted, reopening it");
            Vec::new()
        }
    }
}

/// An object that is being deleted is not reported until it is gone, nor is the health of workloads of others.
fn present_reports(
    kind: &ObjectKind,
    metadata: &ObjectMeta,
    health: Option<WorkloadHealth>,
) -> Vec<WatchReport> {
    if metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let id = kind.object(metadata);
    let snapshot = ObjectSnapshot::of(&kind.kind, metadata);
    let health_report =
        health.filter(|_| snapshot.entry.is_some()).map(|health| WatchReport::Health(id.clone(), health));
    [WatchReport::Present(id, snapshot)].into_iter().chain(health_report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_workload_is_not_unhealthy_after_its_watch_was_closed() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (_, drift_signal) = watch::channel(());
        let drift = DriftWatcher {
            state: Arc::default(),
            health: Arc::default(),
            changed: Arc::default(),
            listed: Arc::default(),
            drift_signal,
        };
        let mut watches = KindWatches { client, open: BTreeMap::new(), reports: SelectAll::new() };
        let kind = ObjectKind::new("apps/v1", "DaemonSet");
        let metadata = ObjectMeta { name: Some("istio-cni-node".into()), ..ObjectMeta::default() };
        let unavailable =
            || WatchReport::Health(kind.object(&metadata), WorkloadHealth::Unavailable("0 of 2".into()));
        let unhealthy = || drift.health().unhealthy(Instant::now() + LIST_TIMEOUT).len();

        drift.state().require(&BTreeSet::from([kind.clone()]));
        watches.sync(&drift);
        watches.forward(&drift, &kind, unavailable());
        assert_eq!(unhealthy(), 1);
        // The last one of the kind was pruned.
        drift.state().expect(BTreeMap::new());
        watches.sync(&drift);
        assert_eq!(unhealthy(), 0);
        watches.forward(&drift, &kind, unavailable());
        assert_eq!(unhealthy(), 0, "a report of the closed watch");
    }
}
