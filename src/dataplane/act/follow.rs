//! Follows the rollouts that were begun: one watch for each kind, from the version of its first restart on. What the
//! watches tell about other workloads is dropped.

use futures::stream::{BoxStream, SelectAll, StreamExt};
use kube::Client;
use kube::core::WatchEvent;
use kube::runtime::watcher::DefaultBackoff;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::time::Instant;

use crate::dataplane::decide::rollout::{Rollout, rollout};
use crate::dataplane::kind::Kind;
use crate::dataplane::objects::{Meta, Workload, WorkloadSpec, WorkloadStatus};
use crate::dataplane::requests::{self, is_passing};
use crate::object::ObjectId;
use crate::telemetry::one_line;

type Event = (Kind, Result<WatchEvent<Seen>, kube::Error>);

/// What tells how far a rollout is. All changes of all workloads of a kind come by here, so that the rest of them,
/// templates above all, is skipped while reading.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Seen {
    metadata: SeenMeta,
    spec: SeenSpec,
    status: WorkloadStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SeenMeta {
    uid: String,
    resource_version: String,
    generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SeenSpec {
    replicas: Option<i64>,
}

impl From<Seen> for Workload {
    fn from(Seen { metadata, spec, status }: Seen) -> Self {
        let SeenMeta { uid, resource_version, generation } = metadata;
        Self {
            metadata: Meta { uid, resource_version, generation, ..Meta::default() },
            spec: WorkloadSpec { replicas: spec.replicas, ..WorkloadSpec::default() },
            status,
        }
    }
}

/// A rollout that is followed.
#[derive(Clone, Debug)]
struct Followed {
    id: usize,
    kind: Kind,
    workload: ObjectId,
    generation: i64,
}

/// The watch of one kind, or the reads of what could not be read.
#[derive(Default)]
struct Repeat {
    /// When it is to be tried again, if it failed.
    due: Option<Instant>,
    /// What fails again and again is tried ever more seldom: for a watch, each time all that is followed is read.
    pauses: DefaultBackoff,
}

impl Repeat {
    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Notes that it failed; no matter how often that is told.
    fn failed(&mut self) {
        if self.due.is_none() {
            self.due = Some(Instant::now() + self.pauses.next().unwrap_or_default());
        }
    }
}

/// Follows rollouts.
pub struct Follow {
    client: Client,
    events: SelectAll<BoxStream<'static, Event>>,
    watches: BTreeMap<Kind, Repeat>,
    followed: HashMap<String, Followed>,
    /// What is followed and could not be read, by UID.
    unread: VecDeque<String>,
    reads: Repeat,
}

/// What became of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Its rollout, as it now is.
    At(Rollout),
    /// It is gone.
    Gone,
}

