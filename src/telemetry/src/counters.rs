//! Cumulative counters per release and revision. They only grow within an epoch (one process and its start); a new
//! epoch is a new series, so that no restart counts anything twice.
//!
//! What a reader needs beyond the sums: [`Counters::outcomes`] counts by status, cause and gRPC status, so that another
//! definition of an error is applied when they are read; [`Snapshot::endpoints`] has what each server answered.
//!
//! A revision that nobody has asked for in an hour is forgotten; should it come back, it begins at nothing, and readers see a
//! counter below the one they remember, which they take as begun anew.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backends::{Backend, Backends};
use crate::endpoints::{Endpoint, Endpoints};
pub use crate::histogram::Histogram;
use crate::line::{Line, Outcome, Side};
use crate::outcomes::{Kind, Outcomes};
use crate::outflow::{self, Queue};
use crate::pairs::{Half, Pairs};
use crate::proof::Proof;
use crate::record::SplitRecord;
use crate::repeats::Repeats;
use crate::sequence::Sequences;
pub(crate) use take::Way;

/// Everything an agent has counted, at one instant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The agent's instance name.
    pub instance: String,
    /// The process and its start.
    pub epoch: String,
    /// When it was taken.
    pub at: Option<Timestamp>,
    /// By `namespace/name`, then by revision.
    pub releases: BTreeMap<String, BTreeMap<String, Counters>>,
    /// What each server answered that is not forgotten.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: ByEndpoint,
    /// The log's own health.
    pub log: LogHealth,
}

/// One revision's requests since the epoch began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Requests that this revision was meant to serve by the split (fallbacks among them), without those that a match rule forced.
    pub requests: u64,
    /// … of which bad: answered 5xx, or ended by HAProxy because the server failed or was too slow, or fallen back.
    pub bad: u64,
    /// … of which the other revision answered because no server of this one was usable. They are among the bad.
    pub fallback: u64,
    /// Requests that a match rule forced here; in none of the other numbers.
    pub forced: u64,
    /// Mirrored requests, by how they ended, once both have and nobody gave one of them up: of stable those of its requests that
    /// the canary was asked as well (they stand in the other numbers, too), of the canary its answers to them, which stand
    /// nowhere else.
    #[serde(default, skip_serializing_if = "Outcomes::is_empty")]
    pub mirrored: Outcomes,
    /// Requests that the client gave up; in none of the other numbers.
    pub client_aborts: u64,
    /// Answers by status class: index 0 for none (fallbacks too: this revision did not answer them), 1 to 5 for 1xx to 5xx.
    pub classes: [u64; 6],
    /// The requests by how they ended: what sums up to `requests`, and its bad kinds to `bad`. Only in differences against
    /// what an earlier version wrote down it is empty.
    #[serde(default, skip_serializing_if = "Outcomes::is_empty")]
    pub outcomes: Outcomes,
    /// Milliseconds that the answered requests took to their last byte, in all.
    #[serde(default)]
    pub total_ms: u64,
    /// Response times in milliseconds (HAProxy's time to the first byte) of requests that were answered and not bad: an
    /// error is judged as an error, and a quick one must not make its revision look fast.
    pub latency: Histogram,
}

/// How the log itself fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogHealth {
    /// Lines of requests.
    pub lines: u64,
    /// … of which had no route.
    #[serde(default)]
    pub unrouted: u64,
    /// Lines missing in the sequence that HAProxy numbers.
    pub lost: u64,
    /// Lines that could not be read.
    pub malformed: u64,
    /// Connections that HAProxy has opened to the receiver.
    pub connections: u64,
    /// Lines that had come by another way before; they are in none of the other numbers.
    #[serde(default)]
    pub repeated: u64,
    /// Lines that did not show the secret of our HAProxy's configuration; they count nowhere else.
    #[serde(default)]
    pub unproven: u64,
    /// Lines that HAProxy says it could not send, as its own counters tell it; missing numbers tell more.
    #[serde(default)]
    pub dropped: u64,
}

