//! The three durations of an election and their constraints.

use std::time::Duration;

use tokio::time::Instant;

/// The share of the lease that a holder leaves unused, so that its last write has ended before another process can acquire the
/// Lease.
const SAFETY_MARGIN_DIVISOR: u32 = 15;

/// Retries are spread over the retry period and a fifth of it, as client-go does with its jitter factor of 1.2.
const JITTER_DIVISOR: u32 = 5;

/// The durations of an election, with the names of client-go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Durations with which a healthy leader could lose its Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The Lease stores whole seconds, at least one.
    #[error("the lease duration {0:?} is not a whole number of seconds of at least 1")]
    LeaseDuration(Duration),
    /// A leader that retries after its Lease has expired could write at the same time as its successor.
    #[error(
        "the renew deadline {renew_deadline:?} is not shorter than the lease duration {lease_duration:?}"
    )]
    RenewDeadline {
        /// As configured.
        renew_deadline: Duration,
        /// As configured.
        lease_duration: Duration,
    },
    /// A leader that exits before its second attempt would lose the Lease after a single failure.
    #[error(
        "the retry period {retry_period:?} with its jitter of a fifth is not shorter than the renew deadline {renew_deadline:?}"
    )]
    RetryPeriod {
        /// As configured.
        retry_period: Duration,
        /// As configured.
        renew_deadline: Duration,
    },
    /// A period of zero would send requests continuously.
    #[error("the retry period is zero")]
    NoRetryPeriod,
}

impl Default for Timing {
    /// The usual defaults of client-go: 15 s, 10 s and 2 s.
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// Checks the rules that client-go's `NewLeaderElector` checks.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, TimingError> {
        let whole_seconds =
            lease_duration.subsec_nanos() == 0 && i32::try_from(lease_duration.as_secs()).is_ok();
        if lease_duration.is_zero() || !whole_seconds {
            return Err(TimingError::LeaseDuration(lease_duration));
        }
        if renew_deadline >= lease_duration {
            return Err(TimingError::RenewDeadline { renew_deadline, lease_duration });
        }
        if retry_period.is_zero() {
            return Err(TimingError::NoRetryPeriod);
        }
        if retry_period + retry_period / JITTER_DIVISOR >= renew_deadline {
            return Err(TimingError::RetryPeriod { retry_period, renew_deadline });
        }
        Ok(Self { lease_duration, renew_deadline, retry_period })
    }

    /// Duration after which a Lease that is not renewed can be acquired.
    #[must_use]
    pub fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// Duration that the leader retries to renew before it exits.
    #[must_use]
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// Interval between renewals.
    #[must_use]
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// Timeout of one request for the Lease. Two fit in the renew deadline.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// The delay before the next attempt. `random` selects the jitter.
    #[must_use]
    pub fn pause(&self, random: u8) -> Duration {
        self.retry_period + self.retry_period / JITTER_DIVISOR * u32::from(random) / u32::from(u8::MAX)
    }

    /// Until when a holder may write whose last accepted claim was *sent* at `sent`. Other processes count from when they observe
    /// the claim, which is later.
    #[must_use]
    pub fn may_write_until(&self, sent: Instant) -> Instant {
        sent + self.lease_duration * (SAFETY_MARGIN_DIVISOR - 1) / SAFETY_MARGIN_DIVISOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_durations_are_refused() {
        let timing = |lease: u64, renew: u64, retry: u64| {
            let millis = Duration::from_millis;
            Timing::new(millis(lease), millis(renew), millis(retry)).map_err(|error| error.to_string())
        };
        assert!(timing(15_000, 10_000, 2_000).is_ok());
        for (lease, renew, retry, reason) in [
            (0, 0, 0, "lease duration"),
            (1_500, 1_000, 100, "lease duration"),
            (15_000, 15_000, 2_000, "renew deadline"),
            (15_000, 10_000, 9_000, "retry period"),
            (15_000, 10_000, 0, "zero"),
        ] {
            let error = timing(lease, renew, retry).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn the_pause_stays_within_a_fifth_of_the_retry_period() {
        let timing = Timing::default();
        assert_eq!(timing.pause(0), Duration::from_secs(2));
        assert_eq!(timing.pause(u8::MAX), Duration::from_millis(2_400));
    }

    #[test]
    fn a_holder_stops_writing_before_others_may_take_over() {
        let sent = Instant::now();
        assert_eq!(Timing::default().may_write_until(sent) - sent, Duration::from_secs(14));
    }
}
