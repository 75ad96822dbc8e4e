//! Growing pauses. The only file that knows the `backoff` crate, and only its policy.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Pauses that grow with each failure, with some chance in them so that many do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: ExponentialBackoff,
}

impl Backoff {
    /// For a reconciliation: from 100 ms to 30 s.
    pub(crate) fn for_reconcile() -> Self {
        Self::between(Duration::from_millis(100), Duration::from_secs(30))
    }

    /// For the store, which everything waits for: from 50 ms to 2 s.
    pub(crate) fn for_store() -> Self {
        Self::between(Duration::from_millis(50), Duration::from_secs(2))
    }

    fn between(first: Duration, most: Duration) -> Self {
        Self {
            policy: ExponentialBackoff {
                current_interval: first,
                initial_interval: first,
                max_interval: most,
                randomization_factor: 0.2,
                multiplier: 2.0,
                max_elapsed_time: None,
                ..ExponentialBackoff::default()
            },
        }
    }

    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        // Without a limit of time the policy never ends.
        self.policy
            .next_backoff()
            .unwrap_or(self.policy.max_interval)
    }

    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.policy.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew_after_success() {
        let mut backoff = Backoff::for_reconcile();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= Duration::from_millis(120), "{pauses:?}");
        assert!(pauses[4] >= Duration::from_millis(1200), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(36)));
        assert!(pauses[19] >= Duration::from_secs(24), "{pauses:?}");
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(120));
    }
}
