//! The expectation of one batch's factor, exactly: over every outcome that the batch can have.

use fm_analysis::pmix::{Counts, Question, Sums};

/// By how much the greatest expectation at the null hypothesis exceeds 1.
pub(crate) fn excess(question: Question, r0: f64, d: f64) -> f64 {
    let rates = [0.0, 0.0005, 0.001, 0.005, 0.02, 0.05, 0.3, 0.6, 1.0];
    let sizes = [(1, 1), (1, 20), (5, 5), (10, 40), (20, 3), (10, 190)];
    let mut most = f64::NEG_INFINITY;
    for (n_c, n_s) in sizes {
        for stable in rates {
            let canary = r0 * stable + d;
            if canary <= 1.0 {
                most = most.max(expectation(question, (r0, d), (canary, stable), (n_c, n_s)));
            }
        }
    }
    most - 1.0
}

fn expectation(
    question: Question,
    (r0, d): (f64, f64),
    (canary, stable): (f64, f64),
    (n_c, n_s): (u64, u64),
) -> f64 {
    let (of_canary, of_stable) = (binomial(n_c, canary), binomial(n_s, stable));
    let mut sum = 0.0;
    for (x, chance) in (0..).zip(&of_canary) {
        for (y, other) in (0..).zip(&of_stable) {
            // What weighs nothing in the sum need not be asked.
            if chance * other < 1e-300 {
                continue;
            }
            let mut sums = Sums::default();
            sums.add(question, r0, Counts { x, y, n_c, n_s });
            sum += (chance.ln() + other.ln() + sums.log_e(d, 1.0)).exp();
        }
    }
    sum
}

/// The chances of 0 to `n` of `n`.
fn binomial(n: u64, p: f64) -> Vec<f64> {
    let mut ways = 1.0;
    let mut chances = Vec::new();
    for k in 0..=n {
        chances.push(ways * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32));
        ways *= (n - k) as f64 / (k + 1) as f64;
    }
    chances
}
