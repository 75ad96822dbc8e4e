//! Response times as counts: how many requests of each side are slower than a quantile of stable.
//!
//! The quantile comes from a histogram of stable's earlier batches only, in which a count halves every minute, so the limits
//! are fixed before the batch they judge and the evidence stays valid. Pure.
//!
//! A limit is the upper edge of the bin that holds the quantile. The canary's limit, `1 + shift` times that and a least
//! difference beyond it, is rounded to a bin's edge: up where harm is asked for, down where non-inferiority is, so that rounding never makes evidence.

use fm_telemetry::bins::Bins;
use fm_telemetry::histogram::{GROWTH, Histogram, lower_edge};
use serde::{Deserialize, Serialize};

use crate::pmix::{Counts, Question};

/// Seconds in which an old count loses half its weight.
const HALF_LIFE: f64 = 60.0;
/// A bin lighter than this is dropped: a count after some twenty minutes.
const NEGLIGIBLE: f64 = 1e-6;

/// Stable's response times lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decayed {
    bins: Bins<f64>,
}

impl Decayed {
    /// Lets `seconds` pass, then adds a batch.
    pub fn add(&mut self, batch: &Histogram, seconds: f64) {
        let factor = (-seconds.max(0.0) / HALF_LIFE).exp2();
        self.bins.retain(|_, weight| {
            *weight *= factor;
            *weight > NEGLIGIBLE
        });
        for (bin, count) in batch.iter() {
            self.bins.change(bin, |weight| *weight += count as f64);
        }
    }

    /// Adds another's.
    pub(crate) fn merge(&mut self, other: &Decayed) {
        self.bins.merge(&other.bins, |weight, more| *weight += more);
    }

    /// Without another that was merged into it.
    pub(crate) fn without(&self, other: &Decayed) -> Decayed {
        let mut left = self.clone();
        left.bins.merge(&other.bins, |weight, less| *weight -= less);
        left.bins.retain(|_, weight| *weight > NEGLIGIBLE);
        left
    }

    /// The bin that holds the `q`-quantile; `None` before there is anything.
    #[must_use]
    pub fn quantile_bin(&self, q: f64) -> Option<u16> {
        let wanted = q * self.bins.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut sum = 0.0;
        let found = self.bins.iter().find(|(_, weight)| {
            sum += weight;
            sum >= wanted
        });
        found.or(self.bins.iter().next_back()).map(|(bin, _)| bin)
    }
}

/// What is slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The quantile of stable's.
    pub q: f64,
    /// How much longer the canary may take, as a fraction …
    pub shift: f64,
    /// … and by so many milliseconds at least.
    pub least_ms: f64,
}

/// The batch's counts of slow requests at stable's quantile; `None` while that is unknown.
#[must_use]
pub fn slow(
    stable_lately: &Decayed,
    question: Question,
    Limit { q, shift, least_ms }: Limit,
    canary: &Histogram,
    stable: &Histogram,
) -> Option<Counts> {
    let limit = stable_lately.quantile_bin(q)?.saturating_add(1);
    let least = least_ms / lower_edge(limit);
    let bins = (1.0 + shift.max(least).max(0.0)).ln() / GROWTH.ln();
    // Saturating casts: an absurd shift only makes nothing slow.
    let further = match question {
        Question::Harm => (bins - 1e-9).ceil() as u16,
        Question::NonInferiority => (bins + 1e-9).floor() as u16,
    };
    Some(Counts {
        x: canary.count_from(limit.saturating_add(further)),
        y: stable.count_from(limit),
        n_c: canary.count(),
        n_s: stable.count(),
    })
}
