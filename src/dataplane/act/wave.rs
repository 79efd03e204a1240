//! One wave of restarts: begins as many as the pace allows, follows them, and ends when all are settled or it is stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use thiserror::Error;

use super::evict::{self, Evicted};
use super::follow::{Follow, Sight};
use super::patch::{self, Started};
use crate::dataplane::decide::finding::{Finding, Hindrance, Method};
use crate::dataplane::decide::pace::{End, Extent, Item, Pace, Progress, Trouble};
use crate::dataplane::decide::rollout::Rollout;
use crate::dataplane::decide::settings::Settings;
use crate::dataplane::memory::{self, Attempt, Memory, Store};
use crate::dataplane::reason::sentence;
use crate::dataplane::tell::events::Announcer;
use crate::dataplane::tell::metrics::Metrics;
use crate::lock::lock;

/// New restarts begin in batches, so that memory and status are written once for several: after this time, or when much of
/// the batch before is done.
const TICK: Duration = Duration::from_secs(2);
/// Restarts that are written at once.
const WRITES_AT_ONCE: usize = 4;
/// Troubles that are told. Nobody reads more, and telling goes on all the time.
const TOLD: usize = 50;

/// A wave could not go on.
#[derive(Debug, Error)]
pub enum Error {
    /// Restarts cannot be remembered, so that none may be made.
    #[error("restarts are held back, since they cannot be remembered")]
    Memory {
        /// Why.
        #[from]
        source: memory::Error,
    },
}

/// What a wave left behind.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Restarts that are done.
    pub done: usize,
    /// Restarts that failed.
    pub failed: usize,
    /// Workloads that are outdated still, and why.
    pub left: Vec<(Finding, Hindrance)>,
    /// What of it was stopped after failures.
    pub stopped: Option<Extent>,
    /// Workloads that were not begun, because the wave was interrupted; the next look finds them again.
    pub interrupted: usize,
}

/// The means of a wave.
pub struct Wave<'a> {
    /// Client for all requests.
    pub client: &'a Client,
    /// Where restarts are remembered.
    pub store: &'a mut Store,
    /// What is remembered.
    pub memory: &'a mut Memory,
    /// How fast it may go.
    pub settings: &'a Settings,
    /// Tells the owners of workloads.
    pub events: &'a Announcer,
    /// Counts.
    pub metrics: &'a Metrics,
    /// Whether what the wave was planned for no longer holds: nothing further begins then.
    pub superseded: &'a (dyn Fn() -> bool + Sync),
    /// Told after each step.
    pub progress: &'a Mutex<dyn FnMut(Progress) + Send + 'a>,
}

/// What each restart under way was seen to wait for last.
type Waits = Arc<Mutex<HashMap<usize, String>>>;

struct Course<'a> {
    client: &'a Client,
    plan: Vec<(Finding, Method)>,
    pace: Pace,
    follow: Follow,
    evictions: FuturesUnordered<BoxFuture<'a, (usize, Evicted)>>,
    waits: Waits,
    left: Vec<(Finding, Hindrance)>,
    /// Restarts that are done and whose owners are to be told.
    done: Vec<usize>,
}

impl Course<'_> {
    /// Tells whether it ran until now: its end may be seen twice.
    fn end(&mut self, id: usize, end: End) -> bool {
        self.follow.remove(&self.plan[id].0.uid);
        lock(&self.waits).remove(&id);
        self.pace.end(id, end)
    }

    /// What people see of it while it goes on: a rollout takes a minute or ten, and a wave hours.
    fn troubles(&self, now: u64) -> Vec<Trouble> {
        let trouble = |finding: &Finding, why: String| Trouble {
            workload: finding.workload.clone(),
            outdated: sentence(&finding.reasons),
            why,
        };
        let waits = lock(&self.waits);
        let slow = self.pace.slow(now).map(|id| {
            let wait = waits.get(&id).map_or("nothing is heard of it", String::as_str);
            trouble(&self.plan[id].0, format!("its restart takes long: {wait}"))
        });
        let left = self.left.iter().map(|(finding, why)| trouble(finding, why.to_string()));
        slow.chain(left).take(TOLD).collect()
    }
}