impl Follow {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            events: SelectAll::new(),
            watches: BTreeMap::new(),
            followed: HashMap::new(),
            unread: VecDeque::new(),
            reads: Repeat::default(),
        }
    }

    /// Follows a rollout that was stored with `generation` under `version`.
    pub async fn add(
        &mut self,
        id: usize,
        kind: Kind,
        workload: &ObjectId,
        uid: &str,
        generation: i64,
        version: &str,
    ) {
        let followed = Followed { id, kind, workload: workload.clone(), generation };
        self.followed.insert(uid.to_owned(), followed);
        if !self.watches.contains_key(&kind) {
            self.open(kind, workload, version).await;
        }
    }

    async fn open(&mut self, kind: Kind, any: &ObjectId, version: &str) {
        match requests::watch_coalesced::<Seen>(&self.client, &any.api_resource(), version).await {
            Ok(events) => {
                let events = events.map(move |event| (kind, event));
                // The end of a watch is an event, too: the API server ends each after some minutes.
                let end = futures::stream::once(async move {
                    (kind, Err(kube::Error::ReadEvents(std::io::ErrorKind::UnexpectedEof.into())))
                });
                self.events.push(events.chain(end).boxed());
                self.watches.entry(kind).or_default().due = None;
            }
            Err(error) => {
                tracing::debug!(%error, ?kind, "cannot watch");
                self.watches.entry(kind).or_default().failed();
            }
        }
    }

    /// Forgets a rollout.
    pub fn remove(&mut self, uid: &str) {
        self.followed.remove(uid);
    }

    /// The next sight of a followed workload; pending while nothing happens.
    pub async fn next(&mut self) -> (usize, Sight) {
        loop {
            let Some((kind, event)) = self.events.next().await else { return std::future::pending().await };
            if let Some(sight) = self.take(kind, event) {
                return sight;
            }
        }
    }

    fn take(&mut self, kind: Kind, event: Result<WatchEvent<Seen>, kube::Error>) -> Option<(usize, Sight)> {
        match event {
            Ok(WatchEvent::Added(workload) | WatchEvent::Modified(workload)) => {
                let followed = self.followed.get(&workload.metadata.uid)?;
                Some((followed.id, sight(followed, &workload.into())))
            }
            Ok(WatchEvent::Deleted(workload)) => {
                Some((self.followed.get(&workload.metadata.uid)?.id, Sight::Gone))
            }
            Ok(WatchEvent::Bookmark(_)) => None,
            // Anybody may write such a workload; if it is one that is followed, it is read when its time is over.
            Err(error) if requests::is_too_large(&error) => None,
            Ok(WatchEvent::Error(_)) | Err(_) => {
                self.watches.entry(kind).or_default().failed();
                None
            }
        }
    }

    /// Reads again what could not be read, and opens broken watches anew, each after a pause; first reads what these follow,
    /// since events may have been lost.
    pub async fn mend(&mut self) -> Vec<(usize, Sight)> {
        let mut sights = Vec::new();
        if self.reads.is_due() {
            self.reads.due = None;
            let unread = std::mem::take(&mut self.unread);
            sights.extend(self.read_all(unread).await.0);
        }
        let due: Vec<Kind> =
            self.watches.iter().filter(|(_, watch)| watch.is_due()).map(|(kind, _)| *kind).collect();
        for kind in due {
            sights.extend(self.mend_one(kind).await);
        }
        sights
    }

    /// A followed workload as it is now: what its watch tells may have begun too late for it. If it cannot be read, it is
    /// read again by [`Follow::mend`].
    pub async fn look(&mut self, uid: &str) -> Option<(usize, Sight)> {
        self.read_all(VecDeque::from([uid.to_owned()])).await.0.pop()
    }

    async fn mend_one(&mut self, kind: Kind) -> Vec<(usize, Sight)> {
        let of_kind = self.followed.iter().filter(|(_, followed)| followed.kind == kind);
        let (uids, workloads): (VecDeque<_>, Vec<_>) =
            of_kind.map(|(uid, followed)| (uid.clone(), followed.workload.clone())).unzip();
        let Some(any) = workloads.first() else {
            self.watches.remove(&kind);
            return Vec::new();
        };
        let (sights, version) = self.read_all(uids).await;
        let watch = self.watches.entry(kind).or_default();
        watch.due = None;
        match version {
            // Newer states of the others come once more, and do no harm.
            Some(version) => self.open(kind, any, &version).await,
            None => watch.failed(),
        }
        sights
    }

    /// Reads followed workloads up to the first that cannot be read now, since the others could not be either; and the version
    /// of one of them, from which nothing of the others is missed.
    async fn read_all(&mut self, mut uids: VecDeque<String>) -> (Vec<(usize, Sight)>, Option<String>) {
        let (mut sights, mut version) = (Vec::new(), None);
        while let Some(uid) = uids.pop_front() {
            let Some(followed) = self.followed.get(&uid) else { continue };
            let Some((sight, read)) = read(&self.client, &uid, followed).await else {
                // The last of the next round, so that it is in nobody's way if it is the only one.
                uids.push_back(uid);
                break;
            };
            version = version.or(read);
            sights.push((followed.id, sight));
        }
        uids.retain(|uid| !self.unread.contains(uid));
        self.unread.extend(uids);
        if self.unread.is_empty() {
            self.reads = Repeat::default();
        } else {
            self.reads.failed();
        }
        (sights, version)
    }
}

/// A followed workload and its version, if it still has one; `None` if it cannot be read for now.
async fn read(client: &Client, uid: &str, followed: &Followed) -> Option<(Sight, Option<String>)> {
    match requests::get::<Seen>(client, &followed.workload).await {
        Ok(Some(workload)) if workload.metadata.uid == uid => {
            let version = workload.metadata.resource_version.clone();
            Some((sight(followed, &workload.into()), Some(version)))
        }
        Ok(_) => Some((Sight::Gone, None)),
        Err(error) if is_passing(&error) => {
            tracing::debug!(%error, workload = %followed.workload, "cannot read");
            None
        }
        Err(error) => {
            Some((Sight::At(Rollout::UnderWay(format!("it cannot be read: {}", one_line(&error)))), None))
        }
    }
}

