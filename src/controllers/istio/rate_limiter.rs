//! Limits the rate of reconciles, all resources together, with a token bucket: `--rate-limiter-frequency` tokens per second,
//! at most `--rate-limiter-burst` of them in stock. A reconcile takes one token and waits for it.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// The bucket, as the time at which it is full again: with `n` tokens missing, that is `n` intervals from now.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// Time in which one token is added.
    interval: Duration,
    /// Time in which an empty bucket is filled.
    capacity: Duration,
    full_at: Mutex<Instant>,
}

impl RateLimiter {
    /// A full bucket. `frequency` is in tokens per second; both numbers are at least 1.
    pub(super) fn new(frequency: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / frequency.max(1);
        let capacity = interval.saturating_mul(burst.max(1));
        Self { interval, capacity, full_at: Mutex::new(Instant::now()) }
    }

    /// Takes a token; waits for one if the bucket is empty. A dropped call takes none.
    pub(super) async fn acquire(&self) {
        while let Some(available_at) = self.try_acquire(Instant::now()) {
            tokio::time::sleep_until(available_at).await;
        }
    }

    /// Takes a token, or returns when the next one is available.
    fn try_acquire(&self, now: Instant) -> Option<Instant> {
        let mut full_at = lock(&self.full_at);
        let next = (*full_at).max(now) + self.interval;
        if next > now + self.capacity {
            return Some(next - self.capacity);
        }
        *full_at = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reconciles_run_at_the_frequency_after_a_burst() {
        let limiter = RateLimiter::new(10, 3);
        let started = Instant::now();
        let mut times = Vec::new();
        for _ in 0..6 {
            limiter.acquire().await;
            times.push(started.elapsed().as_millis());
        }
        assert_eq!(times, [0, 0, 0, 100, 200, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_bucket_fills_up_to_the_burst() {
        let limiter = RateLimiter::new(10, 2);
        for _ in 0..2 {
            limiter.acquire().await;
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let started = Instant::now();
        for _ in 0..3 {
            limiter.acquire().await;
        }
        assert_eq!(started.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_call_takes_no_token() {
        let limiter = RateLimiter::new(1, 1);
        limiter.acquire().await;
        let dropped = tokio::time::timeout(Duration::from_millis(10), limiter.acquire()).await;
        assert!(dropped.is_err());
        let started = Instant::now();
        limiter.acquire().await;
        assert_eq!(started.elapsed(), Duration::from_millis(990));
    }
}
