//! Follows the rollouts that were begun: one watch for each kind, from the version of its first restart on. What the
//! watches tell about other workloads is dropped.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use futures::stream::{BoxStream, SelectAll, StreamExt};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use serde::Deserialize;

use crate::dataplane::decide::rollout::{Rollout, rollout};
use crate::dataplane::kind::Kind;
use crate::dataplane::objects::{Meta, Workload, WorkloadSpec, WorkloadStatus};
use crate::dataplane::requests;
use crate::object::ObjectId;

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

/// Follows rollouts.
pub struct Follow {
    client: Client,
    watches: SelectAll<BoxStream<'static, Event>>,
    versions: BTreeMap<Kind, String>,
    broken: Vec<Kind>,
    followed: HashMap<String, Followed>,
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
            watches: SelectAll::new(),
            versions: BTreeMap::new(),
            broken: Vec::new(),
            followed: HashMap::new(),
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
        if let Entry::Vacant(entry) = self.versions.entry(kind) {
            entry.insert(version.to_owned());
            self.open(kind, workload, version).await;
        }
    }

    async fn open(&mut self, kind: Kind, any: &ObjectId, version: &str) {
        let (resource, params) = (any.api_resource(), WatchParams::default());
        match requests::watch::<Seen>(&self.client, &resource, None, &params, version).await {
            Ok(events) => {
                let events = events.map(move |event| (kind, event));
                // The end of a watch is an event, too: the API server ends each after some minutes.
                let end = futures::stream::once(async move {
                    (kind, Err(kube::Error::ReadEvents(std::io::ErrorKind::UnexpectedEof.into())))
                });
                self.watches.push(events.chain(end).boxed());
            }
            Err(error) => {
                tracing::debug!(%error, ?kind, "cannot watch");
                self.broken.push(kind);
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
            let Some((kind, event)) = self.watches.next().await else { return std::future::pending().await };
            if let Some(sight) = self.take(kind, event) {
                return sight;
            }
        }
    }

    fn take(&mut self, kind: Kind, event: Result<WatchEvent<Seen>, kube::Error>) -> Option<(usize, Sight)> {
        match event {
            Ok(WatchEvent::Added(workload) | WatchEvent::Modified(workload)) => {
                self.versions.insert(kind, workload.metadata.resource_version.clone());
                let followed = self.followed.get(&workload.metadata.uid)?;
                Some((followed.id, sight(followed, &workload.into())))
            }
            Ok(WatchEvent::Deleted(workload)) => {
                Some((self.followed.get(&workload.metadata.uid)?.id, Sight::Gone))
            }
            Ok(WatchEvent::Bookmark(bookmark)) => {
                self.versions.insert(kind, bookmark.metadata.resource_version);
                None
            }
            Ok(WatchEvent::Error(_)) | Err(_) => {
                if !self.broken.contains(&kind) {
                    self.broken.push(kind);
                }
                None
            }
        }
    }

    /// Opens broken watches anew; first reads what is followed, since events may have been lost.
    pub async fn mend(&mut self) -> Vec<(usize, Sight)> {
        let mut sights = Vec::new();
        for kind in std::mem::take(&mut self.broken) {
            let followed: Vec<(String, Followed)> = self
                .followed
                .iter()
                .filter(|(_, followed)| followed.kind == kind)
                .map(|(uid, followed)| (uid.clone(), followed.clone()))
                .collect();
            let Some((_, first)) = followed.first().cloned() else {
                self.versions.remove(&kind);
                continue;
            };
            let (mut version, mut is_blind) = (None, false);
            for (uid, followed) in followed {
                match requests::get::<Seen>(&self.client, &followed.workload).await {
                    Ok(Some(workload)) if workload.metadata.uid == uid => {
                        version.get_or_insert_with(|| workload.metadata.resource_version.clone());
                        sights.push((followed.id, sight(&followed, &workload.into())));
                    }
                    Ok(_) => sights.push((followed.id, Sight::Gone)),
                    Err(error) => {
                        is_blind = true;
                        tracing::debug!(%error, workload = %followed.workload, "cannot read");
                    }
                }
            }
            match version {
                // Newer states of the others come once more, and do no harm. The end of a rollout that could not be read may be
                // older, and would never come.
                Some(version) if !is_blind => self.open(kind, &first.workload, &version).await,
                _ => self.broken.push(kind),
            }
        }
        sights
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::dataplane::fixtures::finding;

    /// An API server whose watches fail at first, as does the first read of `b`; both rollouts are complete.
    fn client() -> Client {
        let (watches, reads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let answer = move |request: Request<Body>| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let is_b = request.uri().path().ends_with("/b");
            let is_first = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed) == 0;
            let code = if is_watch && is_first(&watches) || is_b && is_first(&reads) { 503 } else { 200 };
            let object = match (code, is_watch) {
                (200, true) => String::new(),
                (200, false) => json!({
                    "metadata": {"uid": if is_b { "b" } else { "a" }, "generation": 1, "resourceVersion": "9"},
                    "spec": {"replicas": 1},
                    "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
                })
                .to_string(),
                _ => json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "no", "reason": "No", "code": code})
                .to_string(),
            };
            std::future::ready(Response::builder().status(code).body(Body::from(object.into_bytes())))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn the_end_of_a_rollout_that_could_not_be_read_is_not_missed() {
        let mut follow = Follow::new(client());
        for (id, name) in ["a", "b"].into_iter().enumerate() {
            follow.add(id, Kind::Deployment, &finding(name).workload, name, 1, "1").await;
        }
        assert_eq!(follow.mend().await, [(0, Sight::At(Rollout::Complete))]);
        assert!(follow.mend().await.contains(&(1, Sight::At(Rollout::Complete))));
    }
}
