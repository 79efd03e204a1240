//! Delays that grow with the number of consecutive failures of a resource.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::lock::lock;

/// Counts consecutive failures by UID of the resource.
#[derive(Debug)]
pub(crate) struct BackOff {
    base: Duration,
    max: Duration,
    failures: Mutex<HashMap<String, u32>>,
}

impl BackOff {
    pub(crate) fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, failures: Mutex::default() }
    }

    /// Records a failure and returns the delay before the next attempt.
    pub(crate) fn record_failure(&self, uid: &str) -> Duration {
        let mut failures = lock(&self.failures);
        let count = failures.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        delay(self.base, self.max, *count)
    }

    /// Resets the failures of a resource.
    pub(crate) fn reset(&self, uid: &str) {
        lock(&self.failures).remove(uid);
    }
}

/// Doubles from `base` with every failure after the first, up to `max`.
fn delay(base: Duration, max: Duration, failures: u32) -> Duration {
    let factor = 2u32.saturating_pow(failures.saturating_sub(1));
    base.saturating_mul(factor).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let (base, max) = (Duration::from_secs(1), Duration::from_secs(1000));
        let delays: Vec<u64> = [1, 2, 3, 10, 11, 4000].map(|n| delay(base, max, n).as_secs()).to_vec();
        assert_eq!(delays, [1, 2, 4, 512, 1000, 1000]);
    }

    #[test]
    fn a_success_resets_the_count() {
        let back_off = BackOff::new(Duration::from_secs(1), Duration::from_secs(1000));
        back_off.record_failure("a");
        assert_eq!(back_off.record_failure("a"), Duration::from_secs(2));
        back_off.reset("a");
        assert_eq!(back_off.record_failure("a"), Duration::from_secs(1));
    }
}
