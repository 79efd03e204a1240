//! Watches the pods of the mesh between two looks, judges each as it comes and drops it. Only tells that a look is due.

use std::collections::HashSet;

use futures::stream::{BoxStream, StreamExt};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use kube::runtime::watcher::DefaultBackoff;

use super::mesh::Mesh;
use super::owner::{claim, owner_hash};
use super::pod::look;
use crate::dataplane::names::INJECTED_SELECTOR;
use crate::dataplane::objects::Pod;
use crate::dataplane::requests;
use crate::object;

/// The watch.
pub struct Newcomers {
    client: Client,
    mesh: Option<Mesh>,
    version: String,
    known: HashSet<u64>,
}

impl Newcomers {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, mesh: None, version: String::new(), known: HashSet::new() }
    }

    /// Follows the pods from the version of the last look on.
    pub fn follow(&mut self, mesh: &Mesh, version: String) {
        self.mesh = Some(mesh.clone());
        self.version = version;
        self.known.clear();
    }

    /// Ends when a pod looks outdated whose owner is not in `revisit`, or when pods may have been missed.
    pub async fn suspicious(&mut self, revisit: &HashSet<u64>) {
        let Some(mesh) = self.mesh.clone() else { return std::future::pending().await };
        let mut pauses = DefaultBackoff::default();
        loop {
            let Some(mut events) = self.open(&mut pauses).await else { return };
            while let Some(event) = events.next().await {
                match event {
                    Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                        self.version.clone_from(&pod.metadata.resource_version);
                        if self.is_suspicious(&pod, &mesh, revisit) {
                            return;
                        }
                    }
                    Ok(WatchEvent::Deleted(pod)) => self.version.clone_from(&pod.metadata.resource_version),
                    Ok(WatchEvent::Bookmark(bookmark)) => self.version = bookmark.metadata.resource_version,
                    // Whatever it is, no proxy was injected into a pod of this size lately; a look tells.
                    Err(error) if requests::is_too_large(&error) => {}
                    // The version is too old: a look tells what was missed.
                    Ok(WatchEvent::Error(_)) => return,
                    Err(_) => break,
                }
            }
            tokio::time::sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    async fn open(
        &self,
        pauses: &mut DefaultBackoff,
    ) -> Option<BoxStream<'static, Result<WatchEvent<Pod>, kube::Error>>> {
        let params = WatchParams::default().labels(INJECTED_SELECTOR);
        let resource = object::resource("", "v1", "Pod");
        loop {
            match requests::watch::<Pod>(&self.client, &resource, None, &params, &self.version).await {
                Ok(events) => return Some(events.boxed()),
                Err(kube::Error::Api(status)) if status.code == 410 => return None,
                Err(error) => tracing::debug!(%error, "cannot watch pods"),
            }
            tokio::time::sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Each owner makes a look due once; what it is found to be then is up to the look.
    fn is_suspicious(&mut self, pod: &Pod, mesh: &Mesh, revisit: &HashSet<u64>) -> bool {
        let Some((_, suspicions)) = look(pod, mesh) else { return false };
        let owner = owner_hash(&claim(&pod.metadata));
        !suspicions.is_empty() && !revisit.contains(&owner) && self.known.insert(owner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::dataplane::fixtures::mesh;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_whose_watches_end_at_once_is_asked_ever_more_seldom_and_never_given_up() {
        let watches = Arc::new(AtomicUsize::new(0));
        let counter = watches.clone();
        let answer = move |_: Request<Body>| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Response::builder().body(Body::empty()))
        };
        let mut newcomers = Newcomers::new(Client::new(tower::service_fn(answer), "default"));
        newcomers.follow(&mesh(), "1".to_owned());
        let hour = Duration::from_secs(3600);
        let ended = tokio::time::timeout(hour, newcomers.suspicious(&HashSet::new())).await;
        assert!(ended.is_err(), "a look is due");
        let watches = watches.load(Ordering::Relaxed);
        assert!((60..=130).contains(&watches), "{watches} watches");
    }
}
