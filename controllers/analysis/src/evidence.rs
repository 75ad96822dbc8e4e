//! The evidence of one run, and how requests become batches.
//!
//! Pure: time is an argument. Owner: analysis' memory, with a copy in the verdict's `state` after each closed batch,
//! from which a run goes on exactly. What must never happen: a batch that closes because of errors (that would
//! make evidence out of nothing), or evidence carried into another run.

mod shift;
mod tally;

use std::collections::VecDeque;

use fm_api::criteria::Analysis;
use fm_api::verdict::Counted;
use fm_telemetry::histogram::Histogram;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::latency::{self, Decayed};
use crate::pmix::{self, Counts, GRID, Question, Sums};

pub use shift::Shift;
pub use tally::Tally;

/// A batch closes at the first tick that finds so many canary requests in it …
const ENOUGH: u64 = 5;
/// … or at the first tick when it is so old. Ticks come a little early or late.
const OLD: SignedDuration = SignedDuration::from_millis(9_500);

/// Log lines of the agents, in all: what the counters rest on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Lines that came.
    pub came: u64,
    /// Lines that were lost. Below zero when late ones came after all.
    pub lost: i64,
}

impl Lines {
    /// Adds more.
    pub fn add(&mut self, more: Lines) {
        self.came = self.came.saturating_add(more.came);
        self.lost = self.lost.saturating_add(more.lost);
    }

    /// The share that was lost.
    #[must_use]
    pub fn lost_share(self) -> f64 {
        let lost = self.lost.max(0) as f64;
        if lost > 0.0 {
            lost / (lost + self.came as f64)
        } else {
            0.0
        }
    }
}

/// Requests since the last batch closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    begun: Timestamp,
    canary: Tally,
    stable: Tally,
    lines: Lines,
}

impl Pending {
    /// Nothing yet.
    #[must_use]
    pub fn new(begun: Timestamp) -> Self {
        Self {
            begun,
            canary: Tally::default(),
            stable: Tally::default(),
            lines: Lines::default(),
        }
    }

    /// When it began.
    #[must_use]
    pub fn begun(&self) -> Timestamp {
        self.begun
    }

    /// Adds what both sides did.
    pub fn add(&mut self, canary: &Tally, stable: &Tally) {
        self.canary.merge(canary);
        self.stable.merge(stable);
    }

    /// Adds what is known of the log.
    pub fn add_lines(&mut self, lines: Lines) {
        self.lines.add(lines);
    }

    /// Whether a tick at this time closes it. It looks at counts and time, never at what was bad.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> bool {
        self.canary.counted.requests >= ENOUGH || now.duration_since(self.begun) >= OLD
    }

    /// Closes it and begins the next.
    pub fn close(&mut self, now: Timestamp) -> Batch {
        let closed = std::mem::replace(self, Self::new(now));
        Batch {
            begun: closed.begun,
            ended: now,
            canary: closed.canary,
            stable: closed.stable,
            lines: closed.lines,
        }
    }
}

/// A closed batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// When it began.
    pub begun: Timestamp,
    /// When it closed.
    pub ended: Timestamp,
    /// What the canary did.
    pub canary: Tally,
    /// What stable did meanwhile.
    pub stable: Tally,
    /// The log meanwhile.
    pub lines: Lines,
}

/// All that a run has shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Closed batches.
    pub batch: u64,
    /// Errors.
    pub errors: Errors,
    /// Clients' mistakes; absent: none were ever counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_errors: Option<Shift>,
    /// Response times; absent: none were ever measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// What the absolute limits look at, the newest last.
    pub window: VecDeque<Moment>,
}

/// Evidence by errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Errors {
    /// For harm at the criterion's ratio.
    pub harm: Sums,
    /// For harm at ratio 1: the lower bound of the difference.
    pub harm_at_one: Sums,
    /// For non-inferiority at ratio 1.
    pub non_inferiority: Sums,
    /// The canary's requests so far.
    pub canary: Counted,
    /// Stable's requests meanwhile.
    pub stable: Counted,
    /// Non-inferiority was shown once; a sequential test is over then.
    pub non_inferior: bool,
}

/// Evidence by response times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Stable's response times lately.
    pub stable_lately: Decayed,
    /// For harm, one for each of the criterion's quantiles.
    pub harm: Vec<Sums>,
    /// For harm at the quantile and shift of promotion: the lower bound of the difference.
    pub harm_at_promote: Sums,
    /// For non-inferiority.
    pub non_inferiority: Sums,
    /// The canary's timed requests, and those slower than the shifted quantile of promotion.
    pub canary: Counted,
    /// Stable's timed requests, and those slower than the quantile of promotion.
    pub stable: Counted,
    /// Non-inferiority was shown once.
    pub non_inferior: bool,
}

