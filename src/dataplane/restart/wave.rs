//! One restart wave: starts as many restarts as the throttle allows, follows their rollouts, and ends when all are finished or
//! it is stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use thiserror::Error;

use super::eviction::{self, EvictionResult};
use super::patch::{self, StartResult};
use super::rollout_watcher::{RolloutEvent, RolloutWatcher};
use crate::dataplane::clock::current_second;
use crate::dataplane::reasons::describe_reasons;
use crate::dataplane::report::events::WorkloadEventRecorder;
use crate::dataplane::report::metrics::DataPlaneMetrics;
use crate::dataplane::restart_ledger::{self, LedgerStore, RestartAttempt, RestartLedger};
use crate::dataplane::schedule::stale_workload::{BlockReason, RestartStrategy, StaleWorkload};
use crate::dataplane::schedule::throttle::{
    Issue, QueuedRestart, RestartProgress, RestartResult, RolloutThrottle, StopScope,
};
use crate::dataplane::workload::rollout::RolloutStatus;
use crate::lock::lock;
use crate::validate::ValidatedRestarter;

/// Restarts start in batches, so that ledger and status are written once for several: after this time, or when most of the
/// last batch is done.
const BATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Concurrent writes.
const MAX_CONCURRENT_WRITES: usize = 4;
/// Problems that are reported during a wave.
const MAX_REPORTED_ISSUES: usize = 50;

/// A wave could not continue.
#[derive(Debug, Error)]
pub enum Error {
    /// The ledger could not be written, so that no restart may start.
    #[error("no workloads are restarted, because restarts cannot be recorded")]
    Ledger {
        /// The cause.
        #[from]
        source: restart_ledger::Error,
    },
}

/// The result of a wave.
#[derive(Debug, Default)]
pub struct WaveOutcome {
    /// Restarts that are done.
    pub done: usize,
    /// Restarts that failed.
    pub failed: usize,
    /// Workloads that are still outdated, and why.
    pub blocked: Vec<(StaleWorkload, BlockReason)>,
    /// The restarts that were stopped after failures.
    pub stopped: Option<StopScope>,
    /// Restarts that did not start because the wave was interrupted; the next scan finds these workloads again.
    pub interrupted: usize,
}

/// The inputs of a wave.
pub struct RestartWave<'a> {
    /// Client for all requests.
    pub client: &'a Client,
    /// Stores the ledger.
    pub store: &'a mut LedgerStore,
    /// The restart ledger.
    pub ledger: &'a mut RestartLedger,
    /// The settings of restarts.
    pub settings: &'a ValidatedRestarter,
    /// Publishes Events on workloads.
    pub events: &'a WorkloadEventRecorder,
    /// Counts restarts.
    pub metrics: &'a DataPlaneMetrics,
    /// Whether the mesh or the resource changed since the wave was planned; then no further restart starts.
    pub is_superseded: &'a (dyn Fn() -> bool + Sync),
    /// Called after each batch and event.
    pub on_progress: &'a Mutex<dyn FnMut(RestartProgress) + Send + 'a>,
}

/// What each restart in progress waits for.
type WaitReasons = Arc<Mutex<HashMap<usize, String>>>;

struct WaveState<'a> {
    client: &'a Client,
    plan: Vec<(StaleWorkload, RestartStrategy)>,
    throttle: RolloutThrottle,
    watcher: RolloutWatcher,
    evictions: FuturesUnordered<BoxFuture<'a, (usize, EvictionResult)>>,
    wait_reasons: WaitReasons,
    blocked: Vec<(StaleWorkload, BlockReason)>,
    /// Restarts that are done and whose Event is not published yet.
    done_unreported: Vec<usize>,
}

impl WaveState<'_> {
    /// Ends a restart. Returns whether it was in progress: its end may be observed twice.
    fn finish(&mut self, id: usize, end: RestartResult) -> bool {
        self.watcher.remove(&self.plan[id].0.uid);
        lock(&self.wait_reasons).remove(&id);
        self.throttle.finish(id, end)
    }

    /// The problems to report while the wave runs, which may take hours.
    fn issues(&self, now: Timestamp) -> Vec<Issue> {
        let issue = |stale: &StaleWorkload, why: String| Issue {
            workload: stale.workload.clone(),
            stale_reasons: describe_reasons(&stale.reasons),
            message: why,
        };
        let wait_reasons = lock(&self.wait_reasons);
        let slow = self.throttle.slow(now).map(|id| {
            let wait_reason = wait_reasons.get(&id).map_or("no status yet", String::as_str);
            issue(&self.plan[id].0, format!("restart in progress for longer than expected: {wait_reason}"))
        });
        let blocked = self.blocked.iter().map(|(stale, why)| issue(stale, why.to_string()));
        slow.chain(blocked).take(MAX_REPORTED_ISSUES).collect()
    }
}

