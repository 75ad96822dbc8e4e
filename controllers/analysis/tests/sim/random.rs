//! `splitmix64`: small, seeded, the same everywhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fm_telemetry::histogram::{self, Histogram};

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// How many of `n` come true, each with chance `p`: by the gaps between them.
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        let scale = (-p).ln_1p();
        let (mut at, mut hits) = (0.0, 0);
        loop {
            at += (self.unit().ln() / scale).floor() + 1.0;
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// The same, all of them longer by a factor that is given by its logarithm.
    pub(crate) fn times_longer(&mut self, requests: u64, times: &Times, log: f64) -> Histogram {
        let mut histogram = Histogram::default();
        for _ in 0..requests {
            let drawn = (self.next() >> 48) as usize;
            // Between two bins by chance, so that no small factor is lost.
            let by = (log / histogram::GROWTH.ln() + self.unit()).floor();
            let bin = f64::from(times.0[drawn]) + by;
            histogram.add(bin.max(0.0) as u16, 1);
        }
        histogram
    }

    /// From a Beta distribution (Jöhnk), for parameters that sum to 1.
    pub(crate) fn beta(&mut self, a: f64, b: f64) -> f64 {
        loop {
            let (x, y) = (self.unit().powf(1.0 / a), self.unit().powf(1.0 / b));
            if x + y <= 1.0 && x + y > 0.0 {
                return x / (x + y);
            }
        }
    }

    /// Response times of so many requests.
    pub(crate) fn times(&mut self, requests: u64, times: &Times) -> Histogram {
        let mut histogram = Histogram::default();
        for _ in 0..requests {
            // The highest bits are the best mixed.
            let drawn = (self.next() >> 48) as usize;
            histogram.add(times.0[drawn], 1);
        }
        histogram
    }
}

/// Response times: 65,536 that were drawn from a log-normal distribution once, as HAProxy logs them, in whole
/// milliseconds; the 99th percentile is about 3.2 times the median.
pub(crate) struct Times(Vec<u16>);

/// Around a median in milliseconds.
pub(crate) fn times(median: u32) -> &'static Times {
    static KNOWN: LazyLock<BTreeMap<u32, Times>> = LazyLock::new(|| {
        let medians = [
            1, 2, 3, 4, 5, 50, 60, 63, 65, 66, 70, 75, 100, 250, 300, 315,
        ];
        medians.map(|median| (median, around(median))).into()
    });
    &KNOWN[&median]
}

fn around(median: u32) -> Times {
    let mut random = Random::new(11);
    let all = (0..1 << 16).map(|_| {
        let ms = f64::from(median) * (0.5 * random.normal()).exp();
        histogram::bin(ms.floor())
    });
    Times(all.collect())
}
