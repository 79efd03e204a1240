//! Watches the pods of the mesh between two looks, judges each as it comes and drops it. Only tells that a look is due.

use std::collections::HashSet;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;

use super::mesh::Mesh;
use super::owner::{claim, owner_hash};
use super::pod::look;
use crate::dataplane::names::INJECTED_SELECTOR;
use crate::dataplane::objects::Pod;
use crate::dataplane::requests;

/// How long to wait before a watch is opened anew.
const PAUSE: Duration = Duration::from_secs(5);

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
        loop {
            let Some(mut events) = self.open().await else { return };
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
                    // The version is too old: a look tells what was missed.
                    Ok(WatchEvent::Error(_)) => return,
                    Err(_) => break,
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn open(&self) -> Option<BoxStream<'static, Result<WatchEvent<Pod>, kube::Error>>> {
        let params = WatchParams::default().labels(INJECTED_SELECTOR);
        let resource = requests::resource("", "v1", "Pod");
        loop {
            match requests::watch::<Pod>(&self.client, &resource, None, &params, &self.version).await {
                Ok(events) => return Some(events.boxed()),
                Err(kube::Error::Api(status)) if status.code == 410 => return None,
                Err(error) => tracing::debug!(%error, "cannot watch pods"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Each owner makes a look due once; what it is found to be then is up to the look.
    fn is_suspicious(&mut self, pod: &Pod, mesh: &Mesh, revisit: &HashSet<u64>) -> bool {
        let Some((_, suspicions)) = look(pod, mesh) else { return false };
        let owner = owner_hash(&claim(&pod.metadata));
        !suspicions.is_empty() && !revisit.contains(&owner) && self.known.insert(owner)
    }
}
