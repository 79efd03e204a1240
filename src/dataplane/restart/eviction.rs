//! Evicts the outdated pods of a workload that does not roll out by itself: pods that are not ready at once, then one at a time,
//! each when all wanted pods are ready. Pods that are up to date, or were created since the evictions began, are not evicted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::owned_pods::{OwnedPod, OwnedPods};
use crate::dataplane::clock::elapsed;
use crate::dataplane::injection::compare;
use crate::dataplane::model::{Injected, Pod, Workload};
use crate::dataplane::requests::{self, is_transient};
use crate::dataplane::schedule::stale_workload::StaleWorkload;
use crate::dataplane::workload::WorkloadSource;
use crate::dataplane::workload::rollout;
use crate::dataplane::workload::scale;
use crate::telemetry::format_error_chain;

/// The time between two reads of the number of wanted pods while there are fewer.
const REPLICAS_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The delays between evictions that a budget does not allow; each is twice as long as the last.
const INITIAL_EVICTION_DELAY: Duration = Duration::from_secs(1);
const MAX_EVICTION_DELAY: Duration = Duration::from_secs(8);

/// The result of evictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionResult {
    /// Every outdated pod was replaced.
    Done,
    /// A disruption budget did not allow an eviction in time. That is not a failure.
    Refused(String),
    /// Not in time, or not permitted.
    Failed(String),
}

/// Evicts the outdated pods of `stale` that were not created after `since`, the beginning of the first of these evictions, until
/// one takes longer than `timeout`. `report_wait` is called with what is waited for.
pub async fn evict_outdated_pods(
    client: &Client,
    stale: &StaleWorkload,
    since: Timestamp,
    timeout: Duration,
    report_wait: &(dyn Fn(String) + Sync),
) -> EvictionResult {
    wait_for_next_second(since).await;
    let namespace = stale.workload.namespace.clone().unwrap_or_default();
    let needs_eviction = move |pod: &Pod| needs_eviction(pod, stale.desired_injection.as_deref(), since);
    let pods = OwnedPods::new(client.clone(), namespace.clone(), stale.uid.to_string(), needs_eviction);
    let mut eviction =
        WorkloadEviction { client, stale, namespace, pods, replicas: stale.replicas, report_wait };
    match eviction.run(timeout).await {
        Ok(()) => EvictionResult::Done,
        Err(ended) => ended,
    }
}

/// The number of pods that an owner of an unknown kind wants, if its UID is the same.
async fn current_scale(client: &Client, stale: &StaleWorkload) -> Option<i64> {
    let scale = scale::read_scale(client, &stale.workload).await?;
    (scale.uid == stale.uid.as_str()).then_some(scale.replicas)
}

/// Whether a disruption budget does not allow an eviction, or several cover the pod, which the API server does not support.
fn is_refused_by_budget(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "DisruptionBudget")
        || (status.code == 500 && status.message.contains("PodDisruptionBudget"))
}

/// Creation times have whole seconds: no replacement must be created in the second in which the evictions began.
async fn wait_for_next_second(since: Timestamp) {
    const SECOND: Duration = Duration::from_secs(1);
    tokio::time::sleep(SECOND.saturating_sub(elapsed(since, Timestamp::now()))).await;
}

/// Whether a pod is to be evicted. Without `wanted`, during an uninstall, every pod with a sidecar is.
fn needs_eviction(pod: &Pod, wanted: Option<&Injected>, since: Timestamp) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref();
    let existed = created.is_some_and(|created| created.0 <= since);
    let is_outdated = || match wanted {
        Some(wanted) => {
            let live = Injected::from_pod(pod);
            !compare::stale_reasons(&pod.metadata.annotations, live.as_ref(), Some(wanted)).is_empty()
        }
        None => Injected::from_pod(pod).is_some_and(|injected| injected.proxy().is_some()),
    };
    pod.metadata.deletion_timestamp.is_none() && existed && is_outdated()
}

/// The evictions of one workload.
struct WorkloadEviction<'a> {
    client: &'a Client,
    stale: &'a StaleWorkload,
    namespace: String,
    pods: OwnedPods<'a>,
    /// The number of pods that the owner wants.
    replicas: i64,
    report_wait: &'a (dyn Fn(String) + Sync),
}

