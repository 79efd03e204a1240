//! The loop of the election: reads, watches and replaces the Lease, and publishes who leads.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{PostParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Action, Leadership, Observation, Timing, decide, lease};
use crate::api::names::LEADER_LEASE;
use crate::telemetry::format_error_chain;

/// Timeout of a watch on the API server, so that a watch on a dead connection ends.
const WATCH_SECONDS: u32 = 240;

/// Timeout for releasing the Lease, because a process that stops has little time left.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The candidacy of this process.
pub struct Election {
    leases: Api<Lease>,
    identity: String,
    timing: Timing,
    observed: Observation,
    /// Whether `observed` can be older than the last response of the API server.
    stale: bool,
    /// Whether a claim was ever sent: this process can be the holder if the response was lost.
    claimed: bool,
    publish: watch::Sender<Leadership>,
}

/// Why a leader lost the Lease. The process has to exit.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipLost {
    /// The API server was unreachable, or rejected writes, until the renew deadline.
    #[error("failed to renew the Lease {LEADER_LEASE} within {0:?}")]
    RenewDeadline(Duration),
    /// Another process holds the Lease, for example after a manual edit.
    #[error("the Lease {LEADER_LEASE} was acquired by {holder}")]
    TakenOver {
        /// The identity of the new holder.
        holder: String,
    },
}