/// How long a revision is remembered that nobody asks for.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Revisions remembered at most; beyond it the one not asked for the longest goes early.
const MAX_SERIES: usize = 50_000;
/// Split records remembered as text; beyond it they are read anew.
const MAX_RECORDS: usize = 4096;
/// How often old things are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// All counters of this process. It takes time by argument and does no I/O.
#[derive(Debug, Default)]
pub(crate) struct State {
    series: Vec<Series>,
    index: HashMap<(String, String), usize>,
    /// The text of a record -> the series of its stable and its canary.
    records: HashMap<Box<str>, Sides>,
    sequences: Sequences,
    log: LogHealth,
    swept: Option<Instant>,
    refused: Refused,
    strange: Refused,
    /// What our own HAProxy's lines begin with, by whichever way they come.
    own: Option<Proof>,
    /// Only with more than one way.
    repeats: Option<Repeats>,
    backends: Backends,
    pairs: Pairs,
    outflows: Vec<Arc<Queue>>,
}

/// Lines that could not be read since the last complaint.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    sample: String,
    told: Option<Instant>,
}

/// How often one complains of lines that cannot be read.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Characters of a bad line that are shown.
pub(crate) const SAMPLE: usize = 200;

/// Each server's answers: by `namespace/name`, then by revision, then by server.
pub type ByEndpoint = BTreeMap<String, BTreeMap<String, BTreeMap<SocketAddr, Endpoint>>>;

#[derive(Debug)]
struct Series {
    release: String,
    revision: String,
    counters: Counters,
    endpoints: Endpoints,
    seen: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Sides {
    stable: usize,
    canary: Option<usize>,
}

impl State {
    /// A connection was opened.
    pub(crate) fn connected(&mut self) {
        self.log.connections += 1;
    }

    /// A line that is too long to be one of ours.
    pub(crate) fn overlong(&mut self, beginning: &[u8]) {
        self.malformed(beginning);
    }

    fn malformed(&mut self, bytes: &[u8]) {
        self.log.malformed += 1;
        if self.refused.count == 0 {
            let shown = bytes.get(..SAMPLE).unwrap_or(bytes);
            // Nothing that a terminal or a log reader would act on is left in it.
            self.refused.sample = shown.escape_ascii().to_string();
        }
        self.refused.count += 1;
    }

    /// How many lines could not be read since the last complaint and the first of them, once a minute at most.
    pub(crate) fn complaint(&mut self, now: Instant) -> Option<(u64, String)> {
        let refused = &mut self.refused;
        let recent = |told| now.saturating_duration_since(told) < COMPLAIN_EVERY;
        if refused.count == 0 || refused.told.is_some_and(recent) {
            return None;
        }
        refused.told = Some(now);
        let count = std::mem::take(&mut refused.count);
        Some((count, std::mem::take(&mut refused.sample)))
    }

    /// From now on lines may come by more than one way.
    pub(crate) fn more_ways(&mut self) {
        self.repeats.get_or_insert_default();
    }

    /// From now on lines are sent on to it, too.
    pub(crate) fn send_to(&mut self, outflow: Arc<Queue>) {
        self.outflows.push(outflow);
    }

    /// How those fare that lines are sent on to.
    pub(crate) fn outflows(&self) -> Vec<outflow::Status> {
        self.outflows.iter().map(|queue| queue.status()).collect()
    }

    /// Which backends there are.
    pub(crate) fn set_backends(&mut self, now: impl IntoIterator<Item = (String, Backend)>) {
        self.backends.set(now);
    }

    /// More lines that HAProxy itself says it has dropped.
    pub(crate) fn dropped(&mut self, more: u64) {
        self.log.dropped = self.log.dropped.saturating_add(more);
    }

    /// Everything counted so far.
    pub(crate) fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.sweep(now);
        let mut releases: BTreeMap<String, BTreeMap<String, Counters>> = BTreeMap::new();
        let mut endpoints = ByEndpoint::new();
        for series in &self.series {
            releases
                .entry(series.release.clone())
                .or_default()
                .insert(series.revision.clone(), series.counters.clone());
            let servers = series.endpoints.snapshot();
            if !servers.is_empty() {
                endpoints
                    .entry(series.release.clone())
                    .or_default()
                    .insert(series.revision.clone(), servers);
            }
        }
        Snapshot {
            releases,
            endpoints,
            log: LogHealth {
                lost: self.sequences.lost(),
                ..self.log
            },
            ..Snapshot::default()
        }
    }

