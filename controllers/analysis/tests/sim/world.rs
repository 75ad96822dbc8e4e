//! What both sides of a simulated canary do, second by second.

use fm_analysis::evidence::Tally;
use fm_api::verdict::Counted;

use super::random::{Random, times};

/// What both sides are like in one second.
#[derive(Clone, Copy)]
pub(crate) struct Second {
    pub(crate) rps: u64,
    pub(crate) share: f64,
    /// Chance of a bad answer: canary, stable.
    pub(crate) bad: (f64, f64),
    /// Each bad answer is tried again so many times, badly.
    pub(crate) retries: u64,
    /// Chance of an answer of 4xx: canary, stable. None: not counted.
    pub(crate) refused: Option<(f64, f64)>,
    /// Median response times in milliseconds: canary, stable. None: not measured.
    pub(crate) median: Option<(u32, u32)>,
}

/// A canary's life.
pub(crate) type World = fn(u64) -> Second;

pub(crate) const STEADY: Second = Second {
    rps: 200,
    share: 0.05,
    bad: (0.005, 0.005),
    retries: 0,
    refused: None,
    median: None,
};

/// Little traffic.
pub(crate) const LITTLE: Second = Second { rps: 10, ..STEADY };

/// Everything that is judged is there to be judged: a few 4xx, and response times.
pub(crate) const FULL: Second = Second {
    refused: Some((0.03, 0.03)),
    median: Some((50, 50)),
    ..STEADY
};

impl Second {
    pub(crate) fn play(&self, random: &mut Random) -> (Tally, Tally) {
        let canary = random.binomial(self.rps, self.share);
        let first = self.side(
            random,
            canary,
            self.bad.0,
            self.refused.map(|chances| chances.0),
            self.median.map(|medians| medians.0),
        );
        let second = self.side(
            random,
            self.rps - canary,
            self.bad.1,
            self.refused.map(|chances| chances.1),
            self.median.map(|medians| medians.1),
        );
        (first, second)
    }

    fn side(
        &self,
        random: &mut Random,
        requests: u64,
        bad: f64,
        refused: Option<f64>,
        median: Option<u32>,
    ) -> Tally {
        let bad = random.binomial(requests, bad);
        let client_errors = refused.map(|chance| random.binomial(requests - bad, chance));
        let latency = median.map(|median| random.times(requests - bad, times(median)));
        Tally {
            counted: Counted {
                requests: requests + bad * self.retries,
                bad: bad * (1 + self.retries),
            },
            client_errors,
            latency,
        }
    }
}

/// Half of all answers are bad on both sides for a minute, and the others take five times as long.
pub(crate) fn outage(second: u64, calm: Second) -> Second {
    if (400..460).contains(&second) {
        Second {
            bad: (0.5, 0.5),
            median: calm.median.map(|(c, s)| (c * 5, s * 5)),
            ..calm
        }
    } else {
        calm
    }
}

/// 5, 20, 50 % for 200 seconds each.
pub(crate) fn ramp(second: u64, calm: Second) -> Second {
    let share = match second {
        0..=200 => 0.05,
        201..=400 => 0.2,
        _ => 0.5,
    };
    Second { share, ..calm }
}

/// The error rate of both sides rises and falls between 0.1 % and 0.9 % (the canary's stays above stable's by as much as
/// it is), and the traffic with it.
pub(crate) fn drifting(second: u64, calm: Second) -> Second {
    let wave = (second as f64 * std::f64::consts::TAU / 240.0).sin();
    let rate = 0.005 + 0.004 * wave;
    Second {
        bad: (rate + calm.bad.0 - calm.bad.1, rate),
        rps: (calm.rps as f64 * (1.0 + 0.5 * wave)) as u64,
        ..calm
    }
}
