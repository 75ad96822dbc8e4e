//! The evidence of one run, and how requests become batches.
//!
//! Pure: time is an argument. Owner: analysis' memory, with a copy in the verdict's `state` after each closed batch,
//! from which a run goes on exactly. What must never happen: a batch that closes because of errors (that would
//! make evidence out of nothing), or evidence carried into another run.

mod errors;
mod onset;
mod shift;
mod tally;
mod times;

use std::collections::VecDeque;

use fm_api::criteria::Analysis;
use fm_api::verdict::Counted;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clusters::{Clusters, Side};
use crate::pmix::{Counts, GRID, Question, Sums};

pub use errors::Errors;
pub use onset::Onset;
pub use shift::Shift;
pub use tally::Tally;
pub use times::Latency;

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
    /// Milliseconds of all batches.
    #[serde(default)]
    pub elapsed_ms: u64,
    /// How stable's own requests come in clusters.
    #[serde(default)]
    pub clusters: Clusters,
    /// Stable as it is while it has no outage.
    #[serde(default)]
    pub calm: Calm,
    /// The canary's requests and their seconds, of the last minute.
    #[serde(default)]
    pub pace: (f64, f64),
}

/// How a batch counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conditions {
    /// It counts for harm by errors, and as stable's baseline, for nothing else.
    pub warming_up: bool,
    /// Nothing counts by response time.
    pub cold: bool,
    /// Clients are kept on a side.
    pub sticky: bool,
}

/// What a batch's evidence is worth, fixed before it.
#[derive(Debug, Clone, Copy)]
struct Weight {
    /// So many times less than if each request were by itself …
    design_effect: f64,
    /// … of which the manifest states so many, by which sums are divided when they are read.
    stated: f64,
    /// Nothing at all: stable has an outage.
    skip: bool,
    /// How long the run has lasted before it.
    elapsed_ms: u64,
}

impl Weight {
    /// The logarithms of a batch's factors.
    fn factors(&self, question: Question, r0: f64, d: f64, counts: Counts) -> [f64; GRID] {
        let mut sums = Sums::default();
        if !self.skip {
            sums.add_part(question, r0, counts, self.design_effect);
        }
        std::array::from_fn(|i| sums.s[i] - d * sums.c[i])
    }

    /// Adds a batch to sums at ratio 1.
    fn add(&self, sums: &mut Sums, question: Question, counts: Counts) {
        if !self.skip {
            sums.add_part(question, 1.0, counts, self.design_effect / self.stated);
        }
    }
}

/// Stable as it is while it has no outage. A batch that follows one of an outage bets nothing: both sides fail then, and which one
/// fails more is chance. What is skipped is fixed by earlier batches of stable alone, so the evidence stays valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calm {
    counted: Counted,
    /// The last batch was one of an outage.
    pub out: bool,
    /// Milliseconds of it so far.
    lasted_ms: u64,
}

/// More of stable's requests than this are bad in an outage …
const OUTAGE: f64 = 0.2;
/// … so many of them at least …
const OUTAGE_BAD: u64 = 3;
/// … and so many times as many as otherwise.
const OUTAGE_TIMES: f64 = 2.0;
/// What lasts longer than this is no outage any more, but how it is now.
const OUTAGE_MS: u64 = 300_000;

impl Calm {
    /// Takes in what stable did.
    pub fn add(&mut self, stable: Counted, ms: u64) {
        let rate = |counted: Counted| counted.bad as f64 / counted.requests.max(1) as f64;
        let beyond = rate(stable) > OUTAGE.max(OUTAGE_TIMES * rate(self.counted));
        // Nobody asked: it is as it was.
        let silent = stable.requests == 0;
        self.out = (beyond && stable.bad >= OUTAGE_BAD) || (silent && self.out);
        self.lasted_ms = if self.out { self.lasted_ms + ms } else { 0 };
        self.out &= self.lasted_ms <= OUTAGE_MS;
        if !self.out {
            add(&mut self.counted, stable);
        }
    }
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
    pub fn add(&mut self, criteria: &Analysis, batch: &Batch, conditions: Conditions) {
        self.batch += 1;
        let whole = batch.lines.lost_share() <= criteria.guards.max_lost_lines;
        let promoting = whole && !conditions.warming_up;
        let ms = u64::try_from(batch.ended.duration_since(batch.begun).as_millis()).unwrap_or(0);
        let side = self.side(batch, ms, conditions.sticky);
        let stated = criteria.errors.design_effect;
        let weight = |kind: &crate::clusters::Kind| Weight {
            design_effect: stated.unwrap_or_else(|| kind.design_effect(side)),
            stated: stated.unwrap_or(1.0),
            skip: self.calm.out,
            elapsed_ms: self.elapsed_ms,
        };
        let by_errors = weight(&self.clusters.errors);
        let by_client_errors = weight(&self.clusters.client_errors);
        self.errors.add(criteria, batch, by_errors, promoting);
        let cell = |counted: Counted| (counted.requests, counted.bad);
        self.clusters.errors.add(cell(batch.stable.counted));
        if !criteria.errors.client_errors.disabled
            && let (Some(canary), Some(stable)) =
                (batch.canary.client_errors, batch.stable.client_errors)
        {
            let of = |side: &Tally, bad| Counted {
                requests: side.counted.requests,
                bad,
            };
            let (canary, stable) = (of(&batch.canary, canary), of(&batch.stable, stable));
            let shift = self.client_errors.get_or_insert_default();
            shift.add(criteria, (canary, stable), by_client_errors);
            self.clusters.client_errors.add(cell(stable));
        }
        if !criteria.latency.disabled
            && (batch.canary.latency.is_some() || batch.stable.latency.is_some())
        {
            let latency = self.latency.get_or_insert_default();
            let counting = times::Counting {
                cold: conditions.cold,
                promoting,
                side,
            };
            latency.add(criteria, batch, by_errors, counting, &mut self.clusters);
        }
        self.elapsed_ms += ms;
        self.calm.add(batch.stable.counted, ms);
        if self.calm.out {
            self.clusters.forget_window();
        } else if self.clusters.pass(ms) {
            self.clusters.close();
        }
        self.remember(criteria, batch);
    }

    /// How many requests the canary gets in a minute, of late or in this batch: the number says nothing of how they ended.
    fn side(&mut self, batch: &Batch, ms: u64, sticky: bool) -> Side {
        let (requests, seconds) = (batch.canary.counted.requests as f64, ms as f64 / 1000.0);
        let keep = (-seconds / 60.0).exp();
        self.pace.0 = self.pace.0 * keep + requests;
        self.pace.1 = self.pace.1 * keep + seconds;
        let per_minute = |requests: f64, seconds: f64| requests * 60.0 / seconds.max(1.0);
        let late = per_minute(self.pace.0, self.pace.1);
        Side {
            sticky,
            per_minute: late.max(per_minute(requests, seconds)),
        }
    }

    /// How much the last minutes look like harm by any criterion, as a natural logarithm.
    #[must_use]
    pub fn suspicion(&self) -> f64 {
        let refused = self.client_errors.as_ref().map(|s| s.onset.lately());
        let slow = self.latency.as_ref().map(Latency::lately);
        let all = [refused, slow].into_iter().flatten();
        all.fold(self.errors.onset.lately(), f64::max)
    }

    fn remember(&mut self, criteria: &Analysis, batch: &Batch) {
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
