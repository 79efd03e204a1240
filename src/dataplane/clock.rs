//! The current time, for the parts that make requests. Decisions take it as an argument.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// The current second. The API server stores creation times in whole seconds, and comparisons with these must not depend on
/// fractions of a second.
#[must_use]
pub fn current_second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The time from `since` to `now`; zero if `since` is in the future.
#[must_use]
pub fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
