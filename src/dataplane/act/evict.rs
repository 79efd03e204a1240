//! Replaces the outdated pods of a workload that does not roll out by itself: those that do not serve at once, then one
//! after the other, each when as many serve as are wanted. Pods that are up to date, or came since the evictions began, are left alone.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::siblings::{Sibling, Siblings};
use crate::dataplane::decide::finding::Finding;
use crate::dataplane::decide::rollout;
use crate::dataplane::injected::Injected;
use crate::dataplane::kind::Kind;
use crate::dataplane::look::scale;
use crate::dataplane::objects::{Pod, Workload};
use crate::dataplane::prove::compare;
use crate::dataplane::requests::{self, is_passing};
use crate::telemetry::one_line;

/// How often the owner is asked how many pods it wants while there are fewer.
const RECOUNT: Duration = Duration::from_secs(5);
/// The waits between evictions that are not allowed, from one to the next twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// Every outdated pod is replaced.
    All,
    /// A disruption budget did not allow it in time, in these words. That is no failure.
    Refused(String),
    /// Not in time or not allowed, in these words.
    Stopped(String),
}

/// Evicts the outdated pods of `finding` that are not younger than `since` (seconds since the epoch, when the first of
/// these evictions began), until `timeout` passes for one. `waits` is told what is waited for.
pub async fn evict(
    client: &Client,
    finding: &Finding,
    since: i64,
    timeout: Duration,
    waits: &(dyn Fn(String) + Sync),
) -> Evicted {
    second_is_over(since).await;
    let namespace = finding.workload.namespace.clone().unwrap_or_default();
    let is_due = move |pod: &Pod| is_due(pod, finding.wanted.as_deref(), since);
    let pods = Siblings::new(client.clone(), namespace.clone(), finding.uid.clone(), is_due);
    let mut eviction = Eviction { client, finding, namespace, pods, replicas: finding.replicas, waits };
    match eviction.run(timeout).await {
        Ok(()) => Evicted::All,
        Err(ended) => ended,
    }
}

/// How many pods an owner of an unknown kind wants, if it is still the same.
async fn scaled(client: &Client, finding: &Finding) -> Option<i64> {
    let scale = scale::scale(client, &finding.workload).await?;
    (scale.uid == finding.uid).then_some(scale.replicas)
}

/// Whether a disruption budget refuses an eviction: by its rule, or because the API server cannot apply several to one pod.
fn is_refused_by_budget(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "DisruptionBudget")
        || (status.code == 500 && status.message.contains("PodDisruptionBudget"))
}

/// The age of pods is told in whole seconds: a replacement must not come in the second of the beginning.
async fn second_is_over(since: i64) {
    let passed = Timestamp::now().as_millisecond() - since.saturating_mul(1000);
    let rest = u64::try_from(1000_i64.saturating_sub(passed)).unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(rest.min(1000))).await;
}

/// Whether a pod is to be evicted. Without `wanted`, while Istio is removed, every proxy is one too many.
fn is_due(pod: &Pod, wanted: Option<&Injected>, since: i64) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref();
    let was_there = created.is_some_and(|created| created.0.as_second() <= since);
    let is_outdated = || match wanted {
        Some(wanted) => {
            let live = Injected::of(pod);
            !compare::reasons(&pod.metadata.annotations, live.as_ref(), Some(wanted)).is_empty()
        }
        None => Injected::of(pod).is_some_and(|injected| injected.proxy().is_some()),
    };
    pod.metadata.deletion_timestamp.is_none() && was_there && is_outdated()
}

/// The evictions of one workload.
struct Eviction<'a> {
    client: &'a Client,
    finding: &'a Finding,
    namespace: String,
    pods: Siblings<'a>,
    /// Pods that the owner wants, as far as it is known.
    replicas: i64,
    waits: &'a (dyn Fn(String) + Sync),
}

