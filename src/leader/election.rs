//! The loop that carries out the decisions: it reads, watches and replaces the Lease and publishes who leads.

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

/// The API server ends a watch after this time, so that one whose connection died silently does not last.
const WATCH_SECONDS: u32 = 240;

/// How long giving up the Lease may take; a process that stops has little time left.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The candidacy of this process.
pub struct Election {
    leases: Api<Lease>,
    identity: String,
    timing: Timing,
    observed: Observation,
    /// Whether `observed` may be older than the last answer of the API server.
    stale: bool,
    /// Whether a claim was ever sent: an answer that got lost may have made us the holder.
    claimed: bool,
    publish: watch::Sender<Leadership>,
}

/// Why a leader stopped leading without having been told to. The process has to exit.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipLost {
    /// The API server could not be reached, or refused, for as long as the Lease allows.
    #[error("the Lease {LEADER_LEASE} could not be renewed within {0:?}")]
    RenewDeadline(Duration),
    /// Somebody else holds the Lease, for example after it was edited by hand.
    #[error("the Lease {LEADER_LEASE} was taken over by {holder}")]
    TakenOver {
        /// The identity of the new holder.
        holder: String,
    },
}

/// Why one try to get or renew the Lease failed; the next one may succeed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("reading the Lease {LEADER_LEASE} failed")]
    Read(#[source] kube::Error),
    #[error("writing the Lease {LEADER_LEASE} failed")]
    Write(#[source] kube::Error),
    #[error("watching the Lease {LEADER_LEASE} failed")]
    Watch(#[source] kube::Error),
    #[error("another process wrote the Lease {LEADER_LEASE} first")]
    Conflict,
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
}

/// What one successful try came to.
enum AttemptOutcome {
    /// We hold the Lease by a claim that was sent at this moment.
    Held { sent: Instant },
    /// Another process holds it until this moment at least.
    HeldByOther { until: Instant },
}

impl Election {
    /// A candidate named `identity` for the Lease in `namespace`, and the value that tells who leads. `client` must
    /// not be one that refuses writes to standbys.
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

    /// Waits for the Lease and keeps it until `stop` is cancelled, then gives it up.
    ///
    /// Cancel `stop` only when this process has stopped writing: others take over at once.
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
        info!(lease = LEADER_LEASE, identity = self.identity, "leading");
        loop {
            self.publish_leading(sent);
            sleep(self.timing.retry_period()).await;
            let deadline = sent + self.timing.renew_deadline();
            sent = timeout_at(deadline, self.renew())
                .await
                .map_err(|_| LeadershipLost::RenewDeadline(self.timing.renew_deadline()))??;
        }
    }

    /// Tries until this process holds the Lease; returns when the claim that won was sent.
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

    /// Renews until it succeeds; the caller sets the deadline.
    async fn renew(&mut self) -> Result<Instant, LeadershipLost> {
        loop {
            match self.attempt().await {
                Ok(AttemptOutcome::Held { sent }) => return Ok(sent),
                Ok(AttemptOutcome::HeldByOther { .. }) => {
                    let holder = self.observed.holder().unwrap_or("nobody").to_owned();
                    return Err(LeadershipLost::TakenOver { holder });
                }
                Err(error) => self.pause_after(&error).await,
            }
        }
    }

    /// Decides once and carries it out. After an error the next attempt reads the Lease again.
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

    /// Follows the Lease until it may be free: its holder gave it up, let it expire, or it is gone.
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
                // The version is too old, or the server ended the watch: read again.
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
                    info!(lease = LEADER_LEASE, holder, "standing by");
                }
                *published = holder;
                true
            }
            _ => false,
        });
    }

    /// Readers of the value always see the newest moment; only becoming the leader wakes those who wait for a change.
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

    /// Gives the Lease up if we hold it. A failure costs the others a wait, no more, so it is only logged.
    async fn give_up(&mut self) {
        match timeout(RELEASE_TIMEOUT, self.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(
                    "the Lease {LEADER_LEASE} was not released and will expire: {}",
                    format_error_chain(&error)
                );
            }
            Err(_) => warn!("the Lease {LEADER_LEASE} was not released in time and will expire"),
        }
    }

    async fn release(&mut self) -> Result<(), kube::Error> {
        // A renewal may have been cut off by the stop, so what was last seen may be out of date.
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
        info!(lease = LEADER_LEASE, "released");
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
