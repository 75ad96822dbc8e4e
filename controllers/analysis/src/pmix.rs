//! The e-process: a sequential test of two rates that may be looked at after every batch.
//!
//! Each batch multiplies the evidence by a factor whose expectation under the null hypothesis is at most 1, whatever
//! the rates are and however they drift, as long as both sides serve at the same time. So, by Ville's inequality, the
//! chance that evidence `E` ever reaches `1/alpha` under the null hypothesis is at most `alpha`. Evidence is kept as two sums per
//! multiplier of a grid, `S` and `C`, which do not depend on the margin `d`:
//! `log E(d) = logsumexp((S - d C) / deff) - ln(size of the grid)`.
//!
//! Pure. What must never happen: `E` itself being formed (it overflows), or evidence from a batch that lacks a side.

use fm_api::verdict::Counted;
use serde::{Deserialize, Serialize};

/// Multipliers in each grid.
pub const GRID: usize = 6;

/// Which null hypothesis the evidence is against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Against `p_canary <= r0 * p_stable + d`: is the canary worse?
    Harm,
    /// Against `p_canary >= r0 * p_stable + d`: is the canary at most so much worse?
    NonInferiority,
}

impl Question {
    /// Its multipliers.
    #[must_use]
    pub const fn grid(self) -> &'static [f64; GRID] {
        match self {
            Question::Harm => &[1.3, 1.8, 3.0, 6.0, 15.0, 60.0],
            Question::NonInferiority => &[0.02, 0.1, 0.25, 0.45, 0.65, 0.82],
        }
    }
}

/// What both sides did in one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Bad canary requests.
    pub x: u64,
    /// Bad stable requests.
    pub y: u64,
    /// All canary requests.
    pub n_c: u64,
    /// All stable requests.
    pub n_s: u64,
}

impl Counts {
    /// Of what each side did.
    #[must_use]
    pub fn of(canary: Counted, stable: Counted) -> Self {
        Self {
            x: canary.bad,
            y: stable.bad,
            n_c: canary.requests,
            n_s: stable.requests,
        }
    }
}

/// The evidence of all batches so far for one question at one `r0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// `S` by multiplier.
    pub s: [f64; GRID],
    /// `C` by multiplier.
    pub c: [f64; GRID],
}

impl Sums {
    /// Takes in a batch. More bad requests than requests cannot be; they are cut to all.
    pub fn add(&mut self, question: Question, r0: f64, counts: Counts) {
        self.add_part(question, r0, counts, 1.0);
    }

    /// Takes in a batch whose evidence counts so many times less than if each request were by itself.
    pub fn add_part(&mut self, question: Question, r0: f64, counts: Counts, deff: f64) {
        let (n_c, n_s) = (counts.n_c as f64, counts.n_s as f64);
        if counts.n_c == 0 || counts.n_s == 0 {
            // One side alone says nothing of a difference: the factor is exactly 1.
            return;
        }
        debug_assert!(counts.x <= counts.n_c && counts.y <= counts.n_s);
        let x = counts.x.min(counts.n_c) as f64;
        let k = x + counts.y.min(counts.n_s) as f64;
        let rho = n_c * r0 / (n_c * r0 + n_s);
        for ((m, s), c) in question.grid().iter().zip(&mut self.s).zip(&mut self.c) {
            let z = rho * (m - 1.0);
            // Most batches have nothing bad in them, and logarithms are what costs time here.
            if k > 0.0 {
                *s += (x * m.ln() - k * z.ln_1p()) / deff;
            }
            *c += n_c * (m - 1.0) * (1.0 - rho) / (1.0 + z) / deff;
        }
    }

    /// The natural logarithm of the evidence at margin `d`; bad requests come in clusters of `deff`.
    #[must_use]
    pub fn log_e(&self, d: f64, deff: f64) -> f64 {
        let mut terms = [0.0; GRID];
        for ((term, s), c) in terms.iter_mut().zip(&self.s).zip(&self.c) {
            *term = (s - d * c) / deff;
        }
        log_mean_exp(&terms)
    }
}

/// The logarithm of the mean of numbers that are given by their logarithms. Evidence may be averaged, and stays evidence.
#[must_use]
pub fn log_mean_exp(logs: &[f64]) -> f64 {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return if logs.is_empty() { 0.0 } else { top };
    }
    let sum: f64 = logs.iter().map(|log| (log - top).exp()).sum();
    top + sum.ln() - (logs.len() as f64).ln()
}

/// The evidence that is needed: `ln(1/alpha)`.
#[must_use]
pub fn threshold(alpha: f64) -> f64 {
    -alpha.ln()
}

/// The confidence sequence for `p_canary - p_stable`: both sums at `r0 = 1`, each end with half of `alpha`.
/// It holds at all times at once with probability `1 - alpha`, and is cut to -1 … 1.
#[must_use]
pub fn bounds(harm: &Sums, non_inferiority: &Sums, alpha: f64, deff: f64) -> (f64, f64) {
    let needed = (2.0 / alpha).ln();
    let over = |values: &[f64; GRID], by: f64| values.map(|value| value / by);
    // Harm's evidence falls with d, non-inferiority's grows: each end is where it crosses what is needed.
    let lower = reaches(&over(&harm.s, deff), &over(&harm.c, deff), needed);
    let (terms, slopes) = (&non_inferiority.s, &non_inferiority.c);
    let upper = reaches(&over(terms, deff), &over(slopes, -deff), needed);
    (
        lower.map_or(-1.0, |t| (-t).clamp(-1.0, 1.0)),
        upper.map_or(1.0, |d| d.clamp(-1.0, 1.0)),
    )
}

/// The least `t` at which the evidence of `terms + t * slopes` is `needed`; `None`: it never is. Slopes are not negative.
///
/// That evidence is convex in `t`, and no less than each term's part of it. So where the first term alone reaches what
/// is needed is beyond the crossing, and from there Newton's steps go down to it without ever passing it.
#[must_use]
pub fn reaches(terms: &[f64; GRID], slopes: &[f64; GRID], needed: f64) -> Option<f64> {
    let least = needed + (GRID as f64).ln();
    let alone = (terms.iter().zip(slopes)).filter(|(_, slope)| **slope > 0.0);
    let mut t = alone
        .map(|(term, slope)| (least - term) / slope)
        .fold(f64::INFINITY, f64::min);
    if !t.is_finite() {
        return None;
    }
    for _ in 0..100 {
        let values: [f64; GRID] = std::array::from_fn(|i| terms[i] + t * slopes[i]);
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut slope) = (0.0, 0.0);
        for (value, each) in values.iter().zip(slopes) {
            let weight = (value - top).exp();
            sum += weight;
            slope += weight * each;
        }
        let step = (top + sum.ln() - least) * sum / slope;
        // Also ends where rounding has passed the crossing, or the number is none.
        if step.is_nan() || step <= t.abs() * 1e-15 + 1e-300 {
            break;
        }
        t -= step;
    }
    Some(t)
}
