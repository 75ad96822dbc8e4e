//! Evidence of harm, whenever it began.
//!
//! One e-process bets from the run's first batch on; harm that begins an hour later has to win back what an hour without harm has
//! lost. So the evidence is a mixture over start times: half its weight bets from the start, and each half minute another
//! part, `1/(2 j (j+1))` at the j-th, begins. All weights sum to 1, so the mixture is an e-process as each part is, and Ville's
//! inequality holds for it as it stands (Shin, Ramdas, Rinaldo: E-detectors, 2024; with weights that are spent instead of a
//! bound on run length).
//!
//! Beside it stands what the last minutes look like: a CUSUM (Page 1954), which holds promotion and proves nothing. Pure.

use serde::{Deserialize, Serialize};

use crate::pmix::{GRID, Sums, log_mean_exp};

/// Milliseconds between two start times.
const BETWEEN: u64 = 30_000;

/// Evidence for harm over all start times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Onset {
    /// Start times so far; while there is none, `logs` mean nothing.
    starts: u64,
    /// The mixture by multiplier, as a natural logarithm.
    logs: [f64; GRID],
    /// The CUSUM by multiplier.
    lately: [f64; GRID],
}

impl Onset {
    /// The same from sums, at their margin and design effect.
    #[must_use]
    pub fn since_the_start_of(sums: &Sums, margin: f64, design_effect: f64) -> Self {
        let term = |i: usize| (sums.s[i] - margin * sums.c[i]) / design_effect;
        Self::since_the_start(std::array::from_fn(term))
    }

    /// Goes on from evidence that had one start only, by multiplier: it keeps the first start's weight.
    #[must_use]
    pub fn since_the_start(terms: [f64; GRID]) -> Self {
        Self {
            starts: 1,
            logs: terms.map(|term| term + 0.5_f64.ln()),
            lately: [0.0; GRID],
        }
    }

    /// Takes in a batch: the logarithm of its factor by multiplier, and how long the run had lasted before it.
    pub fn add(&mut self, factors: &[f64; GRID], elapsed_ms: u64) {
        let due = elapsed_ms / BETWEEN + 1;
        if due > self.starts {
            let weight = spent(due) - spent(self.starts);
            for log in &mut self.logs {
                *log = match self.starts {
                    0 => weight.ln(),
                    _ => plus(*log, weight.ln()),
                };
            }
            self.starts = due;
        }
        for ((log, lately), factor) in self.logs.iter_mut().zip(&mut self.lately).zip(factors) {
            *log += factor;
            *lately = (*lately + factor).max(0.0);
        }
    }

    /// The evidence, as a natural logarithm.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        match self.starts {
            0 => 0.0,
            _ => log_mean_exp(&self.logs),
        }
    }

    /// How much the last minutes look like harm, as a natural logarithm; 0: not at all.
    #[must_use]
    pub fn lately(&self) -> f64 {
        log_mean_exp(&self.lately)
    }

    /// Start times so far.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }
}

/// The weight of the first so many starts.
fn spent(starts: u64) -> f64 {
    match starts {
        0 => 0.0,
        n => 1.0 - 0.5 / n as f64,
    }
}

/// `ln(exp(a) + exp(b))`.
fn plus(a: f64, b: f64) -> f64 {
    let (more, less) = if a > b { (a, b) } else { (b, a) };
    more + (less - more).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_starts_together_weigh_as_much_as_one_that_was_sure() {
        // Batches that say nothing: what is left is the weight that has begun, half at once and all in the end.
        let mut onset = Onset::default();
        let nothing = [0.0; GRID];
        onset.add(&nothing, 0);
        assert!((onset.log_e().exp() - 0.5).abs() < 1e-12);
        for second in 1..100_000 {
            onset.add(&nothing, second * 1000);
        }
        let all = onset.log_e().exp();
        assert!(all <= 1.0 && all > 0.999, "{all}");
        // One look after a long time has begun as many.
        let mut late = Onset::default();
        late.add(&nothing, 99_999_000);
        assert!((late.log_e() - onset.log_e()).abs() < 1e-9);
    }

    #[test]
    fn harm_that_begins_late_is_found_as_fast_as_harm_from_the_start() {
        let until = |calm: u64| {
            let mut onset = Onset::default();
            for second in 0..calm {
                onset.add(&[-0.05; GRID], second * 1000);
            }
            (calm..).find(|second| {
                onset.add(&[1.0; GRID], second * 1000);
                onset.log_e() >= 100_f64.ln()
            })
        };
        assert!(until(600).unwrap() - 600 <= until(0).unwrap() + 8);
    }

    #[test]
    fn what_looked_like_harm_is_forgotten() {
        let mut onset = Onset::default();
        (0..5).for_each(|second| onset.add(&[1.0; GRID], second * 1000));
        assert!((onset.lately() - 5.0).abs() < 1e-12);
        (5..60).for_each(|second| onset.add(&[-0.5; GRID], second * 1000));
        assert_eq!(onset.lately(), 0.0);
    }
}
