//! Notices when what was applied is changed, taken away or replaced.
//!
//! Watches the metadata of every applied kind, by the module's label, and keeps a line for each object that is ours. An
//! object that loses the label leaves the watch as if it had been deleted, which is reason enough to look at it. Workloads are
//! watched as a whole: their status tells how they fare. Nothing is decided here but when to look: what to do is found out by
//! the reconcile that follows.

mod health;
mod sightings;

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

use self::health::Health;
use self::sightings::Sightings;
use crate::apply::Vigil;
use crate::apply::gates::is_workload;
use crate::apply::inventory::Inventory;
use crate::apply::live::{Live, Seen};
use crate::apply::ready::{self, Fitness};
use crate::kubernetes::{is_not_served, streamed};
use crate::lock::lock;
use crate::object::{self, Metadata, ObjectId};
use crate::plan::MODULE_SELECTOR;

/// A difference must last so long before it is looked at: events of one change arrive one by one, and those of our own
/// writes a moment after their answers.
const SETTLE: Duration = Duration::from_millis(300);
/// A watch that no reconcile waits for is opened so long after it was first asked for. What happens before is in its list,
/// and an installation in good health is over by then: it is not slowed down by what only matters later.
const PATIENCE: Duration = Duration::from_secs(4);
/// Objects of one page; keeps the memory for a list bounded.
const PAGE: u32 = 100;
/// How long the first lists may take.
const LISTING: Duration = Duration::from_secs(60);

/// Group, version and kind.
type Kind = (String, String, String);

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
enum Report {
    Restarted,
    Is(ObjectId, Seen),
    /// So a workload of ours fares.
    Fares(ObjectId, Fitness),
    Listed,
    Gone(ObjectId),
    /// The API server does not serve the kind (any more).
    Unknown,
}

/// The watches of all applied kinds. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct Drift {
    state: Arc<Mutex<Sightings>>,
    health: Arc<Mutex<Health>>,
    /// For the task that watches.
    changed: Arc<Notify>,
    /// For those that wait for it.
    listed: Arc<Notify>,
    announced: watch::Receiver<()>,
}

/// What tells when something is to be looked at.
pub struct Announcements {
    /// What is installed differs from what was applied.
    pub drifted: watch::Receiver<()>,
    /// Workloads fare otherwise than before.
    pub health: watch::Receiver<()>,
}

/// A reconcile under way: nothing that happens is drift before it has said what it is content with.
pub struct Round {
    drift: Drift,
    ended: bool,
}

impl Vigil for Round {
    fn content_with(&self, objects: Live) {
        let expected = objects.into_iter().map(|(id, seen)| (id, Some(seen))).collect();
        self.drift.state().expect_meanwhile(expected);
        self.drift.changed.notify_one();
    }