impl WorkloadEviction<'_> {
    async fn run(&mut self, timeout: Duration) -> Result<(), EvictionResult> {
        loop {
            let end = Instant::now() + timeout;
            let Some(old) = self.next_pod(end).await.map_err(EvictionResult::Failed)? else { return Ok(()) };
            self.evict_pod(&old, end).await?;
            self.wait_until_gone(&old, end).await.map_err(EvictionResult::Failed)?;
        }
    }

    /// Waits until all wanted pods are ready and returns the pod to evict next; `None` if none is left.
    ///
    /// A pod that is not ready is evicted at once: it serves nobody, and its sidecar may be the reason.
    async fn next_pod(&mut self, end: Instant) -> Result<Option<OwnedPod>, String> {
        let mut poll = tokio::time::interval(REPLICAS_POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.sync_pods(end).await?;
            let next = self.pods.next_to_evict();
            let ready = self.pods.ready_count();
            let is_complete = i64::try_from(ready).unwrap_or(i64::MAX) >= self.replicas;
            if is_complete || next.is_some_and(|pod| !pod.ready) {
                return Ok(next.cloned());
            }
            let missing = format!("{ready} of {} pods are ready", self.replicas);
            (self.report_wait)(missing.clone());
            tokio::select! {
                () = self.pods.next_change() => {}
                _ = poll.tick() => self.refresh_replicas().await,
                () = tokio::time::sleep_until(end) => return Err(missing),
            }
        }
    }

    /// Waits until the watch shows that a pod is terminating, so that it is not evicted twice.
    async fn wait_until_gone(&mut self, old: &OwnedPod, end: Instant) -> Result<(), String> {
        loop {
            self.sync_pods(end).await?;
            if !self.pods.contains(&old.uid) {
                return Ok(());
            }
            let stays = format!("pod {} is not terminating", old.name);
            (self.report_wait)(stays.clone());
            tokio::select! {
                () = self.pods.next_change() => {}
                () = tokio::time::sleep_until(end) => return Err(stays),
            }
        }
    }

    async fn sync_pods(&mut self, end: Instant) -> Result<(), String> {
        self.pods.sync(end).await.map_err(|error| format_error_chain(&error))
    }

    /// Reads how many pods the owner wants: it may have been scaled since the scan.
    async fn refresh_replicas(&mut self) {
        let owner = &self.stale.workload;
        if self.stale.kind.source() == WorkloadSource::Scale {
            self.replicas = current_scale(self.client, self.stale).await.unwrap_or(self.replicas);
            return;
        }
        match requests::get::<Workload>(self.client, owner).await {
            Ok(Some(workload)) if workload.metadata.uid == self.stale.uid.as_str() => {
                self.replicas = rollout::desired_replicas(&workload);
            }
            // Its pods are deleted with it.
            Ok(_) => self.replicas = 0,
            Err(error) => {
                tracing::debug!(%error, workload = %owner, "failed to read the number of wanted pods");
            }
        }
    }

    /// Retries until the disruption budgets allow the eviction and the API server responds, or the pod is gone.
    async fn evict_pod(&mut self, pod: &OwnedPod, end: Instant) -> Result<(), EvictionResult> {
        let url = format!("{}/{}/eviction", requests::pods_path(&self.namespace), pod.name);
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": self.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        });
        let mut delay = INITIAL_EVICTION_DELAY;
        while self.pods.contains(&pod.uid) {
            let Err(error) = requests::create::<Value>(self.client, &url, &eviction, false).await else {
                return Ok(());
            };
            let (why, is_transient, by_budget) = match &error {
                kube::Error::Api(status) if status.code == 404 => return Ok(()),
                // A budget that does not allow it now is reported as code 429. A conflict (409) is either one about the status of
                // the budget, which passes, or another pod has the name, which the watch shows.
                kube::Error::Api(status) => {
                    let why = format!("cannot evict pod {}: {}", pod.name, status.message);
                    (why, status.code == 409 || is_transient(&error), is_refused_by_budget(status))
                }
                error => (format_error_chain(error), is_transient(error), false),
            };
            if !is_transient || Instant::now() >= end {
                return Err(if by_budget {
                    EvictionResult::Refused(why)
                } else {
                    EvictionResult::Failed(why)
                });
            }
            (self.report_wait)(why);
            self.wait(delay, end).await.map_err(EvictionResult::Failed)?;
            delay = (delay * 2).min(MAX_EVICTION_DELAY);
        }
        Ok(())
    }

    /// Waits, and keeps the pods up to date meanwhile.
    async fn wait(&mut self, delay: Duration, end: Instant) -> Result<(), String> {
        let timer = tokio::time::sleep(delay);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                () = &mut timer => return Ok(()),
                () = self.pods.next_change() => self.sync_pods(end).await?,
            }
        }
    }
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
    fn only_outdated_pods_older_than_the_eviction_are_evicted() {
        let wanted = Injected::from_pod(&pod("new", 0)).unwrap();
        for (name, image, created, expected) in [
            ("outdated", "old", 100, true),
            ("up to date, created after the change", "new", 90, false),
            ("a replacement that is still outdated", "old", 101, false),
        ] {
            assert_eq!(
                needs_eviction(&pod(image, created), Some(&wanted), Timestamp::from_second(100).unwrap()),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn during_an_uninstall_every_pod_with_a_proxy_is_evicted() {
        assert!(needs_eviction(&pod("new", 100), None, Timestamp::from_second(100).unwrap()));
        let plain: Pod = serde_json::from_str(
            r#"{"metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:01Z"}, "spec": {"containers": []}}"#,
        )
        .unwrap();
        assert!(!needs_eviction(&plain, None, Timestamp::from_second(100).unwrap()));
    }
}