    /// What each server answered, of one release or of all.
    pub(crate) fn endpoints(&mut self, release: Option<&str>, now: Instant) -> ByEndpoint {
        self.sweep(now);
        let mut all = ByEndpoint::new();
        let wanted = |series: &&Series| release.is_none_or(|release| release == series.release);
        for series in self.series.iter().filter(wanted) {
            all.entry(series.release.clone())
                .or_default()
                .insert(series.revision.clone(), series.endpoints.snapshot());
        }
        all
    }

    /// Counts a request; gives the series that it counts for.
    fn count(&mut self, line: &Line<'_>, now: Instant) -> Option<usize> {
        let sides = self.sides(line.record, now)?;
        let place = match line.side {
            Side::Stable
            | Side::ForcedStable
            | Side::StableFallback
            | Side::Mirrored
            | Side::ForCanary => sides.stable,
            Side::Canary | Side::Fallback | Side::Forced | Side::Copy | Side::ForStable => {
                sides.canary?
            }
            // Whoever it was handed to tells what became of it.
            Side::Handed => return Some(sides.stable),
        };
        self.pair(line, sides, now);
        let series = self.series.get_mut(place)?;
        series.seen = now;
        series.counters.count(line);
        // Earlier configurations name the server of stable that answered in a fallback's own line.
        let answered = match line.side == Side::Fallback {
            true => self.series.get_mut(sides.stable)?,
            false => series,
        };
        answered.endpoints.count(line, now);
        Some(place)
    }

    /// An original, or a copy: both count for the comparison once both are here.
    fn pair(&mut self, line: &Line<'_>, sides: Sides, now: Instant) {
        let half = match line.side == Side::Copy {
            true => Half::Copy,
            false if line.side == Side::Mirrored => Half::Original,
            false => return,
        };
        let (Some(number), Some(canary)) = (line.pair, sides.canary) else {
            return;
        };
        let kind = (line.outcome() != Outcome::ClientAbort).then(|| Kind::of(line));
        let Some(pair) = self.pairs.ended(number, half, kind, now) else {
            return;
        };
        for (place, kind) in [(sides.stable, pair.original), (canary, pair.copy)] {
            if let Some(series) = self.series.get_mut(place) {
                series.counters.mirrored.add(kind, 1);
            }
        }
    }

    fn sides(&mut self, text: &str, now: Instant) -> Option<Sides> {
        if let Some(sides) = self.records.get(text) {
            return Some(*sides);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_./-|".contains(&b);
        let record = SplitRecord::parse(text).filter(|_| text.bytes().all(allowed))?;
        let release = record.release.to_string();
        if self.series.len() + 2 > MAX_SERIES {
            self.forget_oldest();
        }
        let sides = Sides {
            stable: self.place(&release, record.stable.as_str(), now),
            canary: record
                .canary
                .map(|canary| self.place(&release, canary.as_str(), now)),
        };
        if self.records.len() >= MAX_RECORDS {
            self.records.clear();
        }
        self.records.insert(text.into(), sides);
        Some(sides)
    }

    fn place(&mut self, release: &str, revision: &str, now: Instant) -> usize {
        let series = &mut self.series;
        *self
            .index
            .entry((release.to_owned(), revision.to_owned()))
            .or_insert_with(|| {
                series.push(Series {
                    release: release.to_owned(),
                    revision: revision.to_owned(),
                    counters: Counters::default(),
                    endpoints: Endpoints::default(),
                    seen: now,
                });
                series.len() - 1
            })
    }

    fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        self.sequences.settle(now);
        for series in &mut self.series {
            series.endpoints.sweep(now);
        }
        let old = |series: &Series| now.saturating_duration_since(series.seen) >= FORGET_AFTER;
        if self.series.iter().any(old) {
            self.series.retain(|series| !old(series));
            self.reindex();
        }
    }