    fn disturbed(&self) -> BoxFuture<'_, ()> {
        let mut announced = self.drift.announced.clone();
        announced.mark_unchanged();
        Box::pin(async move {
            if announced.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Drift {
    /// Starts the watching task.
    #[must_use]
    pub fn start(client: Client) -> (Self, Announcements) {
        let (announce, drifted) = watch::channel(());
        let (announce_health, health) = watch::channel(());
        let drift = Self {
            state: Arc::default(),
            health: Arc::default(),
            changed: Arc::default(),
            listed: Arc::default(),
            announced: drifted.clone(),
        };
        tokio::spawn(run(client, drift.clone(), announce, announce_health));
        (drift, Announcements { drifted, health })
    }

    /// The workloads of ours that have not fared well for some time.
    #[must_use]
    pub fn ailing(&self) -> BTreeMap<ObjectId, Fitness> {
        self.health().ailing(Instant::now())
    }

    /// How the objects of the inventory look now, as far as metadata tells it.
    ///
    /// Waits for the first lists, later it is only a look at what the watches told. That may be late by a moment, so a
    /// difference has to be confirmed by a read; that nothing differs need not be, as the watch will tell.
    pub async fn live(&self, inventory: &Inventory) -> Result<Live, Error> {
        let kinds = kinds(inventory);
        self.state().need(&kinds);
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
        if tokio::time::timeout(LISTING, all_listed).await.is_err() {
            let missing = self.state().missing(&kinds);
            let kinds = missing.into_iter().map(|(_, _, kind)| kind).collect::<Vec<_>>().join(", ");
            return Err(Error { kinds, after: LISTING });
        }
        Ok(self.state().seen().clone())
    }

    /// Begins a reconcile.
    #[must_use]
    pub fn begin(&self) -> Round {
        self.state().begin();
        Round { drift: self.clone(), ended: false }
    }

    /// Ends all watches: nothing is ours any more.
    pub fn rest(&self) {
        *self.state() = Sightings::default();
        *self.health() = Health::default();
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, Sightings> {
        lock(&self.state)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        lock(&self.health)
    }

    fn note(&self, kind: &Kind, report: Report) {
        self.health().note(kind, &report, Instant::now());
        let was_listed = matches!(report, Report::Listed | Report::Unknown);
        self.state().note(kind, report);
        if was_listed {
            self.listed.notify_waiters();
        }
    }

    /// Tells of drift that was not told yet.
    fn announce_drift(&self, announce: &watch::Sender<()>) {
        let different = self.state().report_differences();
        if !different.is_empty() {
            tracing::info!(objects = names(&different), "what is installed differs from what was applied");
            announce.send_replace(());
        }
    }
}

impl Round {
    /// Ends the reconcile: from now on the objects are to be as `inventory` says, and those that were left alone as they
    /// were in `live`.
    pub fn end(mut self, inventory: &Inventory, live: &Live, left_alone: &[ObjectId]) {
        self.ended = true;
        let expected = inventory.iter().map(|(id, record)| {
            let is_left_alone = left_alone.contains(id) || record.uid.is_none();
            let seen = live.get(id);
            (id.clone(), if is_left_alone { seen.cloned() } else { Some(record.as_seen(seen)) })
        });
        self.drift.state().expect(expected.collect());
        self.drift.changed.notify_one();
    }
}

impl Drop for Round {
    /// A reconcile that failed is repeated anyway; only what changes from now on is news.
    fn drop(&mut self) {
        if !self.ended {
            self.drift.state().expect_what_is_seen();
            self.drift.changed.notify_one();
        }
    }
}

fn kinds(inventory: &Inventory) -> BTreeSet<Kind> {
    inventory.iter().map(|(id, _)| kind_of(id)).collect()
}

fn kind_of(id: &ObjectId) -> Kind {
    (id.group.clone(), id.version.clone(), id.kind.clone())
}

/// Feeds the sightings until the process ends.
async fn run(client: Client, drift: Drift, announce: watch::Sender<()>, announce_health: watch::Sender<()>) {
    let mut watches = Watches { client, open: BTreeMap::new(), reports: SelectAll::new() };
    // Polled while there is nothing to watch, `SelectAll` would end at once.
    watches.reports.push(stream::pending().boxed());
    let mut look_at: Option<Instant> = None;
    let mut open_at: Option<Instant> = None;
    let mut tell_at: Option<Instant> = None;
    loop {
        tokio::select! {
            Some((kind, report)) = watches.reports.next() => watches.pass_on(&drift, &kind, report),
            () = drift.changed.notified() => open_at = watches.follow(&drift, open_at),
            () = until(open_at) => {
                open_at = None;
                watches.keep(&drift);
            }
            () = until(look_at) => {
                look_at = None;
                drift.announce_drift(&announce);
            }
            () = until(tell_at) => {}
        }
        look_at =
            if drift.state().differs() { look_at.or_else(|| Some(Instant::now() + SETTLE)) } else { None };
        let now = Instant::now();
        if drift.health().has_news(now) {
            announce_health.send_replace(());
        }
        tell_at = drift.health().next_news(now);
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

struct Watches {
    client: Client,
    /// Dropping the sender ends the watch.
    open: BTreeMap<Kind, oneshot::Sender<()>>,
    reports: SelectAll<BoxStream<'static, (Kind, Report)>>,
}

impl Watches {
    /// Whether one of `kinds` is not watched.
    fn lack_any(&self, kinds: &BTreeSet<Kind>) -> bool {
        !kinds.iter().all(|kind| self.open.contains_key(kind))
    }

    /// Opens watches that a reconcile waits for at once, and tells when to open others.
    fn follow(&mut self, drift: &Drift, open_at: Option<Instant>) -> Option<Instant> {
        if drift.state().is_needed() || !self.lack_any(drift.state().kinds()) {
            self.keep(drift);
            return None;
        }
        open_at.or_else(|| Some(Instant::now() + PATIENCE))
    }

    /// Lets `drift` know what a watch reports. One that was closed may have had something left to say.
    fn pass_on(&self, drift: &Drift, kind: &Kind, report: Report) {
        if self.open.contains_key(kind) {
            drift.note(kind, report);
        }
    }

    /// Opens and closes watches until they are those that `drift` asks for.
    fn keep(&mut self, drift: &Drift) {
        let kinds = drift.state().kinds().clone();
        self.open.retain(|kind, _| kinds.contains(kind));
        drift.health().watch_only(&kinds);
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
    kind: Kind,
    ended: oneshot::Receiver<()>,
) -> BoxStream<'static, (Kind, Report)> {
    let (group, version, name) = &kind;
    let resource = object::resource(group, version, name);
    if is_workload(group, name) {
        let fitness = |kind: &str, object: &DynamicObject| Some(ready::fitness(kind, &object.data));
        reports(Api::all_with(client, &resource), kind, ended, fitness)
    } else {
        reports(Api::<Metadata>::all_with(client, &resource), kind, ended, |_, _| None)
    }
}

/// What happens to the objects of one kind; `fitness` tells how one of a kind fares, if it can.
fn reports<K>(
    api: Api<K>,
    kind: Kind,
    ended: oneshot::Receiver<()>,
    fitness: fn(&str, &K) -> Option<Fitness>,
) -> BoxStream<'static, (Kind, Report)>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().labels(MODULE_SELECTOR).page_size(PAGE);
    streamed(api, config)
        .default_backoff()
        .take_until(ended)
        .flat_map(move |event| {
            let reports = report(&kind, event, fitness).into_iter();
            stream::iter(reports.map(|report| (kind.clone(), report)).collect::<Vec<_>>())
        })
        .boxed()
}

fn report<K: Resource>(
    kind: &Kind,
    event: Result<watcher::Event<K>, watcher::Error>,
    fitness: fn(&str, &K) -> Option<Fitness>,
) -> Vec<Report> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Ok(Init) => vec![Report::Restarted],
        Ok(InitApply(object) | Apply(object)) => is(kind, object.meta(), fitness(&kind.2, &object)),
        Ok(InitDone) => vec![Report::Listed],
        Ok(Delete(object)) => vec![Report::Gone(identity(kind, object.meta()))],
        Err(error) if is_not_served(&error) => vec![Report::Unknown],
        Err(error) => {
            tracing::debug!(%error, kind = kind.2, "watch interrupted, opening it again");
            Vec::new()
        }
    }
}

/// What is on its way out is no news: it will be when it is gone. How a workload fares that is not ours is none either.
fn is(kind: &Kind, metadata: &ObjectMeta, fitness: Option<Fitness>) -> Vec<Report> {
    if metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let id = identity(kind, metadata);
    let seen = Seen::of(&kind.2, metadata);
    let fares = fitness.filter(|_| seen.entry.is_some()).map(|fitness| Report::Fares(id.clone(), fitness));
    [Report::Is(id, seen)].into_iter().chain(fares).collect()
}

fn identity((group, version, kind): &Kind, metadata: &ObjectMeta) -> ObjectId {
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
    async fn a_workload_whose_watch_is_closed_is_not_ill_any_more() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (_, announced) = watch::channel(());
        let drift = Drift {
            state: Arc::default(),
            health: Arc::default(),
            changed: Arc::default(),
            listed: Arc::default(),
            announced,
        };
        let mut watches = Watches { client, open: BTreeMap::new(), reports: SelectAll::new() };
        let kind: Kind = ("apps".into(), "v1".into(), "DaemonSet".into());
        let metadata = ObjectMeta { name: Some("istio-cni-node".into()), ..ObjectMeta::default() };
        let is_down = || Report::Fares(identity(&kind, &metadata), Fitness::Down("0 of 2".into()));
        let ailing = || drift.health().ailing(Instant::now() + LISTING).len();

        drift.state().need(&BTreeSet::from([kind.clone()]));
        watches.keep(&drift);
        watches.pass_on(&drift, &kind, is_down());
        assert_eq!(ailing(), 1);
        // The last one of the kind was pruned.
        drift.state().expect(BTreeMap::new());
        watches.keep(&drift);
        assert_eq!(ailing(), 0);
        watches.pass_on(&drift, &kind, is_down());
        assert_eq!(ailing(), 0, "the closed watch still had something to say");
    }
}
