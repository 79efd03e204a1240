//! Replaces the outdated pods of a workload that does not roll out by itself: those that do not serve at once, then one
//! after the other, each when as many serve as are wanted. Pods that are up to date, or came since the evictions began, are left alone.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::owned_pods::{OwnedPod, OwnedPods};
use crate::dataplane::injected::Injected;
use crate::dataplane::injection::compare;
use crate::dataplane::requests::{self, is_transient};
use crate::dataplane::schedule::stale_workload::StaleWorkload;
use crate::dataplane::types::{Pod, Workload};
use crate::dataplane::workload::kind::WorkloadKind;
use crate::dataplane::workload::rollout;
use crate::dataplane::workload::scale;
use crate::telemetry::format_error_chain;

/// How often the owner is asked how many pods it wants while there are fewer.
const REPLICAS_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The waits between evictions that are not allowed, from one to the next twice as long.
const INITIAL_EVICTION_DELAY: Duration = Duration::from_secs(1);
const MAX_EVICTION_DELAY: Duration = Duration::from_secs(8);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionResult {
    /// Every outdated pod is replaced.
    Done,
    /// A disruption budget did not allow it in time, in these words. That is no failure.
    Refused(String),
    /// Not in time or not allowed, in these words.
    Failed(String),
}

/// Evicts the outdated pods of `finding` that are not younger than `since` (seconds since the epoch, when the first of
/// these evictions began), until `timeout` passes for one. `waits` is told what is waited for.
pub async fn evict_outdated_pods(
    client: &Client,
    stale: &StaleWorkload,
    since: i64,
    timeout: Duration,
    report_wait: &(dyn Fn(String) + Sync),
) -> EvictionResult {
    wait_for_next_second(since).await;
    let namespace = stale.workload.namespace.clone().unwrap_or_default();
    let needs_eviction = move |pod: &Pod| needs_eviction(pod, stale.desired_injection.as_deref(), since);
    let pods = OwnedPods::new(client.clone(), namespace.clone(), stale.uid.clone(), needs_eviction);
    let mut eviction =
        WorkloadEviction { client, stale, namespace, pods, replicas: stale.replicas, report_wait };
    match eviction.run(timeout).await {
        Ok(()) => EvictionResult::Done,
        Err(ended) => ended,
    }
}

/// How many pods an owner of an unknown kind wants, if it is still the same.
async fn current_scale(client: &Client, stale: &StaleWorkload) -> Option<i64> {
    let scale = scale::read_scale(client, &stale.workload).await?;
    (scale.uid == stale.uid).then_some(scale.replicas)
}

/// Whether a disruption budget refuses an eviction: by its rule, or because the API server cannot apply several to one pod.
fn is_refused_by_budget(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "DisruptionBudget")
        || (status.code == 500 && status.message.contains("PodDisruptionBudget"))
}

/// The age of pods is told in whole seconds: a replacement must not come in the second of the beginning.
async fn wait_for_next_second(since: i64) {
    let passed = Timestamp::now().as_millisecond() - since.saturating_mul(1000);
    let remaining = u64::try_from(1000_i64.saturating_sub(passed)).unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(remaining.min(1000))).await;
}

/// Whether a pod is to be evicted. Without `wanted`, while Istio is removed, every proxy is one too many.
fn needs_eviction(pod: &Pod, wanted: Option<&Injected>, since: i64) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref();
    let existed = created.is_some_and(|created| created.0.as_second() <= since);
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
    /// Pods that the owner wants, as far as it is known.
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

    /// Waits until as many pods serve as are wanted, and tells which is replaced next; `None` if none is left.
    ///
    /// One that does not serve is not waited with: nobody misses it, and its proxy may be why.
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

    /// Waits until the watch tells that a pod goes, lest it is evicted twice.
    async fn wait_until_gone(&mut self, old: &OwnedPod, end: Instant) -> Result<(), String> {
        loop {
            self.sync_pods(end).await?;
            if !self.pods.contains(&old.uid) {
                return Ok(());
            }
            let stays = format!("pod {} does not go", old.name);
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

    /// Asks the owner how many pods it wants: it may have been scaled since it was looked at.
    async fn refresh_replicas(&mut self) {
        let owner = &self.stale.workload;
        if self.stale.kind == WorkloadKind::Other {
            self.replicas = current_scale(self.client, self.stale).await.unwrap_or(self.replicas);
            return;
        }
        match requests::get::<Workload>(self.client, owner).await {
            Ok(Some(workload)) if workload.metadata.uid == self.stale.uid => {
                self.replicas = rollout::desired_replicas(&workload);
            }
            // Its pods go with it.
            Ok(_) => self.replicas = 0,
            Err(error) => tracing::debug!(%error, workload = %owner, "cannot count the wanted pods"),
        }
    }

    /// Asks until the disruption budgets allow it and the API server can be reached, or the pod has gone by itself.
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
                // A budget that does not allow it now is told as a request too many. A conflict may be one about the budget,
                // which passes, or mean that another pod has the name, which the watch tells.
                kube::Error::Api(status) => {
                    let why = format!("pod {} cannot be evicted: {}", pod.name, status.message);
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

    /// Lets time pass, and takes in what happens to the pods meanwhile.
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
            ("up to date, made after the change", "new", 90, false),
            ("a replacement that looks outdated still", "old", 101, false),
        ] {
            assert_eq!(needs_eviction(&pod(image, created), Some(&wanted), 100), expected, "{name}");
        }
    }

    #[test]
    fn during_an_uninstall_every_pod_with_a_proxy_is_evicted() {
        assert!(needs_eviction(&pod("new", 100), None, 100));
        let plain: Pod = serde_json::from_str(
            r#"{"metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:01Z"}, "spec": {"containers": []}}"#,
        )
        .unwrap();
        assert!(!needs_eviction(&plain, None, 100));
    }
}
