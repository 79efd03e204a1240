//! Notices when what was applied is changed, taken away or replaced.
//!
//! Watches the metadata of every applied kind, by the module's label, and keeps a line for each object that is ours. An
//! object that loses the label leaves the watch as if it had been deleted, which is reason enough to look at it. Workloads are
//! watched as a whole: their status tells how they fare. Nothing is decided here but when to look: what to do is found out by
//! the reconcile that follows.

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

use crate::apply::StageMonitor;
use crate::drift::observations::ObservedObjects;
use crate::drift::snapshot::{LiveObjects, ObjectSnapshot};
use crate::drift::workload_health::HealthTracker;
use crate::inventory::Inventory;
use crate::kubernetes::object::{self, Metadata, ObjectId};
use crate::kubernetes::{is_not_served, streaming_watcher};
use crate::lock::lock;
use crate::plan::MODULE_SELECTOR;
use crate::readiness::conditions::is_workload;
use crate::readiness::rules::{self, WorkloadHealth};

/// A difference must last so long before it is looked at: events of one change arrive one by one, and those of our own
/// writes a moment after their answers.
const DRIFT_DEBOUNCE_INTERVAL: Duration = Duration::from_millis(300);
/// A watch that no reconcile waits for is opened so long after it was first asked for. What happens before is in its list,
/// and an installation in good health is over by then: it is not slowed down by what only matters later.
const WATCH_OPEN_DELAY: Duration = Duration::from_secs(4);
/// Objects of one page; keeps the memory for a list bounded.
const PAGE_SIZE: u32 = 100;
/// How long the first lists may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Group, version and kind.
pub(crate) type WatchedKind = (String, String, String);

/// The watches did not come up.
#[derive(Debug, Error)]
#[error("cannot watch what is installed: no list of {kinds} within {after:?}")]
pub struct Error {
    /// The kinds that were not listed.
    pub kinds: String,
    /// How long was waited.
    after: Duration,
}

/// What one watch reports.
pub(crate) enum WatchReport {
    Relisting,
    Present(ObjectId, ObjectSnapshot),
    /// So a workload of ours fares.
    Health(ObjectId, WorkloadHealth),
    Listed,
    Gone(ObjectId),
    /// The API server does not serve the kind (any more).
    NotServed,
}

/// The watches of all applied kinds. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct DriftWatcher {
    state: Arc<Mutex<ObservedObjects>>,
    health: Arc<Mutex<HealthTracker>>,
    /// For the task that watches.
    changed: Arc<Notify>,
    /// For those that wait for it.
    listed: Arc<Notify>,
    drift_signal: watch::Receiver<()>,
}

/// What tells when something is to be looked at.
pub struct DriftSignals {
    /// What is installed differs from what was applied.
    pub drifted: watch::Receiver<()>,
    /// Workloads fare otherwise than before.
    pub health: watch::Receiver<()>,
}

/// A reconcile under way: nothing that happens is drift before it has said what it is content with.
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
    /// Starts the watching task.
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

    /// The workloads of ours that have not fared well for some time.
    #[must_use]
    pub fn unhealthy(&self) -> BTreeMap<ObjectId, WorkloadHealth> {
        self.health().unhealthy(Instant::now())
    }

    /// How the objects of the inventory look now, as far as metadata tells it.
    ///
    /// Waits for the first lists, later it is only a look at what the watches told. That may be late by a moment, so a
    /// difference has to be confirmed by a read; that nothing differs need not be, as the watch will tell.
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
            let kinds = missing.into_iter().map(|(_, _, kind)| kind).collect::<Vec<_>>().join(", ");
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

    /// Ends all watches: nothing is ours any more.
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

    fn record(&self, kind: &WatchedKind, report: WatchReport) {
        self.health().record(kind, &report, Instant::now());
        let was_listed = matches!(report, WatchReport::Listed | WatchReport::NotServed);
        self.state().record(kind, report);
        if was_listed {
            self.listed.notify_waiters();
        }
    }

    /// Tells of drift that was not told yet.
    fn notify_drift(&self, notify: &watch::Sender<()>) {
        let different = self.state().report_differences();
        if !different.is_empty() {
            tracing::info!(objects = names(&different), "what is installed differs from what was applied");
            notify.send_replace(());
        }
    }
}

impl DriftSession {
    /// Ends the reconcile: from now on the objects are to be as `inventory` says, and those that were left alone as they
    /// were in `live`.
    pub fn finish(mut self, inventory: &Inventory, live: &LiveObjects, skipped: &[ObjectId]) {
        self.ended = true;
        let expected = inventory.iter().map(|(id, record)| {
            let is_skipped = skipped.contains(id) || record.uid.is_none();
            let snapshot = live.get(id);
            (id.clone(), if is_skipped { snapshot.cloned() } else { Some(record.as_snapshot(snapshot)) })
        });
        self.watcher.state().expect(expected.collect());
        self.watcher.changed.notify_one();
    }
}

impl Drop for DriftSession {
    /// A reconcile that failed is repeated anyway; only what changes from now on is news.
    fn drop(&mut self) {
        if !self.ended {
            self.watcher.state().expect_live();
            self.watcher.changed.notify_one();
        }
    }
}

