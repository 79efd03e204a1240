//! Replaces the outdated pods of a workload that does not roll out by itself: one is evicted, its replacement awaited,
//! then the next. Pods that are up to date, or came since the evictions began, are left alone.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::act::is_passing;
use super::compare;
use super::finding::Finding;
use super::injected::Injected;
use super::objects::Pod;
use super::requests::{self, PAGE};
use crate::telemetry::one_line;

/// How often pods are looked at while one is awaited.
const LOOK: Duration = Duration::from_secs(1);
/// Requests that meet an API server in trouble are tried so often.
const TRIES: u32 = 4;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// Every outdated pod is replaced.
    All,
    /// Not in time or not allowed, in these words.
    Stopped(String),
}

/// Evicts the outdated pods of `finding` that are not younger than `since` (seconds since the epoch, when the first of
/// these evictions began), until `timeout` passes for one.
pub async fn evict(client: &Client, finding: &Finding, since: i64, timeout: Duration) -> Evicted {
    second_is_over(since).await;
    loop {
        match replace_one(client, finding, since, timeout).await {
            Ok(true) => {}
            Ok(false) => return Evicted::All,
            Err(why) => return Evicted::Stopped(why),
        }
    }
}

/// The age of pods is told in whole seconds: a replacement must not come in the second of the beginning.
async fn second_is_over(since: i64) {
    let passed = Timestamp::now().as_millisecond() - since.saturating_mul(1000);
    let rest = u64::try_from(1000_i64.saturating_sub(passed)).unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(rest.min(1000))).await;
}

/// Replaces one pod; false if none is left to be replaced.
async fn replace_one(
    client: &Client,
    finding: &Finding,
    since: i64,
    timeout: Duration,
) -> Result<bool, String> {
    let end = Instant::now() + timeout;
    let pods = pods(client, finding).await?;
    let Some(old) = pods.iter().find(|pod| is_due(pod, finding.wanted.as_deref(), since)) else {
        return Ok(false);
    };
    if evict_one(client, old, end).await? {
        replaced(client, finding, &old.metadata.uid, end).await?;
    } else {
        // It went, or another has its name.
        tokio::time::sleep(LOOK).await;
    }
    Ok(true)
}

/// Whether a pod is to be evicted. Without `wanted`, while Istio is removed, every proxy is one too many.
fn is_due(pod: &Pod, wanted: Option<&Injected>, since: i64) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref();
    let was_there = created.is_some_and(|created| created.0.as_second() <= since);
    let is_outdated = || match wanted {
        Some(wanted) => !compare::reasons(pod, Some(wanted)).is_empty(),
        None => Injected::of(pod).is_some_and(|injected| injected.proxy().is_some()),
    };
    pod.metadata.deletion_timestamp.is_none() && was_there && is_outdated()
}

/// The pods of the workload, asked for several times if need be.
async fn pods(client: &Client, finding: &Finding) -> Result<Vec<Pod>, String> {
    for _ in 1..TRIES {
        match list(client, finding).await {
            Err(error) if is_passing(&error) => tokio::time::sleep(LOOK).await,
            answer => return answer.map_err(|error| one_line(&error)),
        }
    }
    list(client, finding).await.map_err(|error| one_line(&error))
}

async fn list(client: &Client, finding: &Finding) -> Result<Vec<Pod>, kube::Error> {
    let resource = requests::resource("", "v1", "Pod");
    // Not by the label of injection: while Istio is removed, replacements do not have it.
    let mut params = ListParams::default().limit(PAGE);
    let mut pods = Vec::new();
    loop {
        let namespace = finding.workload.namespace.as_deref();
        let page = requests::page::<Pod>(client, &resource, namespace, &params).await?;
        let ours = |pod: &Pod| pod.metadata.controller().is_some_and(|owner| owner.uid == finding.uid);
        pods.extend(page.items.into_iter().filter(ours));
        if page.metadata.continue_token.is_empty() {
            return Ok(pods);
        }
        params = params.continue_token(&page.metadata.continue_token);
    }
}

/// Asks until the disruption budgets allow it; false if there is nothing to evict under this name any more.
async fn evict_one(client: &Client, pod: &Pod, end: Instant) -> Result<bool, String> {
    let (name, namespace) = (&pod.metadata.name, &pod.metadata.namespace);
    let url = format!("{}/{name}/eviction", requests::pods(namespace));
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": pod.metadata.uid}},
    });
    let mut tries = 0;
    loop {
        let Err(error) = requests::create::<Value>(client, &url, &eviction, false).await else {
            return Ok(true);
        };
        tries += 1;
        match &error {
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => return Ok(false),
            // A budget does not allow it now.
            kube::Error::Api(status) if status.code == 429 && Instant::now() < end => {}
            error if is_passing(error) && tries < TRIES => {}
            kube::Error::Api(status) => {
                return Err(format!("pod {name} cannot be evicted: {}", status.message));
            }
            error => return Err(one_line(error)),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the evicted pod is gone and as many pods are ready as are wanted.
async fn replaced(client: &Client, finding: &Finding, uid: &str, end: Instant) -> Result<(), String> {
    loop {
        let pods = pods(client, finding).await?;
        let gone =
            !pods.iter().any(|pod| pod.metadata.uid == uid && pod.metadata.deletion_timestamp.is_none());
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        if gone && i64::try_from(ready).unwrap_or(i64::MAX) >= finding.replicas {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{ready} of {} pods are ready after an eviction", finding.replicas));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let ready =
        |condition: &super::objects::Condition| condition.type_ == "Ready" && condition.status == "True";
    pod.metadata.deletion_timestamp.is_none() && pod.status.conditions.iter().any(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(image: &str, created: i64) -> Pod {
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": Timestamp::from_second(created).unwrap().to_string(),
                "annotations": {"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"}},
            "spec": {"containers": [{"name": "istio-proxy", "image": image}]},
        });
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    #[test]
    fn only_outdated_pods_that_were_there_at_the_beginning_are_evicted() {
        let wanted = Injected::of(&pod("new", 0)).unwrap();
        for (name, image, created, due) in [
            ("outdated", "old", 100, true),
            ("up to date, made after the change", "new", 90, false),
            ("a replacement that looks outdated still", "old", 101, false),
        ] {
            assert_eq!(is_due(&pod(image, created), Some(&wanted), 100), due, "{name}");
        }
    }

    #[test]
    fn while_istio_is_removed_every_proxy_is_one_too_many() {
        assert!(is_due(&pod("new", 100), None, 100));
        let plain: Pod = serde_json::from_str(
            r#"{"metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:01Z"}, "spec": {"containers": []}}"#,
        )
        .unwrap();
        assert!(!is_due(&plain, None, 100));
    }
}