/// One batch, as the absolute limits remember it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Numbers", into = "Numbers")]
pub struct Moment {
    /// When it closed.
    pub at: Timestamp,
    /// The canary's requests.
    pub canary: Counted,
    /// Stable's requests.
    pub stable: Counted,
    /// The log.
    pub lines: Lines,
}

/// A moment in few letters, as there are many of them: microseconds since 1970, requests and bad ones of canary and stable,
/// lines that came and that were lost.
#[derive(Serialize, Deserialize)]
struct Numbers(i64, [u64; 4], u64, i64);

impl From<Moment> for Numbers {
    fn from(moment: Moment) -> Self {
        let (c, s) = (moment.canary, moment.stable);
        let sides = [c.requests, c.bad, s.requests, s.bad];
        Self(
            moment.at.as_microsecond(),
            sides,
            moment.lines.came,
            moment.lines.lost,
        )
    }
}

impl From<Numbers> for Moment {
    fn from(Numbers(at, [c, c_bad, s, s_bad], came, lost): Numbers) -> Self {
        let counted = |requests, bad| Counted { requests, bad };
        Self {
            // Beyond all time: then it is old, and goes.
            at: Timestamp::from_microsecond(at).unwrap_or(Timestamp::MIN),
            canary: counted(c, c_bad),
            stable: counted(s, s_bad),
            lines: Lines { came, lost },
        }
    }
}

impl Evidence {
    /// Takes in a closed batch. In the warm-up it counts for harm by errors and as stable's baseline, for nothing else.
    /// One of which too many log lines were lost counts for harm only: what is missing may be what was bad.
    pub fn add(&mut self, criteria: &Analysis, batch: &Batch, warming_up: bool) {
        self.batch += 1;
        let whole = batch.lines.lost_share() <= criteria.guards.max_lost_lines;
        self.errors.add(criteria, batch, whole && !warming_up);
        if !criteria.errors.client_errors.disabled
            && let (Some(canary), Some(stable)) =
                (batch.canary.client_errors, batch.stable.client_errors)
        {
            let of = |side: &Tally, bad| Counted {
                requests: side.counted.requests,
                bad,
            };
            let (canary, stable) = (of(&batch.canary, canary), of(&batch.stable, stable));
            (self.client_errors.get_or_insert_default()).add(criteria, canary, stable);
        }
        if !criteria.latency.disabled
            && (batch.canary.latency.is_some() || batch.stable.latency.is_some())
        {
            let latency = self.latency.get_or_insert_default();
            latency.add(criteria, batch, warming_up, whole);
        }
        self.window.push_back(Moment {
            at: batch.ended,
            canary: batch.canary.counted,
            stable: batch.stable.counted,
            lines: batch.lines,
        });
        let window = criteria.guards.window.0.to_signed();
        while let Some(oldest) = self.window.front()
            && batch.ended.duration_since(oldest.at) >= window
            && self.window.len() > 1
        {
            self.window.pop_front();
        }
    }

    /// Both sides' requests in the window of the absolute limits: canary, stable.
    #[must_use]
    pub fn lately(&self) -> (Counted, Counted) {
        let mut sums = (Counted::default(), Counted::default());
        for moment in &self.window {
            add(&mut sums.0, moment.canary);
            add(&mut sums.1, moment.stable);
        }
        sums
    }

    /// The log in the same window.
    #[must_use]
    pub fn lines_lately(&self) -> Lines {
        let mut sum = Lines::default();
        self.window.iter().for_each(|moment| sum.add(moment.lines));
        sum
    }
}

fn add(sum: &mut Counted, more: Counted) {
    sum.requests += more.requests;
    sum.bad += more.bad;
}

impl Errors {
    fn add(&mut self, criteria: &Analysis, batch: &Batch, toward_promotion: bool) {
        let (canary, stable) = (batch.canary.counted, batch.stable.counted);
        let counts = Counts {
            x: canary.bad,
            y: stable.bad,
            n_c: canary.requests,
            n_s: stable.requests,
        };
        add(&mut self.canary, canary);
        add(&mut self.stable, stable);
        let ratio = criteria.errors.rollback.ratio;
        self.harm.add(Question::Harm, ratio, counts);
        self.harm_at_one.add(Question::Harm, 1.0, counts);
        if toward_promotion {
            self.non_inferiority
                .add(Question::NonInferiority, 1.0, counts);
            let needed = pmix::threshold(criteria.errors.promote.alpha);
            self.non_inferior |= self.log_e_ni(criteria) >= needed;
        }
    }