fn kinds(inventory: &Inventory) -> BTreeSet<WatchedKind> {
    inventory.iter().map(|(id, _)| kind_of(id)).collect()
}

pub(crate) fn kind_of(id: &ObjectId) -> WatchedKind {
    (id.group.clone(), id.version.clone(), id.kind.clone())
}

/// Feeds the sightings until the process ends.
async fn run(
    client: Client,
    drift: DriftWatcher,
    announce: watch::Sender<()>,
    announce_health: watch::Sender<()>,
) {
    let mut watches = KindWatches { client, open: BTreeMap::new(), reports: SelectAll::new() };
    // Polled while there is nothing to watch, `SelectAll` would end at once.
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

fn names(objects: &[ObjectId]) -> String {
    objects.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

struct KindWatches {
    client: Client,
    /// Dropping the sender ends the watch.
    open: BTreeMap<WatchedKind, oneshot::Sender<()>>,
    reports: SelectAll<BoxStream<'static, (WatchedKind, WatchReport)>>,
}

impl KindWatches {
    /// Whether one of `kinds` is not watched.
    fn is_missing_any(&self, kinds: &BTreeSet<WatchedKind>) -> bool {
        !kinds.iter().all(|kind| self.open.contains_key(kind))
    }

    /// Opens watches that a reconcile waits for at once, and tells when to open others.
    fn schedule(&mut self, drift: &DriftWatcher, open_at: Option<Instant>) -> Option<Instant> {
        if drift.state().is_waiting_for_list() || !self.is_missing_any(drift.state().kinds()) {
            self.sync(drift);
            return None;
        }
        open_at.or_else(|| Some(Instant::now() + WATCH_OPEN_DELAY))
    }

    /// Lets `drift` know what a watch reports. One that was closed may have had something left to say.
    fn forward(&self, drift: &DriftWatcher, kind: &WatchedKind, report: WatchReport) {
        if self.open.contains_key(kind) {
            drift.record(kind, report);
        }
    }

    /// Opens and closes watches until they are those that `drift` asks for.
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
    kind: WatchedKind,
    ended: oneshot::Receiver<()>,
) -> BoxStream<'static, (WatchedKind, WatchReport)> {
    let (group, version, name) = &kind;
    let resource = object::resource(group, version, name);
    if is_workload(group, name) {
        let health = |kind: &str, object: &DynamicObject| Some(rules::workload_health(kind, &object.data));
        watch_reports(Api::all_with(client, &resource), kind, ended, health)
    } else {
        watch_reports(Api::<Metadata>::all_with(client, &resource), kind, ended, |_, _| None)
    }
}

/// What happens to the objects of one kind; `fitness` tells how one of a kind fares, if it can.
fn watch_reports<K>(
    api: Api<K>,
    kind: WatchedKind,
    ended: oneshot::Receiver<()>,
    health: fn(&str, &K) -> Option<WorkloadHealth>,
) -> BoxStream<'static, (WatchedKind, WatchReport)>
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
    kind: &WatchedKind,
    event: Result<watcher::Event<K>, watcher::Error>,
    health: fn(&str, &K) -> Option<WorkloadHealth>,
) -> Vec<WatchReport> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Ok(Init) => vec![WatchReport::Relisting],
        Ok(InitApply(object) | Apply(object)) => {
            present_reports(kind, object.meta(), health(&kind.2, &object))
        }
        Ok(InitDone) => vec![WatchReport::Listed],
        Ok(Delete(object)) => vec![WatchReport::Gone(identity(kind, object.meta()))],
        Err(error) if is_not_served(&error) => vec![WatchReport::NotServed],
        Err(error) => {
            tracing::debug!(%error, kind = kind.2, "watch interrupted, opening it again");
            Vec::new()
        }
    }
}

/// What is on its way out is no news: it will be when it is gone. How a workload fares that is not ours is none either.
fn present_reports(
    kind: &WatchedKind,
    metadata: &ObjectMeta,
    health: Option<WorkloadHealth>,
) -> Vec<WatchReport> {
    if metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let id = identity(kind, metadata);
    let snapshot = ObjectSnapshot::of(&kind.2, metadata);
    let health_report =
        health.filter(|_| snapshot.entry.is_some()).map(|fitness| WatchReport::Health(id.clone(), fitness));
    [WatchReport::Present(id, snapshot)].into_iter().chain(health_report).collect()
}

fn identity((group, version, kind): &WatchedKind, metadata: &ObjectMeta) -> ObjectId {
    ObjectId {
        group: group.clone(),
        version: version.clone(),
        kind: kind.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone().unwrap_or_default(),
    }
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
        let kind: WatchedKind = ("apps".into(), "v1".into(), "DaemonSet".into());
        let metadata = ObjectMeta { name: Some("istio-cni-node".into()), ..ObjectMeta::default() };
        let unavailable =
            || WatchReport::Health(identity(&kind, &metadata), WorkloadHealth::Unavailable("0 of 2".into()));
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
        assert_eq!(unhealthy(), 0, "the closed watch still had something to say");
    }
}
