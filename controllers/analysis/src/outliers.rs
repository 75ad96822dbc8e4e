//! One bad replica among good ones: which task of a revision does worse than its siblings.
//!
//! Each task is compared with all the others of its revision, every ten seconds, by the factors of [`crate::pmix`], for errors
//! and for response times. Nobody stops looking here, so the evidence is a Shiryaev-Roberts detector: `R = (R + 1) * factor`,
//! one for each multiplier, averaged. Under the null hypothesis (no task is worse than the tolerance) such a detector takes
//! on average at least `c` batches to reach `c`, and so does the mean of many detectors: with `c` times the number of
//! comparisons as each one's threshold, a revision without a bad task is accused on average less than once in `c` batches,
//! [`CALM`], a year.
//!
//! Pure. Owner: analysis' memory; what was named is stored. What must never happen: a task named because traffic shifted, or because
//! all of them got worse.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use fm_api::outlier::OutlierBy;
use fm_api::verdict::Counted;
use fm_telemetry::Pulled;
use fm_telemetry::endpoints::Endpoint;
use fm_telemetry::histogram::{Histogram, lower_edge};
use jiff::{SignedDuration, Timestamp};

use crate::latency::{self, Decayed, Limit};
use crate::pmix::{Counts, GRID, Question, Sums, log_mean_exp};

/// Time of a batch.
pub const BATCH: SignedDuration = SignedDuration::from_secs(10);
/// Batches in which a revision without a bad task is accused once on average, at most: a year.
pub const CALM: f64 = 365.0 * 86_400.0 / 10.0;
/// A task may be so many times as bad as the others …
const RATIO: f64 = 2.0;
/// … and this much more, as a fraction of requests.
const MARGIN: f64 = 0.01;
/// Slow is what takes this much longer than the others' quantile.
const SHIFT: f64 = 0.5;
/// … and at least so many milliseconds: one against two is no difference to anybody.
const LEAST_MS: f64 = 5.0;
const QUANTILE: f64 = 0.95;
/// More slow answers than the others have, as a fraction, are tolerated.
const SLOW_MARGIN: f64 = 0.01;
/// Batches that are shown with a finding.
const SHOWN: usize = 30;
/// A named task is none any more after so many batches within the tolerance.
const CLEAR: usize = 12;
/// A task that nobody asks for so many batches is forgotten.
const SILENT: usize = 6;
/// Fewer requests in that time clear nobody.
const CLEAR_REQUESTS: u64 = 20;

/// The detector of one task and one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Detector {
    logs: [f64; GRID],
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            logs: [f64::NEG_INFINITY; GRID],
        }
    }
}

impl Detector {
    /// Takes in a batch; gives the evidence as a natural logarithm.
    pub fn add(&mut self, ratio: f64, margin: f64, counts: Counts) -> f64 {
        let mut sums = Sums::default();
        sums.add(Question::Harm, ratio, counts);
        for ((log, s), c) in self.logs.iter_mut().zip(sums.s).zip(sums.c) {
            // ln(R + 1), for R given by its logarithm.
            let plus_one = if *log > 0.0 {
                *log + (-*log).exp().ln_1p()
            } else {
                log.exp().ln_1p()
            };
            *log = plus_one + s - margin * c;
        }
        log_mean_exp(&self.logs)
    }
}

/// A task that is worse than its siblings.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The revision.
    pub revision: String,
    /// Where the task answers.
    pub address: SocketAddr,
    /// In what it is worse.
    pub by: OutlierBy,
    /// Its requests lately, and those that were bad or slow.
    pub counted: Counted,
    /// The others' meanwhile.
    pub others: Counted,
    /// How many others there are.
    pub siblings: usize,
    /// What is slow, in milliseconds: for it, and for the others.
    pub slow_ms: Option<(f64, f64)>,
}

/// Watches the tasks of one release.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watch {
    marks: BTreeMap<String, Mark>,
    revisions: BTreeMap<String, Revision>,
    closed: Option<Timestamp>,
}

/// What each task did in a batch, by revision.
pub type Batch = BTreeMap<String, BTreeMap<SocketAddr, Endpoint>>;