    /// How many canary requests without a bad one, at this share, would show non-inferiority; `None`: none ever would.
    #[must_use]
    pub fn clean_until_non_inferior(&self, criteria: &Analysis, share: f64) -> Option<f64> {
        let (d, deff) = (
            criteria.errors.promote.margin,
            criteria.errors.design_effect,
        );
        let (sums, mut terms, mut slopes) = (&self.non_inferiority, [0.0; GRID], [0.0; GRID]);
        for (place, m) in Question::NonInferiority.grid().iter().enumerate() {
            terms[place] = (sums.s[place] - d * sums.c[place]) / deff;
            slopes[place] = d * (1.0 - m) * (1.0 - share) / (1.0 + share * (m - 1.0)) / deff;
        }
        pmix::reaches(
            &terms,
            &slopes,
            pmix::threshold(criteria.errors.promote.alpha),
        )
    }

    /// Evidence for harm, as a natural logarithm.
    #[must_use]
    pub fn log_e_harm(&self, criteria: &Analysis) -> f64 {
        let errors = &criteria.errors;
        self.harm
            .log_e(errors.rollback.margin, errors.design_effect)
    }

    /// Evidence for non-inferiority, as a natural logarithm.
    #[must_use]
    pub fn log_e_ni(&self, criteria: &Analysis) -> f64 {
        let errors = &criteria.errors;
        self.non_inferiority
            .log_e(errors.promote.margin, errors.design_effect)
    }

    /// The 95 % confidence sequence of the difference of rates.
    #[must_use]
    pub fn bounds(&self, criteria: &Analysis) -> (f64, f64) {
        let deff = criteria.errors.design_effect;
        pmix::bounds(&self.harm_at_one, &self.non_inferiority, 0.05, deff)
    }
}

impl Latency {
    fn add(&mut self, criteria: &Analysis, batch: &Batch, warming_up: bool, whole: bool) {
        let nothing = Histogram::default();
        let canary = batch.canary.latency.as_ref().unwrap_or(&nothing);
        let stable = batch.stable.latency.as_ref().unwrap_or(&nothing);
        let (rollback, promote) = (&criteria.latency.rollback, &criteria.latency.promote);
        self.harm.resize(rollback.quantiles.len(), Sums::default());
        if !warming_up {
            let slow = |question, q, shift| {
                latency::slow(&self.stable_lately, question, q, shift, canary, stable)
            };
            for (sums, q) in self.harm.iter_mut().zip(&rollback.quantiles) {
                if let Some(counts) = slow(Question::Harm, *q, rollback.shift) {
                    sums.add(Question::Harm, 1.0, counts);
                }
            }
            let (q, shift) = (promote.quantile, promote.shift);
            if let Some(counts) = slow(Question::Harm, q, shift) {
                self.harm_at_promote.add(Question::Harm, 1.0, counts);
            }
            if let Some(counts) = slow(Question::NonInferiority, q, shift).filter(|_| whole) {
                self.non_inferiority
                    .add(Question::NonInferiority, 1.0, counts);
                let timed = |requests, bad| Counted { requests, bad };
                add(&mut self.canary, timed(counts.n_c, counts.x));
                add(&mut self.stable, timed(counts.n_s, counts.y));
            }
            self.non_inferior |= self.log_e_ni() >= pmix::threshold(promote.alpha);
        }
        let seconds = batch.ended.duration_since(batch.begun).as_secs_f64();
        self.stable_lately.add(stable, seconds);
    }

    /// Evidence for harm: the mean over the quantiles, as a natural logarithm.
    #[must_use]
    pub fn log_e_harm(&self) -> f64 {
        let logs: Vec<f64> = self.harm.iter().map(|sums| sums.log_e(0.0, 1.0)).collect();
        pmix::log_mean_exp(&logs)
    }

    /// Evidence for non-inferiority, as a natural logarithm.
    #[must_use]
    pub fn log_e_ni(&self) -> f64 {
        self.non_inferiority.log_e(0.0, 1.0)
    }

    /// The 95 % confidence sequence of the difference of the shares of slow requests.
    #[must_use]
    pub fn bounds(&self) -> (f64, f64) {
        pmix::bounds(&self.harm_at_promote, &self.non_inferiority, 0.05, 1.0)
    }
}
