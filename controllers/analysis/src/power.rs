//! How many requests, and how long, each conclusion takes: rollouts of simulated canaries, through the very code that decides.
//!
//! Pure and seeded. A simulated rollout goes through the manifest's steps as a real one that waits for nobody: no
//! task has to start, and whoever must approve does so at once.

mod draw;

use fm_api::quantity::{Span, Weight};
use fm_api::release::{Release, Step};
use fm_api::target::AnalysisTarget;
use fm_api::verdict::Decision;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::judge::{Findings, Judge, Tick};
use crate::plan;
use crate::quantile;
use crate::replay;
use draw::{Random, Times};

/// Error rates of the canaries that are tried.
const ERROR_RATES: [f64; 5] = [0.01, 0.02, 0.05, 0.2, 1.0];
/// How much slower than stable the canaries are that are tried.
const SLOWER: [f64; 3] = [1.2, 1.5, 2.0];

/// The traffic that a rollout would meet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Requests a second that both sides get together.
    pub rps: f64,
    /// Share of stable's requests that are bad.
    pub error_rate: f64,
    /// Stable's median response time, in milliseconds.
    pub latency_ms: f64,
}

/// A canary that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// Share of its requests that are bad.
    pub error_rate: f64,
    /// Its response times, as a multiple of stable's.
    pub slower: f64,
    /// What it deserves.
    pub deserves: Decision,
}

/// What became of many rollouts of one canary.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The canary.
    pub canary: Canary,
    /// Rollouts that were simulated.
    pub runs: u32,
    /// Share of them that were promoted.
    pub promoted: f64,
    /// Share of them that were taken back.
    pub rolled_back: f64,
    /// Share of them that were inconclusive at the deadline.
    pub inconclusive: f64,
    /// The canary's requests until the conclusion that it deserves.
    pub requests: Typical,
    /// Seconds from its first request until then.
    pub seconds: Typical,
    /// Seconds of each rollout that came to the conclusion it deserves, in order.
    #[serde(skip)]
    pub concluded: Vec<u64>,
}

/// How much it takes. Absent: fewer than half, or than 95 %, of the rollouts come to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Typical {
    /// For half of the rollouts no more than this.
    pub median: Option<u64>,
    /// For 95 % of the rollouts no more than this.
    pub p95: Option<u64>,
}

/// Rollouts of one release under one traffic.
#[derive(Debug, Clone)]
pub struct Power {
    target: AnalysisTarget,
    steps: Vec<Step>,
    hold_until: Timestamp,
    traffic: Traffic,
}

/// How one rollout ended.
struct End {
    decision: Decision,
    requests: u64,
    seconds: u64,
}

impl Power {
    /// Of this release, with its defaults filled in.
    ///
    /// # Errors
    /// Why nothing of it is decided by evidence.
    pub fn new(release: &Release, traffic: Traffic) -> Result<Self, String> {
        let spec = &release.spec;
        let Some(canary) = &spec.strategy.canary else {
            return Err(
                "it has no `strategy.canary`, so nothing is decided by evidence".to_owned(),
            );
        };
        if spec.analysis.disabled {
            return Err("its `analysis` is disabled, so nothing is decided by evidence".to_owned());
        }
        if spec.routes.is_empty() {
            return Err("it has no routes, so there are no requests to decide by".to_owned());
        }
        let (target, hold_until) = replay::target(release);
        Ok(Self {
            target,
            steps: canary.steps.clone(),
            hold_until,
            traffic,
        })
    }

    /// The canaries that are worth trying: one as good as stable, those with more errors, and slower ones where that is judged.
    #[must_use]
    pub fn canaries(&self) -> Vec<Canary> {
        let error_rate = self.traffic.error_rate;
        let canary = |error_rate, slower, deserves| Canary {
            error_rate,
            slower,
            deserves,
        };
        let worse = ERROR_RATES.into_iter().filter(|rate| *rate > error_rate);
        let slower = SLOWER.into_iter().filter(|_| self.times_count());
        std::iter::once(canary(error_rate, 1.0, Decision::Promote))
            .chain(worse.map(|rate| canary(rate, 1.0, Decision::Rollback)))
            .chain(slower.map(|times| canary(error_rate, times, Decision::Rollback)))
            .collect()
    }

    /// Whether response times are judged.
    #[must_use]
    pub fn times_count(&self) -> bool {
        !self.target.criteria.latency.disabled
    }

    /// Canary requests without a bad one that promotion takes at least, at the last step's share.
    #[must_use]
    pub fn least_requests(&self) -> Option<u64> {
        let weight = self.steps.last()?.weight;
        plan::requests_needed(&self.target.criteria, &Default::default(), weight)
    }

