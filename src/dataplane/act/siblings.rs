//! The pods of one owner as they are now: listed once, then watched. Of each pod only that is kept on which evictions are
//! decided.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use tokio::time::Instant;

use crate::dataplane::objects::{Condition, Pod};
use crate::dataplane::requests::{self, Pages, is_passing};
use crate::object;

/// How long to wait before a request is made once more.
const PAUSE: Duration = Duration::from_secs(1);

type Events = BoxStream<'static, Result<WatchEvent<Pod>, kube::Error>>;

/// One of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// Its name.
    pub name: String,
    /// Its identity over time.
    pub uid: String,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it is to be replaced.
    pub due: bool,
}

/// The pods of one owner.
pub struct Siblings<'a> {
    client: Client,
    namespace: String,
    owner: String,
    is_due: Box<dyn Fn(&Pod) -> bool + Send + Sync + 'a>,
    pods: BTreeMap<String, Sibling>,
    /// Missing until the pods are listed, and again when something may have been missed.
    events: Option<Events>,
}

impl<'a> Siblings<'a> {
    /// The pods in `namespace` that the object with the UID `owner` controls; none until [`Self::list`] is called.
    pub fn new(
        client: Client,
        namespace: String,
        owner: String,
        is_due: impl Fn(&Pod) -> bool + Send + Sync + 'a,
    ) -> Self {
        Self { client, namespace, owner, is_due: Box::new(is_due), pods: BTreeMap::new(), events: None }
    }

    /// The pod that is replaced next: one that does not serve first, since nobody misses it.
    #[must_use]
    pub fn next_due(&self) -> Option<&Sibling> {
        let due = || self.pods.values().filter(|pod| pod.due);
        due().find(|pod| !pod.ready).or_else(|| due().next())
    }

    /// Whether a pod is still there and is not going.
    #[must_use]
    pub fn contains(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// How many serve.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.pods.values().filter(|pod| pod.ready).count()
    }

    /// Lists the pods, unless a watch keeps them as they are.
    ///
    /// A watch ends after some minutes, and now and then with an error; that says nothing about the pods. Nor does an API
    /// server that cannot be reached for a while: it is asked again until `end`.
    pub async fn list(&mut self, end: Instant) -> Result<(), kube::Error> {
        while self.events.is_none() {
            match self.try_list().await {
                Err(error) if is_worth_another(&error) && Instant::now() < end => {}
                answer => return answer,
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn try_list(&mut self) -> Result<(), kube::Error> {
        let resource = object::resource("", "v1", "Pod");
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        // Not by the label of injection: while Istio is removed, replacements do not have it.
        let mut pages = Pages::new(&client, &resource, Some(&namespace));
        self.pods.clear();
        while pages.next(|pod, _| self.take(&pod)).await? {}
        let params = WatchParams::default();
        let version = &pages.version;
        let events = requests::watch(&client, &resource, Some(&namespace), &params, version).await?;
        self.events = Some(events.boxed());
        Ok(())
    }

    /// Waits for an event. After one that tells of no pod, the pods have to be listed anew.
    pub async fn changed(&mut self) {
        let Some(events) = &mut self.events else { return };
        match events.next().await {
            Some(Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod))) => self.take(&pod),
            Some(Ok(WatchEvent::Deleted(pod))) => {
                self.pods.remove(&pod.metadata.uid);
            }
            Some(Ok(WatchEvent::Bookmark(_))) => {}
            Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => self.events = None,
        }
    }

    fn take(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        if meta.controller().is_none_or(|owner| owner.uid != self.owner) {
            return;
        }
        if meta.deletion_timestamp.is_some() {
            self.pods.remove(&meta.uid);
            return;
        }
        let ready = |condition: &Condition| condition.type_ == "Ready" && condition.status == "True";
        let sibling = Sibling {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            ready: pod.status.conditions.iter().any(ready),
            due: (self.is_due)(pod),
        };
        self.pods.insert(sibling.uid.clone(), sibling);
    }
}

fn is_worth_another(error: &kube::Error) -> bool {
    // The list or its version expired, while it was read or before it was watched.
    let is_expired = matches!(error, kube::Error::Api(status) if status.code == 410);
    is_expired || is_passing(error)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn siblings() -> Siblings<'static> {
        let client = Client::new(tower::service_fn(unreachable), "default");
        let due = |pod: &Pod| pod.metadata.labels.contains_key("due");
        Siblings::new(client, "shop".to_owned(), "set".to_owned(), due)
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
    async fn only_pods_of_the_owner_that_do_not_go_count() {
        let mut siblings = siblings();
        siblings.take(&pod("a", "True", |_| {}));
        siblings.take(&pod("b", "False", |_| {}));
        siblings.take(&pod("c", "True", |pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("other")));
        assert_eq!((siblings.ready(), siblings.contains("b"), siblings.contains("c")), (1, true, false));
        siblings.take(&pod("a", "True", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }));
        assert_eq!((siblings.ready(), siblings.contains("a")), (0, false));
    }

    #[tokio::test]
    async fn what_does_not_serve_is_replaced_first() {
        let next = |siblings: &Siblings<'_>| siblings.next_due().map(|pod| pod.name.clone());
        let mut siblings = siblings();
        siblings.take(&pod("a", "True", |_| {}));
        siblings.take(&pod("b", "False", |pod| pod["metadata"]["labels"] = json!({})));
        siblings.take(&pod("c", "False", |_| {}));
        assert_eq!(next(&siblings).as_deref(), Some("c"));
        siblings.take(&pod("c", "True", |_| {}));
        assert_eq!(next(&siblings).as_deref(), Some("a"));
    }
}