impl Eviction<'_> {
    async fn run(&mut self, timeout: Duration) -> Result<(), Evicted> {
        loop {
            let end = Instant::now() + timeout;
            let Some(old) = self.next(end).await.map_err(Evicted::Stopped)? else { return Ok(()) };
            self.evict(&old, end).await?;
            self.gone(&old, end).await.map_err(Evicted::Stopped)?;
        }
    }

    /// Waits until as many pods serve as are wanted, and tells which is replaced next; `None` if none is left.
    ///
    /// One that does not serve is not waited with: nobody misses it, and its proxy may be why.
    async fn next(&mut self, end: Instant) -> Result<Option<Sibling>, String> {
        let mut recount = tokio::time::interval(RECOUNT);
        recount.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.list(end).await?;
            let next = self.pods.next_due();
            let ready = self.pods.ready();
            let is_complete = i64::try_from(ready).unwrap_or(i64::MAX) >= self.replicas;
            if is_complete || next.is_some_and(|pod| !pod.ready) {
                return Ok(next.cloned());
            }
            let missing = format!("{ready} of {} pods are ready", self.replicas);
            (self.waits)(missing.clone());
            tokio::select! {
                () = self.pods.changed() => {}
                _ = recount.tick() => self.recount().await,
                () = tokio::time::sleep_until(end) => return Err(missing),
            }
        }
    }

    /// Waits until the watch tells that a pod goes, lest it is evicted twice.
    async fn gone(&mut self, old: &Sibling, end: Instant) -> Result<(), String> {
        loop {
            self.list(end).await?;
            if !self.pods.contains(&old.uid) {
                return Ok(());
            }
            let stays = format!("pod {} does not go", old.name);
            (self.waits)(stays.clone());
            tokio::select! {
                () = self.pods.changed() => {}
                () = tokio::time::sleep_until(end) => return Err(stays),
            }
        }
    }

    async fn list(&mut self, end: Instant) -> Result<(), String> {
        self.pods.list(end).await.map_err(|error| one_line(&error))
    }

    /// Asks the owner how many pods it wants: it may have been scaled since it was looked at.
    async fn recount(&mut self) {
        let owner = &self.finding.workload;
        if self.finding.kind == Kind::Other {
            self.replicas = scaled(self.client, self.finding).await.unwrap_or(self.replicas);
            return;
        }
        match requests::get::<Workload>(self.client, owner).await {
            Ok(Some(workload)) if workload.metadata.uid == self.finding.uid => {
                self.replicas = rollout::wanted(&workload);
            }
            // Its pods go with it.
            Ok(_) => self.replicas = 0,
            Err(error) => tracing::debug!(%error, workload = %owner, "cannot count the wanted pods"),
        }
    }

    /// Asks until the disruption budgets allow it and the API server can be reached, or the pod has gone by itself.
    async fn evict(&mut self, pod: &Sibling, end: Instant) -> Result<(), Evicted> {
        let url = format!("{}/{}/eviction", requests::pods(&self.namespace), pod.name);
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": self.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        });
        let mut pause = FIRST_PAUSE;
        while self.pods.contains(&pod.uid) {
            let Err(error) = requests::create::<Value>(self.client, &url, &eviction, false).await else {
                return Ok(());
            };
            let (why, passes, by_budget) = match &error {
                kube::Error::Api(status) if status.code == 404 => return Ok(()),
                // A budget that does not allow it now is told as a request too many. A conflict may be one about the budget,
                // which passes, or mean that another pod has the name, which the watch tells.
                kube::Error::Api(status) => {
                    let why = format!("pod {} cannot be evicted: {}", pod.name, status.message);
                    (why, status.code == 409 || is_passing(&error), is_refused_by_budget(status))
                }
                error => (one_line(error), is_passing(error), false),
            };
            if !passes || Instant::now() >= end {
                return Err(if by_budget { Evicted::Refused(why) } else { Evicted::Stopped(why) });
            }
            (self.waits)(why);
            self.pause(pause, end).await.map_err(Evicted::Stopped)?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Lets time pass, and takes in what happens to the pods meanwhile.
    async fn pause(&mut self, pause: Duration, end: Instant) -> Result<(), String> {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return Ok(()),
                () = self.pods.changed() => self.list(end).await?,
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