/// Why one attempt to acquire or renew the Lease failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("failed to read the Lease {LEADER_LEASE}")]
    Read(#[source] kube::Error),
    #[error("failed to write the Lease {LEADER_LEASE}")]
    Write(#[source] kube::Error),
    #[error("failed to watch the Lease {LEADER_LEASE}")]
    Watch(#[source] kube::Error),
    #[error("conflict: another process wrote the Lease {LEADER_LEASE} first")]
    Conflict,
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
}

/// The result of one successful attempt.
enum AttemptOutcome {
    /// This process holds the Lease with a claim that was sent at this moment.
    Held { sent: Instant },
    /// Another process holds the Lease at least until this moment.
    HeldByOther { until: Instant },
}

impl Election {
    /// A candidate named `identity` for the Lease in `namespace`, and the channel that publishes who leads. `client` must not
    /// be the one that rejects writes without leadership.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: &str,
        identity: impl Into<String>,
        timing: Timing,
    ) -> (Self, watch::Receiver<Leadership>) {
        let (publish, leadership) = watch::channel(Leadership::Standby { holder: None });
        let leases = Api::namespaced(client, namespace);
        let election = Self {
            leases,
            identity: identity.into(),
            timing,
            observed: Observation::default(),
            stale: true,
            claimed: false,
            publish,
        };
        (election, leadership)
    }

    /// Acquires the Lease, renews it until `stop` is cancelled, then releases it.
    ///
    /// Cancel `stop` only when this process has stopped writing, because another process can lead immediately.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), LeadershipLost> {
        let result = tokio::select! {
            result = self.lead() => result,
            () = stop.cancelled() => Ok(()),
        };
        self.publish.send_replace(Leadership::Ended);
        if result.is_ok() && self.claimed {
            self.give_up().await;
        }
        result
    }

    async fn lead(&mut self) -> Result<(), LeadershipLost> {
        let mut sent = self.acquire().await;
        info!(lease = LEADER_LEASE, identity = self.identity, "acquired the leader lease");
        loop {
            self.publish_leading(sent);
            sleep(self.timing.retry_period()).await;
            let deadline = sent + self.timing.renew_deadline();
            sent = timeout_at(deadline, self.renew())
                .await
                .map_err(|_| LeadershipLost::RenewDeadline(self.timing.renew_deadline()))??;
        }
    }

    /// Retries until this process holds the Lease. Returns when the successful claim was sent.
    async fn acquire(&mut self) -> Instant {
        loop {
            let result = match self.attempt().await {
                Ok(AttemptOutcome::Held { sent }) => return sent,
                Ok(AttemptOutcome::HeldByOther { until }) => self.watch_until(until).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.pause_after(&error).await;
            }
        }
    }

    /// Retries to renew until it succeeds. The caller sets the deadline.
    async fn renew(&mut self) -> Result<Instant, LeadershipLost> {
        loop {
            match self.attempt().await {
                Ok(AttemptOutcome::Held { sent }) => return Ok(sent),
                Ok(AttemptOutcome::HeldByOther { .. }) => {
                    let holder = self.observed.holder().unwrap_or("no one").to_owned();
                    return Err(LeadershipLost::TakenOver { holder });
                }
                Err(error) => self.pause_after(&error).await,
            }
        }
    }

    /// Decides and acts once. After an error, the next attempt reads the Lease again.
    async fn attempt(&mut self) -> Result<AttemptOutcome, AttemptError> {
        let limit = self.timing.request_timeout();
        if self.stale {
            let read = timeout(limit, self.leases.get_opt(LEADER_LEASE)).await;
            let read = read.map_err(|_| AttemptError::Timeout(limit))?.map_err(AttemptError::Read)?;
            self.observe(read);
        }
        let sent = Instant::now();
        if let Action::Wait { until } = decide(&self.observed, &self.identity, sent) {
            return Ok(AttemptOutcome::HeldByOther { until });
        }
        self.stale = true;
        self.claimed = true;
        let written = timeout(limit, self.claim()).await.map_err(|_| AttemptError::Timeout(limit))?;
        self.observe(Some(written.map_err(write_error)?));
        Ok(AttemptOutcome::Held { sent })
    }

    async fn claim(&self) -> Result<Lease, kube::Error> {
        let claim = lease::claim(self.observed.lease(), &self.identity, &self.timing, wall_clock());
        if self.observed.lease().is_some() {
            self.leases.replace(LEADER_LEASE, &PostParams::default(), &claim).await
        } else {
            self.leases.create(&PostParams::default(), &claim).await
        }
    }

    /// Watches the Lease until it is released, expired or deleted.
    async fn watch_until(&mut self, mut until: Instant) -> Result<(), AttemptError> {
        let params = WatchParams::default()
            .fields(&format!("metadata.name={LEADER_LEASE}"))
            .timeout(WATCH_SECONDS)
            .disable_bookmarks();
        let observed_version =
            self.observed.lease().and_then(|lease| lease.metadata.resource_version.clone());
        let version = observed_version.unwrap_or_else(|| "0".to_owned());
        self.stale = true;
        let limit = self.timing.request_timeout();
        let started = timeout(limit, self.leases.watch(&params, &version)).await;
        let stream = started.map_err(|_| AttemptError::Timeout(limit))?.map_err(AttemptError::Watch)?;
        let mut events = stream.boxed();
        loop {
            let event = tokio::select! {
                event = events.try_next() => event.map_err(AttemptError::Watch)?,
                () = sleep_until(until) => return Ok(()),
            };
            match event {
                Some(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => self.observe(Some(lease)),
                Some(WatchEvent::Deleted(_)) => self.observe(None),
                Some(WatchEvent::Bookmark(_)) => {}
                // The version is too old, or the API server ended the watch: read again.
                Some(WatchEvent::Error(_)) | None => return Ok(()),
            }
            match decide(&self.observed, &self.identity, Instant::now()) {
                Action::Wait { until: later } => until = later,
                Action::Create | Action::TakeOver | Action::Renew => return Ok(()),
            }
        }
    }

    fn observe(&mut self, lease: Option<Lease>) {
        self.observed.observe(lease, Instant::now(), self.timing.lease_duration());
        self.stale = false;
        let holder = self.observed.holder().filter(|holder| *holder != self.identity).map(str::to_owned);
        self.publish.send_if_modified(|leadership| match leadership {
            Leadership::Standby { holder: published } if *published != holder => {
                if let Some(holder) = &holder {
                    info!(lease = LEADER_LEASE, holder, "waiting for the leader lease");
                }
                *published = holder;
                true
            }
            _ => false,
        });
    }

    /// Readers always see the latest value. Only becoming the leader notifies those that wait for a change.
    fn publish_leading(&self, sent: Instant) {
        let until = Some(self.timing.may_write_until(sent));
        self.publish.send_if_modified(|leadership| {
            let became = !leadership.is_leading();
            *leadership = Leadership::Leading { until };
            became
        });
    }

    async fn pause_after(&mut self, error: &AttemptError) {
        self.stale = true;
        if matches!(error, AttemptError::Conflict) {
            debug!("{error}");
        } else {
            warn!("{}", format_error_chain(error));
        }
        sleep(self.timing.pause(uuid::Uuid::new_v4().as_bytes()[0])).await;
    }

    /// Releases the Lease if this process holds it. A failure is only logged, because the Lease then expires.
    async fn give_up(&mut self) {
        match timeout(RELEASE_TIMEOUT, self.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(
                    "failed to release the Lease {LEADER_LEASE}, which expires instead: {}",
                    format_error_chain(&error)
                );
            }
            Err(_) => warn!("timed out releasing the Lease {LEADER_LEASE}, which expires instead"),
        }
    }

    async fn release(&mut self) -> Result<(), kube::Error> {
        // The stop can have interrupted a renewal, so that the observed Lease can be outdated.
        if self.stale {
            let lease = self.leases.get_opt(LEADER_LEASE).await?;
            self.observe(lease);
        }
        let Some(held) = self.observed.lease().filter(|lease| lease::holder(lease) == Some(&self.identity))
        else {
            return Ok(());
        };
        let released = lease::release(held, wall_clock());
        self.leases.replace(LEADER_LEASE, &PostParams::default(), &released).await?;
        info!(lease = LEADER_LEASE, "released the leader lease");
        Ok(())
    }
}

fn write_error(error: kube::Error) -> AttemptError {
    match error {
        kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
            AttemptError::Conflict
        }
        other => AttemptError::Write(other),
    }
}

fn wall_clock() -> MicroTime {
    MicroTime(Timestamp::now())
}