fn sight(followed: &Followed, workload: &Workload) -> Sight {
    if workload.metadata.generation < followed.generation {
        return Sight::At(Rollout::UnderWay("an older state".to_owned()));
    }
    Sight::At(rollout(followed.kind, workload))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::dataplane::fixtures::finding;

    const MINUTE: Duration = Duration::from_secs(60);

    /// An API server that fails the first read of `b`; both rollouts are complete.
    struct Server {
        /// Watches fail at first and then end at once; else they stay open.
        breaks: bool,
        watches: AtomicUsize,
        reads: AtomicUsize,
        reads_of_b: AtomicUsize,
    }

    /// The body of an answer.
    enum Answer {
        Text(String),
        End,
        /// A watch that tells nothing.
        Silence,
    }

    impl http_body::Body for Answer {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            match std::mem::replace(&mut *self, Self::End) {
                Self::Text(text) => Poll::Ready(Some(Ok(http_body::Frame::data(text.into())))),
                Self::End => Poll::Ready(None),
                Self::Silence => {
                    *self = Self::Silence;
                    Poll::Pending
                }
            }
        }
    }

    impl Server {
        fn client(breaks: bool) -> (Client, Arc<Self>) {
            let counter = AtomicUsize::default;
            let server = Self { breaks, watches: counter(), reads: counter(), reads_of_b: counter() };
            let server = Arc::new(server);
            let answering = server.clone();
            let answer = move |request: Request<Body>| std::future::ready(answering.answer(&request));
            (Client::new(tower::service_fn(answer), "default"), server)
        }

        fn answer(&self, request: &Request<Body>) -> Result<Response<Answer>, http::Error> {
            let is_first = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed) == 0;
            if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                let is_first = is_first(&self.watches);
                return match self.breaks {
                    true if is_first => Self::failure(),
                    true => Response::builder().body(Answer::End),
                    false => Response::builder().body(Answer::Silence),
                };
            }
            self.reads.fetch_add(1, Ordering::Relaxed);
            let is_b = request.uri().path().ends_with("/b");
            if is_b && is_first(&self.reads_of_b) {
                return Self::failure();
            }
            let workload = json!({
                "metadata": {"uid": if is_b { "b" } else { "a" }, "generation": 1, "resourceVersion": "9"},
                "spec": {"replicas": 1},
                "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            });
            Response::builder().body(Answer::Text(workload.to_string()))
        }

        fn failure() -> Result<Response<Answer>, http::Error> {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "no", "reason": "No", "code": 503});
            Response::builder().status(503).body(Answer::Text(status.to_string()))
        }
    }

    async fn following(client: Client) -> Follow {
        let mut follow = Follow::new(client);
        for (id, name) in ["a", "b"].into_iter().enumerate() {
            follow.add(id, Kind::Deployment, &finding(name).workload, name, 1, "1").await;
        }
        follow
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_rollout_that_could_not_be_read_is_not_missed() {
        let mut follow = following(Server::client(true).0).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            tokio::time::sleep(MINUTE).await;
            seen.extend(follow.mend().await);
        }
        for id in [0, 1] {
            assert!(seen.contains(&(id, Sight::At(Rollout::Complete))), "{seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollout_that_was_over_before_its_watch_began_is_seen_or_read_again_later() {
        let mut follow = following(Server::client(true).0).await;
        assert_eq!(follow.look("a").await, Some((0, Sight::At(Rollout::Complete))));
        assert_eq!(follow.look("b").await, None, "its first read fails");
        tokio::time::sleep(MINUTE).await;
        assert!(follow.mend().await.contains(&(1, Sight::At(Rollout::Complete))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_is_repeated_and_leaves_the_watch_as_it_is() {
        let (client, server) = Server::client(false);
        let mut follow = following(client).await;
        assert_eq!(follow.look("b").await, None);
        assert_eq!(follow.mend().await, [], "after a pause");
        tokio::time::sleep(MINUTE).await;
        assert_eq!(follow.mend().await, [(1, Sight::At(Rollout::Complete))]);
        tokio::time::sleep(MINUTE).await;
        assert_eq!(follow.mend().await, []);
        assert_eq!(server.watches.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_whose_watches_end_at_once_is_asked_ever_more_seldom_and_never_given_up() {
        let (client, server) = Server::client(true);
        let mut follow = following(client).await;
        let mut in_a_minute = Vec::new();
        for _ in 0..20 {
            let (before, end) = (server.reads.load(Ordering::Relaxed), Instant::now() + MINUTE);
            while Instant::now() < end {
                let _nothing_is_told = tokio::time::timeout(Duration::from_secs(2), follow.next()).await;
                follow.mend().await;
            }
            in_a_minute.push(server.reads.load(Ordering::Relaxed) - before);
        }
        // Two rollouts, each of which is read once for each watch; from one to the next pass 30 s to a minute in the end.
        assert!((8..=2 * 6).contains(&in_a_minute[0]), "{in_a_minute:?}");
        let later: usize = in_a_minute[5..].iter().sum();
        assert!((2 * 14..=2 * 30).contains(&later), "{in_a_minute:?}");
    }
}
