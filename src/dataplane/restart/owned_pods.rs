//! The pods of one owner: listed once, then watched. Only what evictions depend on is kept of each pod.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use tokio::time::Instant;

use crate::dataplane::model::{ObjectCondition, Pod};
use crate::dataplane::requests::{self, Pages, is_transient};
use crate::kubernetes::object;

/// Delay before a failed request is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

type PodEvents = BoxStream<'static, Result<WatchEvent<Pod>, kube::Error>>;

/// One of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is to be evicted.
    pub needs_eviction: bool,
}

/// The pods of one owner.
pub struct OwnedPods<'a> {
    client: Client,
    namespace: String,
    owner: String,
    needs_eviction: Box<dyn Fn(&Pod) -> bool + Send + Sync + 'a>,
    pods: BTreeMap<String, OwnedPod>,
    /// `None` until the pods are listed, and again if events may have been missed.
    events: Option<PodEvents>,
}

impl<'a> OwnedPods<'a> {
    /// The pods in `namespace` that the object with the UID `owner` controls; none until [`Self::sync`] is called.
    pub fn new(
        client: Client,
        namespace: String,
        owner: String,
        needs_eviction: impl Fn(&Pod) -> bool + Send + Sync + 'a,
    ) -> Self {
        Self {
            client,
            namespace,
            owner,
            needs_eviction: Box::new(needs_eviction),
            pods: BTreeMap::new(),
            events: None,
        }
    }

    /// The pod that is evicted next. Pods that are not ready go first, because they serve nobody.
    #[must_use]
    pub fn next_to_evict(&self) -> Option<&OwnedPod> {
        let to_evict = || self.pods.values().filter(|pod| pod.needs_eviction);
        to_evict().find(|pod| !pod.ready).or_else(|| to_evict().next())
    }

    /// Whether a pod exists and is not terminating.
    #[must_use]
    pub fn contains(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// The number of ready pods.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.pods.values().filter(|pod| pod.ready).count()
    }

    /// Lists the pods, unless a watch keeps them up to date.
    ///
    /// Watches end after some minutes, and API servers are unreachable at times; that is no failure of the restart. The list is
    /// retried until `end`.
    pub async fn sync(&mut self, end: Instant) -> Result<(), kube::Error> {
        while self.events.is_none() {
            match self.try_sync().await {
                Err(error) if is_retryable(&error) && Instant::now() < end => {}
                answer => return answer,
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        Ok(())
    }

    async fn try_sync(&mut self) -> Result<(), kube::Error> {
        let resource = object::resource("", "v1", "Pod");
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        // Without the selector of injected pods: during an uninstall, replacements lack its label.
        let mut pages = Pages::new(&client, &resource, Some(&namespace));
        self.pods.clear();
        while pages.next(|pod, _| self.apply_pod(&pod)).await? {}
        let params = WatchParams::default();
        let version = &pages.resource_version;
        let events = requests::watch(&client, &resource, Some(&namespace), &params, version).await?;
        self.events = Some(events.boxed());
        Ok(())
    }

    /// Waits for an event. If events may have been missed, the pods have to be listed again.
    pub async fn next_change(&mut self) {
        let Some(events) = &mut self.events else { return };
        match events.next().await {
            Some(Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod))) => self.apply_pod(&pod),
            Some(Ok(WatchEvent::Deleted(pod))) => {
                self.pods.remove(&pod.metadata.uid);
            }
            Some(Ok(WatchEvent::Bookmark(_))) => {}
            Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => self.events = None,
        }
    }

    fn apply_pod(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        if meta.controller().is_none_or(|owner| owner.uid != self.owner) {
            return;
        }
        if meta.deletion_timestamp.is_some() {
            self.pods.remove(&meta.uid);
            return;
        }
        let ready = |condition: &ObjectCondition| condition.type_ == "Ready" && condition.status == "True";
        let owned = OwnedPod {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            ready: pod.status.conditions.iter().any(ready),
            needs_eviction: (self.needs_eviction)(pod),
        };
        self.pods.insert(owned.uid.clone(), owned);
    }
}

fn is_retryable(error: &kube::Error) -> bool {
    // The resource version expired during the list or before the watch.
    let is_expired = matches!(error, kube::Error::Api(status) if status.code == 410);
    is_expired || is_transient(error)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn owned_pods() -> OwnedPods<'static> {
        let client = Client::new(tower::service_fn(unreachable), "default");
        let needs_eviction = |pod: &Pod| pod.metadata.labels.contains_key("due");
        OwnedPods::new(client, "shop".to_owned(), "set".to_owned(), needs_eviction)
    }

    async fn unreachable(
        _: http::Request<kube::client::Body>,
    ) -> Result<http::Response<kube::client::Body>, std::io::Error> {
        Err(std::io::ErrorKind::NotConnected.into())
    }

    fn pod(uid: &str, ready: &str, change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": uid, "uid": uid, "labels": {"due": ""}, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": "set", "controller": true}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        change(&mut pod);
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    #[tokio::test]
    async fn only_pods_of_the_owner_that_are_not_terminating_count() {
        let mut pods = owned_pods();
        pods.apply_pod(&pod("a", "True", |_| {}));
        pods.apply_pod(&pod("b", "False", |_| {}));
        pods.apply_pod(&pod("c", "True", |pod| {
            pod["metadata"]["ownerReferences"][0]["uid"] = json!("other");
        }));
        assert_eq!((pods.ready_count(), pods.contains("b"), pods.contains("c")), (1, true, false));
        pods.apply_pod(&pod("a", "True", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }));
        assert_eq!((pods.ready_count(), pods.contains("a")), (0, false));
    }

    #[tokio::test]
    async fn pods_that_are_not_ready_are_replaced_first() {
        let next = |pods: &OwnedPods<'_>| pods.next_to_evict().map(|pod| pod.name.clone());
        let mut pods = owned_pods();
        pods.apply_pod(&pod("a", "True", |_| {}));
        pods.apply_pod(&pod("b", "False", |pod| pod["metadata"]["labels"] = json!({})));
        pods.apply_pod(&pod("c", "False", |_| {}));
        assert_eq!(next(&pods).as_deref(), Some("c"));
        pods.apply_pod(&pod("c", "True", |_| {}));
        assert_eq!(next(&pods).as_deref(), Some("a"));
    }
}
