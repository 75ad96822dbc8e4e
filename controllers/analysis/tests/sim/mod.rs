//! Simulated canaries: seeded, on simulated time, through the same batches, evidence and rules as online.

use fm_analysis::evidence::{Batch, Evidence, Pending, Tally};
use fm_analysis::plan::{self, Situation};
use fm_analysis::pmix::{self, Counts, Question, Sums};
use fm_api::criteria::Analysis;
use fm_api::keys::RevisionId;
use fm_api::quantity::{Span, Weight};
use fm_api::target::AnalysisTarget;
use fm_api::verdict::Counted;
use fm_telemetry::histogram::Histogram;
use jiff::{SignedDuration, Timestamp};

/// `splitmix64`: small, seeded, the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
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
        if p <= 0.0 {
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
}

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
    pub(crate) median: Option<(f64, f64)>,
}

/// A canary's life, second by second.
pub(crate) type World = fn(u64) -> Second;

pub(crate) const STEADY: Second = Second {
    rps: 200,
    share: 0.05,
    bad: (0.005, 0.005),
    retries: 0,
    refused: None,
    median: None,
};

impl Second {
    fn play(&self, random: &mut Random) -> (Tally, Tally) {
        let canary = random.binomial(self.rps, self.share);
        let stable = self.rps - canary;
        (
            self.side(
                random,
                canary,
                self.bad.0,
                self.refused.map(|r| r.0),
                self.median.map(|m| m.0),
            ),
            self.side(
                random,
                stable,
                self.bad.1,
                self.refused.map(|r| r.1),
                self.median.map(|m| m.1),
            ),
        )
    }

    fn side(
        &self,
        random: &mut Random,
        requests: u64,
        bad: f64,
        refused: Option<f64>,
        median: Option<f64>,
    ) -> Tally {
        let bad = random.binomial(requests, bad);
        let client_errors = refused.map(|chance| random.binomial(requests - bad, chance));
        let latency = median.map(|median| {
            let mut histogram = Histogram::default();
            for _ in bad..requests {
                // As HAProxy logs it: whole milliseconds.
                histogram.record((median * (0.5 * random.normal()).exp()).floor());
            }
            histogram
        });
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

/// When a simulated canary was decided, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Decided {
    pub(crate) harm: Option<u64>,
    pub(crate) non_inferior: Option<u64>,
}

pub(crate) fn target(criteria: &Analysis) -> AnalysisTarget {
    AnalysisTarget {
        run: "run".into(),
        canary: RevisionId::new("canary"),
        stable: RevisionId::new("stable"),
        criteria: criteria.clone(),
        criteria_hash: "hash".into(),
        request_timeout: Span::secs(30),
        last_hold: Span::secs(60),
        since: Some(Timestamp::UNIX_EPOCH),
        awaiting_since: None,
        step: None,
    }
}

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second as i64)
}

/// Plays one canary until harm is shown, or non-inferiority where that ends it.
pub(crate) fn canary(
    criteria: &Analysis,
    seed: u64,
    seconds: u64,
    until_non_inferior: bool,
    world: impl Fn(u64) -> Second,
) -> Decided {
    let target = target(criteria);
    let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut evidence = Evidence::default();
    let mut pending = Pending::new(at(0));
    let mut decided = Decided::default();
    for second in 1..=seconds {
        let now = at(second);
        let today = world(second);
        let (canary, stable) = today.play(&mut random);
        pending.add(&canary, &stable);
        if !pending.due(now) {
            continue;
        }
        let batch: Batch = pending.close(now);
        let warming_up = second <= criteria.warmup.0.as_millis() / 1000;
        evidence.add(criteria, &batch, warming_up);
        let situation = Situation {
            target: &target,
            weight: Weight::from_basis_points((today.share * 10_000.0) as u16),
            evidence: &evidence,
            harm: None,
            joint: &fm_analysis::metrics::standings::Joint::default(),
            unseen: None,
            hold_until: None,
        };
        if plan::harm(&situation).is_some() {
            decided.harm = Some(second);
            return decided;
        }
        let latency = evidence.latency.as_ref().is_none_or(|l| l.non_inferior);
        if evidence.errors.non_inferior && latency && decided.non_inferior.is_none() {
            decided.non_inferior = Some(second);
            if until_non_inferior {
                return decided;
            }
        }
    }
    decided
}

/// Many canaries with as many seeds.
pub(crate) fn many(
    criteria: &Analysis,
    runs: u64,
    seconds: u64,
    until_non_inferior: bool,
    world: impl Fn(u64) -> Second,
) -> Vec<Decided> {
    (1..=runs)
        .map(|seed| canary(criteria, seed, seconds, until_non_inferior, &world))
        .collect()
}

/// Share of canaries that were rolled back.
pub(crate) fn rolled_back(decided: &[Decided]) -> f64 {
    decided.iter().filter(|d| d.harm.is_some()).count() as f64 / decided.len() as f64
}

/// A quantile of the seconds until harm was shown; one that never was counts as forever.
pub(crate) fn seconds_to_harm(decided: &[Decided], q: f64) -> u64 {
    let mut seconds: Vec<u64> = decided.iter().map(|d| d.harm.unwrap_or(u64::MAX)).collect();
    seconds.sort_unstable();
    seconds[((q * seconds.len() as f64).ceil() as usize).max(1) - 1]
}

/// The plain test: `alpha`, no ratio, no margin, no least number of bad requests.
pub(crate) fn plain(alpha: f64) -> Analysis {
    let mut criteria = Analysis::default();
    criteria.errors.client_errors.disabled = true;
    let rollback = &mut criteria.errors.rollback;
    (
        rollback.alpha,
        rollback.ratio,
        rollback.margin,
        rollback.min_bad,
    ) = (alpha, 1.0, 0.0, 0);
    criteria
}

/// Half of all answers are bad on both sides for a minute.
pub(crate) fn outage(second: u64, calm: Second) -> Second {
    if (400..460).contains(&second) {
        Second {
            bad: (0.5, 0.5),
            median: calm.median.map(|(c, s)| (c * 5.0, s * 5.0)),
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

/// The error rate of both sides rises and falls between 0.1 % and 0.9 %, and the traffic with it.
pub(crate) fn drifting(second: u64, calm: Second) -> Second {
    let wave = (second as f64 * std::f64::consts::TAU / 240.0).sin();
    let rate = 0.005 + 0.004 * wave;
    Second {
        bad: (rate, rate),
        rps: (calm.rps as f64 * (1.0 + 0.5 * wave)) as u64,
        ..calm
    }
}

/// Canary requests until harm is shown at alpha .05, request by request beside nineteen of stable.
pub(crate) fn requests_to_harm(seed: u64, canary: f64) -> u64 {
    let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut sums = Sums::default();
    for request in 1..100_000 {
        let counts = Counts {
            x: random.binomial(1, canary),
            y: random.binomial(19, 0.005),
            n_c: 1,
            n_s: 19,
        };
        sums.add(Question::Harm, 1.0, counts);
        if sums.log_e(0.0, 1.0) >= pmix::threshold(0.05) {
            return request;
        }
    }
    u64::MAX
}

pub(crate) fn median_requests_to_harm(runs: u64, canary: f64) -> u64 {
    let mut all: Vec<u64> = (1..=runs)
        .map(|seed| requests_to_harm(seed, canary))
        .collect();
    all.sort_unstable();
    all[all.len() / 2]
}
