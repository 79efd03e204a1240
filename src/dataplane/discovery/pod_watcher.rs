//! Watches the pods of the mesh between two scans, checks each one as it arrives and drops it. It only reports that a scan is
//! due.

use std::collections::HashSet;

use futures::stream::{BoxStream, StreamExt};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use kube::runtime::watcher::DefaultBackoff;

use super::mesh::Mesh;
use super::pod::inspect;
use crate::dataplane::model::Pod;
use crate::dataplane::names::INJECTED_SELECTOR;
use crate::dataplane::requests;
use crate::dataplane::workload::owner::{owner_hash, owner_ref};
use crate::kubernetes::object;

/// The watch of the pods.
pub struct PodWatcher {
    client: Client,
    mesh: Option<Mesh>,
    resource_version: String,
    reported_owners: HashSet<u64>,
}

impl PodWatcher {
    /// Does not watch yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, mesh: None, resource_version: String::new(), reported_owners: HashSet::new() }
    }

    /// Watches the pods from the resource version of the last scan on.
    pub fn watch_from(&mut self, mesh: &Mesh, version: String) {
        self.mesh = Some(mesh.clone());
        self.resource_version = version;
        self.reported_owners.clear();
    }

    /// Waits for a pod that may be outdated and whose owner is not in `known_stale`, or until events may have been missed.
    pub async fn wait_for_candidate(&mut self, known_stale: &HashSet<u64>) {
        let Some(mesh) = self.mesh.clone() else { return std::future::pending().await };
        let mut backoff = DefaultBackoff::default();
        loop {
            let Some(mut events) = self.open_watch(&mut backoff).await else { return };
            while let Some(event) = events.next().await {
                match event {
                    Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                        self.resource_version.clone_from(&pod.metadata.resource_version);
                        if self.is_new_candidate(&pod, &mesh, known_stale) {
                            return;
                        }
                    }
                    Ok(WatchEvent::Deleted(pod)) => {
                        self.resource_version.clone_from(&pod.metadata.resource_version);
                    }
                    Ok(WatchEvent::Bookmark(bookmark)) => {
                        self.resource_version = bookmark.metadata.resource_version;
                    }
                    // The next scan skips pods of this size, too.
                    Err(error) if requests::is_too_large(&error) => {}
                    // The resource version has expired: a scan finds what was missed.
                    Ok(WatchEvent::Error(_)) => return,
                    Err(_) => break,
                }
            }
            tokio::time::sleep(backoff.next().unwrap_or_default()).await;
        }
    }

    async fn open_watch(
        &self,
        backoff: &mut DefaultBackoff,
    ) -> Option<BoxStream<'static, Result<WatchEvent<Pod>, kube::Error>>> {
        let params = WatchParams::default().labels(INJECTED_SELECTOR);
        let resource = object::resource("", "v1", "Pod");
        loop {
            match requests::watch::<Pod>(&self.client, &resource, None, &params, &self.resource_version).await
            {
                Ok(events) => return Some(events.boxed()),
                Err(kube::Error::Api(status)) if status.code == 410 => return None,
                Err(error) => tracing::debug!(%error, "failed to watch pods"),
            }
            tokio::time::sleep(backoff.next().unwrap_or_default()).await;
        }
    }

    /// Each owner triggers one scan, which then decides.
    fn is_new_candidate(&mut self, pod: &Pod, mesh: &Mesh, known_stale: &HashSet<u64>) -> bool {
        let Some((_, reasons)) = inspect(pod, mesh) else { return false };
        let owner = owner_hash(&owner_ref(&pod.metadata));
        !reasons.is_empty() && !known_stale.contains(&owner) && self.reported_owners.insert(owner)
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
    async fn watches_that_end_at_once_are_reopened_with_growing_delays() {
        let watches = Arc::new(AtomicUsize::new(0));
        let counter = watches.clone();
        let answer = move |_: Request<Body>| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Response::builder().body(Body::empty()))
        };
        let mut watcher = PodWatcher::new(Client::new(tower::service_fn(answer), "default"));
        watcher.watch_from(&mesh(), "1".to_owned());
        let hour = Duration::from_secs(3600);
        let ended = tokio::time::timeout(hour, watcher.wait_for_candidate(&HashSet::new())).await;
        assert!(ended.is_err(), "a scan is due");
        let watches = watches.load(Ordering::Relaxed);
        assert!((60..=130).contains(&watches), "{watches} watches");
    }
}