impl Wave<'_> {
    /// Restarts the workloads of `plan`, in their order as far as the pace allows.
    pub async fn run(&mut self, plan: Vec<(Finding, Method)>) -> Result<Outcome, Error> {
        let items = plan.iter().enumerate().map(|(id, (finding, _))| Item {
            id,
            namespace: finding.workload.namespace.clone().unwrap_or_default(),
            gateway: finding.gateway,
        });
        let pace = Pace::new(self.settings, items.collect::<Vec<_>>());
        let mut course = Course {
            client: self.client,
            plan,
            pace,
            follow: Follow::new(self.client.clone()),
            evictions: FuturesUnordered::new(),
            waits: Waits::default(),
            left: Vec::new(),
            done: Vec::new(),
        };
        let mut interrupted = 0;
        loop {
            if (self.superseded)() {
                interrupted += course.pace.waiting().count();
                course.pace.cancel();
            }
            self.announce(&mut course).await;
            self.begin(&mut course).await?;
            self.tell(&course, interrupted);
            if course.pace.is_over() {
                break;
            }
            self.follow(&mut course).await;
        }
        self.announce(&mut course).await;
        Ok(outcome(course, interrupted))
    }

    /// Begins what the pace allows: remembered first, then made.
    async fn begin(&mut self, course: &mut Course<'_>) -> Result<(), Error> {
        let now = Timestamp::now();
        let started = course.pace.start(seconds(now));
        if started.is_empty() {
            return Ok(());
        }
        let mut since = HashMap::new();
        for id in &started {
            let finding = &course.plan[*id].0;
            let attempt = Attempt {
                target: finding.target.clone(),
                generation: finding.generation,
                at: now.as_second(),
            };
            since.insert(*id, self.memory.remember(&finding.uid, attempt));
        }
        self.store.save_beside(self.memory).await?;
        let client = self.client;
        let plan = &course.plan;
        let restarts = futures::stream::iter(started).map(|id| async move {
            let (finding, method) = &plan[id];
            match method {
                Method::Evict => (id, None),
                Method::Template | Method::RestartAt => {
                    (id, Some(patch::restart(client, finding, *method, now).await))
                }
            }
        });
        let results: Vec<_> = restarts.buffer_unordered(WRITES_AT_ONCE).collect().await;
        for (id, result) in results {
            match result {
                None => self.evict(course, id, since.get(&id).copied().unwrap_or_else(|| now.as_second())),
                Some(result) => self.begun(course, id, result).await,
            }
        }
        Ok(())
    }

    async fn begun(&self, course: &mut Course<'_>, id: usize, result: Started) {
        let finding = course.plan[id].0.clone();
        match result {
            Started::Rolling { generation, version, repeated } => {
                tracing::info!(workload = %finding.workload, reasons = sentence(&finding.reasons), "restarting");
                let (kind, uid) = (finding.kind, &finding.uid);
                course.follow.add(id, kind, &finding.workload, uid, generation, &version).await;
                let now = if repeated { course.follow.look(uid).await } else { None };
                if let Some((id, sight)) = now {
                    self.saw(course, id, sight).await;
                }
            }
            Started::Gone => {
                course.end(id, End::Skipped);
            }
            Started::Refused(why) => self.skip(course, id, Hindrance::Refused(why)).await,
            Started::Unanswered(why) => self.skip(course, id, Hindrance::Unanswered(why)).await,
        }
    }

    fn evict(&self, course: &mut Course<'_>, id: usize, at: i64) {
        let finding = course.plan[id].0.clone();
        let (client, timeout) = (course.client, self.settings.rollout_timeout);
        let waits = course.waits.clone();
        tracing::info!(workload = %finding.workload, "evicting outdated pods one by one");
        course.evictions.push(Box::pin(async move {
            let waits = |why| drop(lock(&waits).insert(id, why));
            (id, evict::evict(client, &finding, at, timeout, &waits).await)
        }));
    }

    /// Waits for news until the next batch may begin.
    async fn follow(&self, course: &mut Course<'_>) {
        let tick = tokio::time::sleep(TICK);
        tokio::pin!(tick);
        while !course.pace.is_over() && !course.pace.is_time_for_more() {
            let news = tokio::select! {
                (id, sight) = course.follow.next() => Some((id, sight)),
                Some((id, evicted)) = course.evictions.next(), if !course.evictions.is_empty() => {
                    self.evicted(course, id, evicted).await;
                    None
                }
                () = &mut tick => break,
            };
            if let Some((id, sight)) = news {
                self.saw(course, id, sight).await;
            }
        }
        for (id, sight) in course.follow.mend().await {
            self.saw(course, id, sight).await;
        }
        self.end_overdue(course).await;
    }

    /// Ends restarts whose time is over. They are read once more, since nobody told of them during an outage of the API server.
    /// Those that cannot be read get their time once more: the controllers that roll them out had an outage, too.
    async fn end_overdue(&self, course: &mut Course<'_>) {
        let now = seconds(Timestamp::now());
        for id in course.pace.overdue(now) {
            // Each pod that is evicted has a deadline of its own.
            if course.plan[id].1 == Method::Evict {
                continue;
            }
            let uid = course.plan[id].0.uid.clone();
            match course.follow.look(&uid).await {
                Some((_, Sight::At(Rollout::UnderWay(why)))) => {
                    let after = self.settings.rollout_timeout;
                    self.fail(course, id, format!("not complete after {after:?}: {why}")).await;
                }
                Some((id, sight)) => self.saw(course, id, sight).await,
                None if course.pace.extend(id, now) => {}
                None => self.fail(course, id, "its rollout cannot be read".to_owned()).await,
            }
        }
    }

    async fn saw(&self, course: &mut Course<'_>, id: usize, sight: Sight) {
        match sight {
            Sight::At(Rollout::UnderWay(why)) => drop(lock(&course.waits).insert(id, why)),
            Sight::At(Rollout::Complete) => self.done(course, id),
            Sight::At(Rollout::Failed(why)) => self.fail(course, id, why).await,
            Sight::Gone => {
                course.end(id, End::Skipped);
            }
        }
    }

    async fn evicted(&self, course: &mut Course<'_>, id: usize, evicted: Evicted) {
        match evicted {
            Evicted::All => self.done(course, id),
            // Its budget does what it is there for, which says nothing about other restarts.
            Evicted::Refused(why) => self.skip(course, id, Hindrance::Refused(why)).await,
            Evicted::Stopped(why) => self.fail(course, id, why).await,
        }
    }

    fn done(&self, course: &mut Course<'_>, id: usize) {
        if course.end(id, End::Done) {
            course.done.push(id);
            self.metrics.restarted(course.plan[id].0.kind, true);
        }
    }

    /// Tells the owners of what is done.
    async fn announce(&self, course: &mut Course<'_>) {
        let done = std::mem::take(&mut course.done);
        let plan = &course.plan;
        futures::stream::iter(done)
            .for_each_concurrent(WRITES_AT_ONCE, |id| self.events.restarted(&plan[id].0))
            .await;
    }

    async fn fail(&self, course: &mut Course<'_>, id: usize, why: String) {
        if !course.end(id, End::Failed) {
            return;
        }
        let finding = course.plan[id].0.clone();
        self.metrics.restarted(finding.kind, false);
        self.leave(course, finding, Hindrance::RolloutFailed(why)).await;
    }

    async fn skip(&self, course: &mut Course<'_>, id: usize, why: Hindrance) {
        course.end(id, End::Skipped);
        let finding = course.plan[id].0.clone();
        self.leave(course, finding, why).await;
    }

    async fn leave(&self, course: &mut Course<'_>, finding: Finding, why: Hindrance) {
        tracing::warn!(workload = %finding.workload, %why, "not restarted");
        self.events.failed(&finding, &why).await;
        course.left.push((finding, why));
    }

    /// What was interrupted is still to come, so that nobody takes the wave for complete.
    fn tell(&self, course: &Course<'_>, interrupted: usize) {
        let (running, done, failed) = course.pace.counts();
        let waiting = course.pace.waiting().count() + interrupted;
        let troubles = course.troubles(seconds(Timestamp::now()));
        lock(self.progress)(Progress { waiting, running, done, failed, troubles });
    }
}

fn outcome(course: Course<'_>, interrupted: usize) -> Outcome {
    let (_, done, failed) = course.pace.counts();
    let stopped = course.pace.extent();
    let mut left = course.left;
    let held = course
        .pace
        .waiting()
        .chain(course.pace.held())
        .map(|id| (course.plan[id].0.clone(), Hindrance::WaveHeld));
    left.extend(held.collect::<Vec<_>>());
    Outcome { done, failed, left, stopped, interrupted }
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or_default()
}
