//! Replaces the outdated pods of a workload that does not roll out by itself: one is evicted, its replacement awaited,
//! then the next.

use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::finding::Finding;
use super::objects::Pod;
use super::requests::{self, PAGE};

/// How often pods are looked at while one is awaited.
const LOOK: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// Every outdated pod is replaced.
    All,
    /// Not in time or not allowed, in these words.
    Stopped(String),
}

/// Evicts the pods of `finding` that are older than `at` (seconds since the epoch), until `timeout` passes for one.
pub async fn evict(client: &Client, finding: &Finding, at: i64, timeout: Duration) -> Evicted {
    loop {
        let pods = match pods(client, finding).await {
            Ok(pods) => pods,
            Err(error) => return Evicted::Stopped(crate::telemetry::one_line(&error)),
        };
        let Some(old) = pods.iter().find(|pod| is_old(pod, at)) else { return Evicted::All };
        if let Err(why) = evict_one(client, old, timeout).await {
            return Evicted::Stopped(why);
        }
        if let Err(why) = replaced(client, finding, &old.metadata.uid, timeout).await {
            return Evicted::Stopped(why);
        }
    }
}

fn is_old(pod: &Pod, at: i64) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref();
    pod.metadata.deletion_timestamp.is_none() && created.is_some_and(|created| created.0.as_second() <= at)
}

async fn pods(client: &Client, finding: &Finding) -> Result<Vec<Pod>, kube::Error> {
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

/// Asks until the disruption budgets allow it.
async fn evict_one(client: &Client, pod: &Pod, timeout: Duration) -> Result<(), String> {
    let (name, namespace) = (&pod.metadata.name, &pod.metadata.namespace);
    let url = format!("{}/{name}/eviction", requests::pods(namespace));
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": pod.metadata.uid}},
    });
    let started = Instant::now();
    loop {
        match requests::create::<Value>(client, &url, &eviction, false).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 && started.elapsed() < timeout => {
                tokio::time::sleep(LOOK).await;
            }
            Err(kube::Error::Api(status)) => {
                return Err(format!("pod {name} cannot be evicted: {}", status.message));
            }
            Err(error) => return Err(crate::telemetry::one_line(&error)),
        }
    }
}

/// Waits until the evicted pod is gone and as many pods are ready as are wanted.
async fn replaced(client: &Client, finding: &Finding, uid: &str, timeout: Duration) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let pods = pods(client, finding).await.map_err(|error| crate::telemetry::one_line(&error))?;
        let gone =
            !pods.iter().any(|pod| pod.metadata.uid == uid && pod.metadata.deletion_timestamp.is_none());
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        if gone && i64::try_from(ready).unwrap_or(i64::MAX) >= finding.replicas {
            return Ok(());
        }
        if started.elapsed() > timeout {
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
