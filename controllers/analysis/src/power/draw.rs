//! Traffic drawn at random: seeded, the same everywhere. Requests come independently of each other (Poisson).

use fm_api::verdict::Counted;
use fm_telemetry::histogram::{self, Histogram};

use crate::evidence::Tally;

/// Standard deviation of the logarithm of response times: the 99th percentile is about 3.2 times the median.
const SPREAD: f64 = 0.5;
/// Up to so many response times are drawn one by one, more of them bin by bin.
const ONE_BY_ONE: f64 = 100.0;

/// `splitmix64`.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// How many of something come that comes `mean` times on average.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 100.0 {
            // Near enough to a normal distribution. A saturating cast: less than nothing is nothing.
            return (mean + mean.sqrt() * self.normal()).round() as u64;
        }
        let (end, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > end {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// Response times: log-normal, in the bins in which they are counted.
#[derive(Debug, Clone)]
pub(super) struct Times {
    /// Bin, its chance, and the chance of it and those below it.
    bins: Vec<(u16, f64, f64)>,
}

impl Times {
    /// Around this median, in milliseconds.
    pub(super) fn around(median_ms: f64) -> Self {
        let cumulative = |ms: f64| {
            if ms <= 0.0 {
                return 0.0;
            }
            normal_cumulative((ms / median_ms).ln() / SPREAD)
        };
        let (mut bins, mut below) = (Vec::new(), 0.0);
        for bin in 0..u16::MAX {
            let upto = cumulative(histogram::lower_edge(bin + 1));
            if upto - below > 1e-6 {
                bins.push((bin, upto - below, upto));
            }
            below = upto;
            if upto > 1.0 - 1e-6 {
                break;
            }
        }
        Self { bins }
    }

    fn draw(&self, mean: f64, random: &mut Random) -> Histogram {
        let mut histogram = Histogram::default();
        if mean > ONE_BY_ONE {
            for (bin, chance, _) in &self.bins {
                histogram.add(*bin, random.poisson(mean * chance));
            }
            return histogram;
        }
        for _ in 0..random.poisson(mean) {
            let drawn = random.unit();
            let place = self.bins.partition_point(|(_, _, upto)| *upto < drawn);
            if let Some((bin, _, _)) = self.bins.get(place).or(self.bins.last()) {
                histogram.add(*bin, 1);
            }
        }
        histogram
    }
}

/// One side's second.
pub(super) fn second(
    rps: f64,
    error_rate: f64,
    times: Option<&Times>,
    random: &mut Random,
) -> Tally {
    let bad = random.poisson(rps * error_rate);
    let mean = rps * (1.0 - error_rate);
    let latency = times.map(|times| times.draw(mean, random));
    let good = match &latency {
        Some(histogram) => histogram.count(),
        None => random.poisson(mean),
    };
    Tally {
        counted: Counted {
            requests: good + bad,
            bad,
        },
        client_errors: None,
        latency,
    }
}

/// The chance of a standard normal number below `x`, to seven digits (Abramowitz and Stegun, 26.2.17).
fn normal_cumulative(x: f64) -> f64 {
    const FACTORS: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let sum = FACTORS
        .iter()
        .rev()
        .fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_the_wanted_mean() {
        for mean in [0.0, 0.01, 3.0, 99.0, 5000.0] {
            let mut random = Random::new(7);
            let draws = 4000;
            let sum: u64 = (0..draws).map(|_| random.poisson(mean)).sum();
            let found = sum as f64 / f64::from(draws);
            let error = 5.0 * (mean / f64::from(draws)).sqrt();
            assert!((found - mean).abs() <= error, "{found} for {mean}");
        }
    }

    #[test]
    fn response_times_lie_around_their_median() {
        for rate in [50.0, 5000.0] {
            let (times, mut random) = (Times::around(80.0), Random::new(3));
            let mut all = Histogram::default();
            for _ in 0..400 {
                all.merge(&times.draw(rate, &mut random));
            }
            let median = all.quantile(0.5).unwrap();
            assert!((median / 80.0 - 1.0).abs() < 0.03, "{median}");
            let p99 = all.quantile(0.99).unwrap();
            assert!((p99 / 256.0 - 1.0).abs() < 0.06, "{p99}");
            let mean = all.count() as f64 / 400.0;
            assert!((mean / rate - 1.0).abs() < 0.03, "{mean}");
        }
    }

    #[test]
    fn the_normal_distribution_is_the_normal_distribution() {
        for (x, wanted) in [
            (-1.96, 0.0249979),
            (0.0, 0.5),
            (1.0, 0.8413447),
            (2.326_348, 0.99),
        ] {
            assert!((normal_cumulative(x) - wanted).abs() < 1e-6, "{x}");
        }
    }
}