/// What was last read of one agent.
#[derive(Debug, Clone, Default, PartialEq)]
struct Mark {
    epoch: String,
    servers: BTreeMap<String, BTreeMap<SocketAddr, Endpoint>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Revision {
    tasks: BTreeMap<SocketAddr, Task>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Task {
    lately: Decayed,
    errors: Judged,
    latency: Judged,
    /// Batches in a row without a request.
    silent: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Judged {
    detector: Detector,
    recent: VecDeque<Counts>,
    named: bool,
    slow_ms: Option<(f64, f64)>,
}

impl Watch {
    /// Goes on with tasks that were named before.
    pub fn resume(&mut self, named: impl IntoIterator<Item = (String, SocketAddr, OutlierBy)>) {
        for (revision, address, by) in named {
            let tasks = &mut self.revisions.entry(revision).or_default().tasks;
            tasks.entry(address).or_default().judged(by).named = true;
        }
    }

    /// Time until the next batch is due. Batches close by the clock alone, never because of what is in them.
    #[must_use]
    pub fn due_in(&self, now: Timestamp) -> SignedDuration {
        let passed = self.closed.map(|closed| now.duration_since(closed));
        match passed.filter(|passed| !passed.is_negative()) {
            Some(passed) => (BATCH - passed).max(SignedDuration::ZERO),
            None => SignedDuration::ZERO,
        }
    }

    /// Takes in what was counted since the last batch, and gives it. Afterwards the findings may be others.
    pub fn take(&mut self, release: &str, pulled: &Pulled, now: Timestamp) -> Batch {
        let mut batch = Batch::new();
        for snapshot in pulled.answers.iter().flatten() {
            let none = BTreeMap::new();
            let servers = snapshot.endpoints.get(release).unwrap_or(&none);
            let last = self.marks.get(&snapshot.instance);
            let same = last.is_some_and(|mark| mark.epoch == snapshot.epoch);
            for (revision, servers) in servers {
                for (address, counted) in servers {
                    let before = last.filter(|_| same).and_then(|mark| {
                        let servers = mark.servers.get(revision)?;
                        servers.get(address)
                    });
                    let fresh = match (before, last) {
                        (Some(before), _) => counted.since(before),
                        (None, Some(_)) => counted.clone(),
                        // What was counted before the first look belongs to no batch.
                        (None, None) => continue,
                    };
                    if fresh.requests > 0 {
                        let tasks = batch.entry(revision.clone()).or_default();
                        tasks.entry(*address).or_default().merge(&fresh);
                    }
                }
            }
            let mark = Mark {
                epoch: snapshot.epoch.clone(),
                servers: servers.clone(),
            };
            self.marks.insert(snapshot.instance.clone(), mark);
        }
        let passed = self
            .closed
            .map_or(BATCH, |closed| now.duration_since(closed));
        self.closed = Some(now);
        for revision in batch.keys() {
            self.revisions.entry(revision.clone()).or_default();
        }
        for (name, revision) in &mut self.revisions {
            let none = BTreeMap::new();
            let counted = batch.get(name).unwrap_or(&none);
            revision.close(counted, passed.as_secs_f64());
        }
        self.revisions
            .retain(|_, revision| !revision.tasks.is_empty());
        batch
    }

    /// The tasks that are worse than their siblings.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (name, revision) in &self.revisions {
            for (address, task) in &revision.tasks {
                for (by, judged) in [
                    (OutlierBy::Errors, &task.errors),
                    (OutlierBy::Latency, &task.latency),
                ] {
                    if judged.named {
                        let (counted, others) = sums(judged.recent.iter());
                        found.push(Finding {
                            revision: name.clone(),
                            address: *address,
                            by,
                            counted,
                            others,
                            siblings: revision.tasks.len().saturating_sub(1),
                            slow_ms: judged.slow_ms,
                        });
                    }
                }
            }
        }
        found
    }
}

impl Task {
    fn judged(&mut self, by: OutlierBy) -> &mut Judged {
        match by {
            OutlierBy::Errors => &mut self.errors,
            OutlierBy::Latency => &mut self.latency,
        }
    }
}

impl Revision {
    /// Takes in a batch: each task against all the others in it.
    fn close(&mut self, counted: &BTreeMap<SocketAddr, Endpoint>, seconds: f64) {
        let (mut all, mut lately) = (Endpoint::default(), Decayed::default());
        let threshold = (CALM * 2.0 * counted.len().max(2) as f64).ln();
        for (address, own) in counted {
            all.merge(own);
            self.tasks.entry(*address).or_default();
        }
        for task in self.tasks.values() {
            lately.merge(&task.lately);
        }
        for (address, task) in &mut self.tasks {
            let own = counted.get(address).cloned().unwrap_or_default();
            let others = Endpoint {
                requests: all.requests - own.requests,
                bad: all.bad - own.bad,
                // It was added to them a moment ago.
                latency: all.latency.since(&own.latency).unwrap_or_default(),
            };
            task.silent = if own.requests > 0 { 0 } else { task.silent + 1 };
            let counts = Counts {
                x: own.bad,
                y: others.bad,
                n_c: own.requests,
                n_s: others.requests,
            };
            task.errors
                .judge(RATIO, MARGIN, counts, threshold, task.silent);
            let limits = lately.without(&task.lately);
            if let Some((counts, slow_ms)) = slow(&limits, &own.latency, &others.latency) {
                task.latency.slow_ms = Some(slow_ms);
                let (latency, silent) = (&mut task.latency, task.silent);
                latency.judge(1.0, SLOW_MARGIN, counts, threshold, silent);
            }
            task.lately.add(&own.latency, seconds);
        }
        self.tasks.retain(|_, task| task.silent < SILENT);
    }
}

/// The batch's slow answers, and what is slow for the task and for the others in milliseconds; `None` while the others'
/// quantile is unknown. It comes from earlier batches only, so that the limits are fixed before what they judge.
fn slow(
    others_lately: &Decayed,
    own: &Histogram,
    others: &Histogram,
) -> Option<(Counts, (f64, f64))> {
    let edge = lower_edge(others_lately.quantile_bin(QUANTILE)?.saturating_add(1));
    let limit = Limit {
        q: QUANTILE,
        shift: SHIFT,
        least_ms: LEAST_MS,
    };
    let counts = latency::slow(others_lately, Question::Harm, limit, own, others)?;
    let shift = SHIFT.max(LEAST_MS / edge.max(f64::MIN_POSITIVE));
    Some((counts, (edge * (1.0 + shift), edge)))
}

impl Judged {
    fn judge(&mut self, ratio: f64, margin: f64, counts: Counts, threshold: f64, silent: usize) {
        self.recent.push_back(counts);
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
        let evidence = self.detector.add(ratio, margin, counts);
        if evidence >= threshold {
            self.named = true;
            self.detector = Detector::default();
        } else if self.named {
            let (own, others) = sums(self.recent.iter().rev().take(CLEAR));
            let rate = |counted: Counted| counted.bad as f64 / counted.requests.max(1) as f64;
            let within = rate(own) <= ratio * rate(others) + margin;
            let whole = self.recent.len() >= CLEAR && own.requests >= CLEAR_REQUESTS;
            if (within && whole) || silent >= SILENT {
                *self = Self::default();
            }
        }
    }
}

fn sums<'a>(batches: impl Iterator<Item = &'a Counts>) -> (Counted, Counted) {
    let mut sums = (Counted::default(), Counted::default());
    for batch in batches {
        sums.0.requests += batch.n_c;
        sums.0.bad += batch.x;
        sums.1.requests += batch.n_s;
        sums.1.bad += batch.y;
    }
    sums
}