impl RestartWave<'_> {
    /// Restarts the workloads of `plan`, in their order as far as the throttle allows.
    pub async fn run(&mut self, plan: Vec<(StaleWorkload, RestartStrategy)>) -> Result<WaveOutcome, Error> {
        let items = plan.iter().enumerate().map(|(id, (stale, _))| QueuedRestart {
            id,
            namespace: stale.workload.namespace.clone().unwrap_or_default(),
            gateway: stale.gateway,
        });
        let throttle = RolloutThrottle::new(self.settings, items.collect::<Vec<_>>());
        let mut state = WaveState {
            client: self.client,
            plan,
            throttle,
            watcher: RolloutWatcher::new(self.client.clone()),
            evictions: FuturesUnordered::new(),
            wait_reasons: WaitReasons::default(),
            blocked: Vec::new(),
            done_unreported: Vec::new(),
        };
        let mut interrupted = 0;
        loop {
            if (self.is_superseded)() {
                interrupted += state.throttle.pending().count();
                state.throttle.cancel_pending();
            }
            self.report_done(&mut state).await;
            self.start_batch(&mut state).await?;
            self.report_progress(&state, interrupted);
            if state.throttle.is_finished() {
                break;
            }
            self.wait_for_batch(&mut state).await;
        }
        self.report_done(&mut state).await;
        Ok(wave_outcome(state, interrupted))
    }

    /// Starts the restarts that the throttle allows. They are recorded before they start.
    async fn start_batch(&mut self, state: &mut WaveState<'_>) -> Result<(), Error> {
        let now = current_second();
        let started = state.throttle.start_next(now);
        if started.is_empty() {
            return Ok(());
        }
        let mut started_at = HashMap::new();
        for id in &started {
            let stale = &state.plan[*id].0;
            let attempt =
                RestartAttempt { target: stale.target.clone(), generation: stale.generation, at: now };
            started_at.insert(*id, self.ledger.record_attempt(&stale.uid, attempt));
        }
        self.store.save_merging(self.ledger).await?;
        let client = self.client;
        let plan = &state.plan;
        let restarts = futures::stream::iter(started).map(|id| async move {
            let (stale, strategy) = &plan[id];
            match strategy {
                RestartStrategy::Evict => (id, None),
                RestartStrategy::Template | RestartStrategy::RestartAt => {
                    (id, Some(patch::restart(client, stale, *strategy, now).await))
                }
            }
        });
        let results: Vec<_> = restarts.buffer_unordered(MAX_CONCURRENT_WRITES).collect().await;
        for (id, result) in results {
            match result {
                None => self.start_eviction(state, id, started_at.get(&id).copied().unwrap_or(now)),
                Some(result) => self.handle_start(state, id, result).await,
            }
        }
        Ok(())
    }

    async fn handle_start(&self, state: &mut WaveState<'_>, id: usize, result: StartResult) {
        let stale = state.plan[id].0.clone();
        match result {
            StartResult::Rolling { generation, version, retried: repeated } => {
                tracing::info!(workload = %stale.workload, reasons = describe_reasons(&stale.reasons), "restarting workload");
                let (kind, uid) = (stale.kind, &stale.uid);
                state.watcher.add(id, kind, &stale.workload, uid, generation, &version).await;
                let now = if repeated { state.watcher.read_now(uid).await } else { None };
                if let Some((id, event)) = now {
                    self.handle_rollout_event(state, id, event).await;
                }
            }
            StartResult::Gone => {
                state.finish(id, RestartResult::Skipped);
            }
            StartResult::Refused(why) => self.mark_skipped(state, id, BlockReason::Refused(why)).await,
            StartResult::NoResponse(why) => self.mark_skipped(state, id, BlockReason::NoResponse(why)).await,
        }
    }

    fn start_eviction(&self, state: &mut WaveState<'_>, id: usize, since: Timestamp) {
        let stale = state.plan[id].0.clone();
        let (client, timeout) = (state.client, self.settings.rollout_timeout);
        let wait_reasons = state.wait_reasons.clone();
        tracing::info!(workload = %stale.workload, "evicting outdated pods of workload");
        state.evictions.push(Box::pin(async move {
            let report_wait = |why| drop(lock(&wait_reasons).insert(id, why));
            (id, eviction::evict_outdated_pods(client, &stale, since, timeout, &report_wait).await)
        }));
    }

    /// Follows restarts until the next batch may start.
    async fn wait_for_batch(&self, state: &mut WaveState<'_>) {
        let tick = tokio::time::sleep(BATCH_INTERVAL);
        tokio::pin!(tick);
        while !state.throttle.is_finished() && !state.throttle.should_start_more() {
            let event = tokio::select! {
                (id, event) = state.watcher.next_event() => Some((id, event)),
                Some((id, result)) = state.evictions.next(), if !state.evictions.is_empty() => {
                    self.handle_eviction(state, id, result).await;
                    None
                }
                () = &mut tick => break,
            };
            if let Some((id, event)) = event {
                self.handle_rollout_event(state, id, event).await;
            }
        }
        for (id, event) in state.watcher.repair().await {
            self.handle_rollout_event(state, id, event).await;
        }
        self.fail_overdue(state).await;
    }

    /// Ends restarts that exceeded their timeout. They are read once more, because events may have been lost. If that fails, the
    /// timeout is extended once: an outage of the API server delays rollouts, too.
    async fn fail_overdue(&self, state: &mut WaveState<'_>) {
        let now = current_second();
        for id in state.throttle.overdue(now) {
            // Evictions have a timeout per pod.
            if state.plan[id].1 == RestartStrategy::Evict {
                continue;
            }
            let uid = state.plan[id].0.uid.clone();
            match state.watcher.read_now(&uid).await {
                Some((_, RolloutEvent::Status(RolloutStatus::InProgress(why)))) => {
                    let after = self.settings.rollout_timeout;
                    self.mark_failed(state, id, format!("rollout not complete after {after:?}: {why}")).await;
                }
                Some((id, event)) => self.handle_rollout_event(state, id, event).await,
                None if state.throttle.extend_timeout(id, now) => {}
                None => self.mark_failed(state, id, "failed to read its rollout status".to_owned()).await,
            }
        }
    }

    async fn handle_rollout_event(&self, state: &mut WaveState<'_>, id: usize, event: RolloutEvent) {
        match event {
            RolloutEvent::Status(RolloutStatus::InProgress(why)) => {
                drop(lock(&state.wait_reasons).insert(id, why));
            }
            RolloutEvent::Status(RolloutStatus::Complete) => self.mark_done(state, id),
            RolloutEvent::Status(RolloutStatus::Failed(why)) => self.mark_failed(state, id, why).await,
            RolloutEvent::Gone => {
                state.finish(id, RestartResult::Skipped);
            }
        }
    }

    async fn handle_eviction(&self, state: &mut WaveState<'_>, id: usize, result: EvictionResult) {
        match result {
            EvictionResult::Done => self.mark_done(state, id),
            // The budget works as intended, which says nothing about other restarts.
            EvictionResult::Refused(why) => self.mark_skipped(state, id, BlockReason::Refused(why)).await,
            EvictionResult::Failed(why) => self.mark_failed(state, id, why).await,
        }
    }

    fn mark_done(&self, state: &mut WaveState<'_>, id: usize) {
        if state.finish(id, RestartResult::Done) {
            state.done_unreported.push(id);
            self.metrics.record_restart(state.plan[id].0.kind, true);
        }
    }

    /// Publishes Events on the workloads that were restarted.
    async fn report_done(&self, state: &mut WaveState<'_>) {
        let done = std::mem::take(&mut state.done_unreported);
        let plan = &state.plan;
        futures::stream::iter(done)
            .for_each_concurrent(MAX_CONCURRENT_WRITES, |id| self.events.record_restarted(&plan[id].0))
            .await;
    }

    async fn mark_failed(&self, state: &mut WaveState<'_>, id: usize, why: String) {
        if !state.finish(id, RestartResult::Failed) {
            return;
        }
        let stale = state.plan[id].0.clone();
        self.metrics.record_restart(stale.kind, false);
        self.record_blocked(state, stale, BlockReason::RolloutFailed(why)).await;
    }

    async fn mark_skipped(&self, state: &mut WaveState<'_>, id: usize, why: BlockReason) {
        state.finish(id, RestartResult::Skipped);
        let stale = state.plan[id].0.clone();
        self.record_blocked(state, stale, why).await;
    }

    async fn record_blocked(&self, state: &mut WaveState<'_>, stale: StaleWorkload, why: BlockReason) {
        tracing::warn!(workload = %stale.workload, %why, "workload was not restarted");
        self.events.record_failed(&stale, &why).await;
        state.blocked.push((stale, why));
    }

    /// Interrupted restarts count as pending, so that the wave does not seem complete.
    fn report_progress(&self, state: &WaveState<'_>, interrupted: usize) {
        let (running, done, failed) = state.throttle.counts();
        let pending = state.throttle.pending().count() + interrupted;
        let issues = state.issues(current_second());
        lock(self.on_progress)(RestartProgress { pending, running, done, failed, issues });
    }
}

fn wave_outcome(state: WaveState<'_>, interrupted: usize) -> WaveOutcome {
    let (_, done, failed) = state.throttle.counts();
    let stopped = state.throttle.stop_scope();
    let mut blocked = state.blocked;
    let suspended = state
        .throttle
        .pending()
        .chain(state.throttle.blocked())
        .map(|id| (state.plan[id].0.clone(), BlockReason::WaveSuspended));
    blocked.extend(suspended.collect::<Vec<_>>());
    WaveOutcome { done, failed, blocked, stopped, interrupted }
}
