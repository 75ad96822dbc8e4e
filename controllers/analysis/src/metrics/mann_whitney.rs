//! The Mann-Whitney test, and how far apart two samples lie. Pure.
//!
//! The probabilities are exact for small samples, with ties too: every way to deal the ranks to both sides is counted. For
//! larger ones they are the normal approximation with corrections for ties and continuity.

use crate::quantile;

/// Up to so many values of both sides together the count of deals is exact in a float.
const EXACT: usize = 50;

/// What the test says of two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// Pairs in which the first side's value is the greater one; a tie is half of one.
    pub u: f64,
    /// The probability of such a `u` or a greater one if both sides are alike.
    pub p_greater: f64,
    /// The probability of such a `u` or a lesser one if both sides are alike.
    pub p_less: f64,
    /// Whether the probabilities are exact.
    pub exact: bool,
    /// Cliff's delta: from -1 (every value of the first side is less) to 1 (every one is greater).
    pub delta: f64,
}

impl Test {
    /// The probability of a `u` at least so far from the middle, to either side, if both sides are alike.
    #[must_use]
    pub fn p_two_sided(&self) -> f64 {
        (2.0 * self.p_greater.min(self.p_less)).min(1.0)
    }
}

/// Compares two samples of finite values; `None` where one is empty.
#[must_use]
pub fn test(first: &[f64], second: &[f64]) -> Option<Test> {
    if first.len() + second.len() > EXACT {
        return approximate(first, second);
    }
    compared(first, second, |ranks, sum, _| {
        (deals(ranks.of_all, ranks.of_first, sum), true)
    })
}

/// The same by the normal approximation, however small the samples are.
#[must_use]
pub fn approximate(first: &[f64], second: &[f64]) -> Option<Test> {
    let (n, m) = (first.len() as f64, second.len() as f64);
    compared(first, second, |ranks, _, u| {
        (approximation(u, n, m, ranks.ties), false)
    })
}

struct Ranks<'a> {
    of_all: &'a [usize],
    of_first: usize,
    ties: &'a [usize],
}

/// `probabilities` gives those of ranks, the first side's doubled rank sum and `u`, and says whether they are exact.
fn compared(
    first: &[f64],
    second: &[f64],
    probabilities: impl FnOnce(&Ranks<'_>, usize, f64) -> ((f64, f64), bool),
) -> Option<Test> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let (ranks, ties) = doubled_ranks(first, second);
    let (n, m) = (first.len(), second.len());
    let sum: usize = ranks.iter().take(n).sum();
    // Twice U: the doubled rank sum of the first side, less the least that it can be.
    let u = (sum - n * (n + 1)) as f64 / 2.0;
    let ranks = Ranks {
        of_all: &ranks,
        of_first: n,
        ties: &ties,
    };
    let ((p_greater, p_less), exact) = probabilities(&ranks, sum, u);
    Some(Test {
        u,
        p_greater,
        p_less,
        exact,
        delta: 2.0 * u / (n * m) as f64 - 1.0,
    })
}

/// By how much the first side's values lie above the second's: the median of all differences (Hodges and Lehmann).
#[must_use]
pub fn shift(first: &[f64], second: &[f64]) -> Option<f64> {
    let differences = first.iter().flat_map(|a| second.iter().map(move |b| a - b));
    let mut differences: Vec<f64> = differences.collect();
    differences.sort_unstable_by(f64::total_cmp);
    quantile::linear(&differences, 0.5)
}

/// Twice the rank of each value, those of the first side first, equal values sharing their mean; and the sizes of the ties.
fn doubled_ranks(first: &[f64], second: &[f64]) -> (Vec<usize>, Vec<usize>) {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| value(&all, *a).total_cmp(&value(&all, *b)));
    let mut ranks = vec![0; all.len()];
    let mut ties = Vec::new();
    let mut from = 0;
    for tied in order.chunk_by(|a, b| value(&all, *a) == value(&all, *b)) {
        let doubled = 2 * from + tied.len() + 1;
        for index in tied {
            if let Some(rank) = ranks.get_mut(*index) {
                *rank = doubled;
            }
        }
        from += tied.len();
        ties.push(tied.len());
    }
    (ranks, ties)
}

/// A value by index, with one zero: the total order tells -0 from 0, and then they would be no tie.
fn value(all: &[f64], index: usize) -> f64 {
    all.get(index).copied().unwrap_or_default() + 0.0
}

/// Of all ways to deal these ranks, the share in which `n` of them sum to at least, and to at most, `sum`.
fn deals(ranks: &[usize], n: usize, sum: usize) -> (f64, f64) {
    let most: usize = ranks.iter().sum();
    let width = most + 1;
    // How many ways there are to choose `taken` ranks with this sum.
    let mut ways = vec![0.0_f64; (n + 1) * width];
    if let Some(nothing) = ways.first_mut() {
        *nothing = 1.0;
    }
    let mut reached = 0;
    for rank in ranks {
        reached += rank;
        for taken in (1..=n).rev() {
            let (before, here) = ways.split_at_mut(taken * width);
            let from = &before[(taken - 1) * width..];
            for s in *rank..=reached {
                here[s] += from[s - rank];
            }
        }
    }
    let of_n = &ways[n * width..];
    let all: f64 = of_n.iter().sum();
    let greater: f64 = of_n.iter().skip(sum).sum();
    let less: f64 = of_n.iter().take(sum + 1).sum();
    (greater / all, less / all)
}

fn approximation(u: f64, n: f64, m: f64, ties: &[usize]) -> (f64, f64) {
    let all = n + m;
    let tied: f64 = ties.iter().map(|t| (*t as f64).powi(3) - *t as f64).sum();
    let variance = n * m / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)));
    if variance <= 0.0 {
        // Every value is the same.
        return (1.0, 1.0);
    }
    let deviation = variance.sqrt();
    let above = (u - n * m / 2.0 - 0.5) / deviation;
    let below = (u - n * m / 2.0 + 0.5) / deviation;
    (upper_tail(above), upper_tail(-below))
}

/// The probability that a standard normal variable is greater.
fn upper_tail(z: f64) -> f64 {
    let half = erfc(z.abs() / std::f64::consts::SQRT_2) / 2.0;
    if z >= 0.0 { half } else { 1.0 - half }
}

/// The complementary error function of `x >= 0`: a series near 0, a continued fraction beyond.
fn erfc(x: f64) -> f64 {
    let bell = (-x * x).exp();
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for k in 1..200 {
            term *= 2.0 * x * x / (2.0 * f64::from(k) + 1.0);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        return 1.0 - 2.0 / std::f64::consts::PI.sqrt() * bell * sum;
    }
    let mut fraction = x;
    for k in (1..=60).rev() {
        fraction = x + f64::from(k) / 2.0 / fraction;
    }
    bell / (fraction * std::f64::consts::PI.sqrt())
}