    /// A tenth goes at once, so that a flood of invented revisions costs little each.
    fn forget_oldest(&mut self) {
        self.series
            .sort_by_key(|series| std::cmp::Reverse(series.seen));
        self.series.truncate(MAX_SERIES / 10 * 9);
        self.reindex();
    }

    fn reindex(&mut self) {
        self.records.clear();
        self.index = (self.series.iter().enumerate())
            .map(|(place, s)| ((s.release.clone(), s.revision.clone()), place))
            .collect();
    }
}

impl Counters {
    fn count(&mut self, line: &Line<'_>) {
        let outcome = match line.side {
            Side::Forced | Side::ForcedStable => {
                self.forced += 1;
                return;
            }
            Side::Fallback | Side::StableFallback => {
                self.requests += 1;
                self.bad += 1;
                self.fallback += 1;
                self.classes[0] += 1;
                self.outcomes.add(Kind::of(line), 1);
                return;
            }
            // It counts as half of a pair, and as nothing else.
            Side::Copy => return,
            // They count in the line of the revision that was meant.
            Side::ForCanary | Side::ForStable | Side::Handed => return,
            Side::Stable | Side::Canary | Side::Mirrored => line.outcome(),
        };
        if outcome == Outcome::ClientAbort {
            self.client_aborts += 1;
            return;
        }
        self.requests += 1;
        if let Some(class) = self.classes.get_mut(line.class()) {
            *class += 1;
        }
        self.outcomes.add(Kind::of(line), 1);
        let total = line.total_time.map_or(0, u64::from);
        self.total_ms = self.total_ms.saturating_add(total);
        match (outcome, line.time_to_first_byte) {
            (Outcome::Bad, _) => self.bad += 1,
            (_, Some(ms)) => self.latency.record(f64::from(ms)),
            (_, None) => {}
        }
    }

    /// What was counted since `earlier`, of the same series. A counter below the earlier one was begun anew: then all
    /// of it is new.
    #[must_use]
    pub fn since(&self, earlier: &Counters) -> Counters {
        self.checked_since(earlier).unwrap_or_else(|| self.clone())
    }

    /// Goes on to `now`, a later state of the same series; gives what was counted since, as [`Counters::since`] does.
    pub fn advance(&mut self, now: &Counters) -> Counters {
        let more = now.checked_since(self);
        // What an earlier version wrote down knows no outcomes, and cannot be added to.
        let known = !self.outcomes.is_empty() || self.requests == 0;
        match more {
            Some(more) if known => {
                self.merge(&more);
                more
            }
            more => {
                self.clone_from(now);
                more.unwrap_or_else(|| now.clone())
            }
        }
    }

    fn checked_since(&self, earlier: &Counters) -> Option<Counters> {
        let mut classes = [0; 6];
        for (place, class) in classes.iter_mut().enumerate() {
            *class = self
                .classes
                .get(place)?
                .checked_sub(*earlier.classes.get(place)?)?;
        }
        Some(Counters {
            requests: self.requests.checked_sub(earlier.requests)?,
            bad: self.bad.checked_sub(earlier.bad)?,
            fallback: self.fallback.checked_sub(earlier.fallback)?,
            forced: self.forced.checked_sub(earlier.forced)?,
            mirrored: self.mirrored.since(&earlier.mirrored)?,
            client_aborts: self.client_aborts.checked_sub(earlier.client_aborts)?,
            classes,
            outcomes: match earlier.outcomes.is_empty() && earlier.requests > 0 {
                true => Outcomes::default(),
                false => self.outcomes.since(&earlier.outcomes)?,
            },
            total_ms: self.total_ms.checked_sub(earlier.total_ms)?,
            latency: self.latency.since(&earlier.latency)?,
        })
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Counters) {
        self.requests += other.requests;
        self.bad += other.bad;
        self.fallback += other.fallback;
        self.forced += other.forced;
        self.mirrored.merge(&other.mirrored);
        self.client_aborts += other.client_aborts;
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes) {
            *mine += theirs;
        }
        self.outcomes.merge(&other.outcomes);
        self.total_ms = self.total_ms.saturating_add(other.total_ms);
        self.latency.merge(&other.latency);
    }
}

mod silent;
mod take;
#[cfg(test)]
mod tests;
mod unproven;