    /// The least time before the last promotion.
    #[must_use]
    pub fn least_time(&self) -> Span {
        let held = self.hold_until.duration_since(Timestamp::UNIX_EPOCH);
        let held = Span::millis(u64::try_from(held.as_millis()).unwrap_or(0));
        held.max(plan::bake(&self.target))
    }

    /// Simulates rollouts of one canary.
    #[must_use]
    pub fn simulate(&self, canary: Canary, runs: u32, seed: u64) -> Outcome {
        let times = |slower: f64| {
            self.times_count()
                .then(|| Times::around(self.traffic.latency_ms * slower))
        };
        let (canarys, stables) = (times(canary.slower), times(1.0));
        let ends: Vec<End> = (0..u64::from(runs))
            .map(|run| {
                // Each rollout of each seed draws from a stream of its own.
                let stream = seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
                    ^ run.wrapping_mul(0x9e6c_63d0_676a_9a99);
                self.rollout(
                    canary,
                    canarys.as_ref(),
                    stables.as_ref(),
                    &mut Random::new(stream),
                )
            })
            .collect();
        let share = |decision| {
            ends.iter().filter(|end| end.decision == decision).count() as f64
                / f64::from(runs.max(1))
        };
        let deserved = |of: fn(&End) -> u64| {
            let all = ends.iter().filter(|end| end.decision == canary.deserves);
            let mut all: Vec<u64> = all.map(of).collect();
            all.sort_unstable();
            all
        };
        let (requests, concluded) = (deserved(|end| end.requests), deserved(|end| end.seconds));
        Outcome {
            canary,
            runs,
            promoted: share(Decision::Promote),
            rolled_back: share(Decision::Rollback),
            inconclusive: share(Decision::Inconclusive),
            requests: typical(&requests, ends.len()),
            seconds: typical(&concluded, ends.len()),
            concluded,
        }
    }

    fn rollout(
        &self,
        canary: Canary,
        canarys: Option<&Times>,
        stables: Option<&Times>,
        random: &mut Random,
    ) -> End {
        let mut judge = Judge::new(Findings::default(), Timestamp::UNIX_EPOCH);
        let (mut requests, mut before) = (0, self.weight(1));
        let least = seconds(self.least_time());
        let deadline = seconds(self.target.criteria.deadline.0).saturating_mul(2);
        let last = self.held().saturating_add(deadline).min(MOST_SECONDS);
        for second in 1..=last {
            let weight = self.weight(second);
            let share = weight.fraction();
            let (rps, rate) = (self.traffic.rps, self.traffic.error_rate);
            let canary_did = draw::second(rps * share, canary.error_rate, canarys, random);
            let stable_did = draw::second(rps * (1.0 - share), rate, stables, random);
            requests += canary_did.counted.requests;
            let tick = Tick {
                target: &self.target,
                weight,
                unseen: None,
                hold_until: Some(self.hold_until),
                now: at(second),
            };
            // As online: a batch ends where the shares change, and holds nothing of after.
            if std::mem::replace(&mut before, weight) != weight {
                judge.absorb(&tick);
            }
            judge.count(&canary_did, &stable_did, tick.now);
            if !judge.due(tick.now) {
                continue;
            }
            judge.absorb(&tick);
            // A whole verdict, with its sentences, only where it can be more than `wait`.
            let harm = judge.findings.harm.is_some();
            if !harm && (second < least || !judge.non_inferior()) && second < last {
                continue;
            }
            let decision = judge.plan(&tick).decision;
            if decision != Decision::Wait {
                return End {
                    decision,
                    requests,
                    seconds: second,
                };
            }
        }
        End {
            decision: Decision::Inconclusive,
            requests,
            seconds: last,
        }
    }

    /// The canary's share in this second.
    fn weight(&self, second: u64) -> Weight {
        let mut held = 0u64;
        let under_way = self.steps.iter().find(|step| {
            held = held.saturating_add(step.hold.as_millis());
            second.saturating_mul(1000) <= held
        });
        under_way
            .or(self.steps.last())
            .map_or(Weight::ZERO, |step| step.weight)
    }

    fn held(&self) -> u64 {
        let held = self.hold_until.duration_since(Timestamp::UNIX_EPOCH);
        u64::try_from(held.as_secs()).unwrap_or(0)
    }
}

/// No rollout is simulated for longer than a week.
const MOST_SECONDS: u64 = 7 * 86_400;

fn at(second: u64) -> Timestamp {
    let since = SignedDuration::from_secs(i64::try_from(second).unwrap_or(i64::MAX));
    Timestamp::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(Timestamp::MAX)
}

fn seconds(span: Span) -> u64 {
    span.as_millis().div_ceil(1000)
}

/// Of sorted values of those that came to it, among `all`.
fn typical(sorted: &[u64], all: usize) -> Typical {
    Typical {
        median: quantile::inverted(sorted, all, 0.5),
        p95: quantile::inverted(sorted, all, 0.95),
    }
}