impl Finding {
    /// One sentence for people. `task` is how the task is called, `revision` how the revision is.
    #[must_use]
    pub fn sentence(&self, task: &str, revision: &str) -> String {
        let percent = |counted: Counted| {
            let share = counted.bad as f64 * 100.0 / counted.requests.max(1) as f64;
            format!("{share:.1} %")
        };
        let (own, others) = (self.counted, self.others);
        let siblings = if self.siblings == 1 {
            format!("the other task of {revision}")
        } else {
            format!("the other {} tasks of {revision}", self.siblings)
        };
        match (self.by, self.slow_ms) {
            (OutlierBy::Latency, Some((limit, usual))) => format!(
                "{task} is slow: {} of its answers take over {limit:.0} ms ({} of {}), {} of those of {siblings} over {usual:.0} ms ({} of {})",
                percent(own),
                own.bad,
                own.requests,
                percent(others),
                others.bad,
                others.requests,
            ),
            (OutlierBy::Latency, None) => format!("{task} is slower than {siblings}"),
            (OutlierBy::Errors, _) => format!(
                "{task} answers {} badly ({} of {}), {siblings} {} ({} of {})",
                percent(own),
                own.bad,
                own.requests,
                percent(others),
                others.bad,
                others.requests,
            ),
        }
    }
}

#[cfg(test)]
mod tests;
