//! Both sides of late, for people: the batches of the last ten seconds, and their sums.

use std::collections::VecDeque;

use fm_api::verdict::Side;
use jiff::SignedDuration;

use crate::evidence::{Batch, Tally};

/// How far back the sides are shown.
const LATELY: SignedDuration = SignedDuration::from_secs(10);

/// The last batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Lately {
    batches: VecDeque<Batch>,
    /// What the canary did in all of them.
    pub(super) canary: Tally,
    /// What stable did.
    pub(super) stable: Tally,
}

impl Lately {
    /// Takes in a batch, and forgets old ones; the newest stays, however long it was.
    pub(super) fn add(&mut self, batch: Batch) {
        let now = batch.ended;
        self.canary.merge(&batch.canary);
        self.stable.merge(&batch.stable);
        self.batches.push_back(batch);
        while self.batches.len() > 1
            && (self.batches.front()).is_some_and(|b| now.duration_since(b.begun) > LATELY)
            && let Some(old) = self.batches.pop_front()
        {
            self.canary.take_away(&old.canary);
            self.stable.take_away(&old.stable);
        }
    }

    /// A side, of its sum.
    pub(super) fn side(&self, sum: &Tally) -> Side {
        let spans = self.batches.iter().map(|b| b.ended.duration_since(b.begun));
        let seconds: f64 = spans.map(|span| span.as_secs_f64()).sum();
        let per = |n: u64, whole: f64| if whole > 0.0 { n as f64 / whole } else { 0.0 };
        let (requests, bad) = (sum.counted.requests, sum.counted.bad);
        let quantile = |q| sum.latency.as_ref().and_then(|times| times.quantile(q));
        Side {
            rps: per(requests, seconds),
            error_rate: per(bad, requests as f64),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            ..Side::default()
        }
    }
}
