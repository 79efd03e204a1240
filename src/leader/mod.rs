//! Leader election on a Lease, with the semantics of client-go's `leaderelection` package, so that this operator and the Go
//! operator exclude each other. It publishes who leads as a value on a channel. It must not write anything but its Lease.

mod decide;
mod election;
mod lease;
#[cfg(test)]
mod model_tests;
mod timing;

use std::time::Duration;

use tokio::time::Instant;

pub use self::decide::{Action, Observation, decide};
pub use self::election::{Election, LeadershipLost};
pub use self::timing::{Timing, TimingError};

/// Whether this process may write to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another process leads, or nobody has been seen yet. Nothing may be written.
    Standby {
        /// The holder of the Lease as last seen.
        holder: Option<String>,
    },
    /// This process leads.
    Leading {
        /// The moment after which nothing may be written unless the Lease has been renewed; `None` when leader
        /// election is off.
        until: Option<Instant>,
    },
    /// This process led and never will again; it is about to exit.
    Ended,
}

impl Leadership {
    /// Whether this process holds the Lease. Use it to start work; a single write is judged by [`Self::remaining`].
    #[must_use]
    pub fn is_leading(&self) -> bool {
        matches!(self, Self::Leading { .. })
    }

    /// How long a write that starts at `now` may take, or `None` if it must not start.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Leading { until: None } => Some(Duration::MAX),
            Self::Leading { until: Some(until) } => {
                until.checked_duration_since(now).filter(|left| !left.is_zero())
            }
            Self::Standby { .. } | Self::Ended => None,
        }
    }
}
