//! Rows of counts by name, bounded in number: what comes when the table is full is folded into one row.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Request;
use super::timer::{Timer, bin};
use crate::line::{Line, Outcome, Side};

/// What is counted of many requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// All of them.
    pub requests: u64,
    /// By status class; first those without an answer, last those of no class that HTTP knows.
    pub classes: [u64; 7],
    /// Bad, by the analysis' own rule: see [`Line::outcome`].
    pub bad: u64,
    /// The client went away, or was too slow.
    pub aborted: u64,
    /// Bytes sent to clients.
    pub bytes: u64,
    /// By [`super::TIMERS`].
    pub timers: [Timer; 5],
}

/// What each row counts of a request, found once for all tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    class: usize,
    outcome: Outcome,
    bytes: u64,
    timers: [i32; 5],
    bins: [usize; 5],
}

impl Count {
    pub(super) fn of(request: &Request<'_>) -> Self {
        let line = Line {
            record: "",
            side: Side::Stable,
            status: request.status,
            termination: request.termination,
            time_to_first_byte: None,
            total_time: None,
            endpoint: "",
            grpc: None,
            pair: None,
            sequence: None,
        };
        let found = |ms: i32| u32::try_from(ms).map_or(0, bin);
        Self {
            class: if request.status >= 600 {
                6
            } else {
                line.class()
            },
            outcome: line.outcome(),
            bytes: request.bytes,
            timers: request.timers,
            bins: request.timers.map(found),
        }
    }
}

impl Row {
    /// Counts a request.
    pub(super) fn record(&mut self, count: &Count) {
        self.requests += 1;
        if let Some(class) = self.classes.get_mut(count.class) {
            *class += 1;
        }
        match count.outcome {
            Outcome::Good => {}
            Outcome::Bad => self.bad += 1,
            Outcome::ClientAbort => self.aborted += 1,
        }
        self.bytes = self.bytes.saturating_add(count.bytes);
        let times = count.timers.into_iter().zip(count.bins);
        for (timer, (ms, bin)) in self.timers.iter_mut().zip(times) {
            if let Ok(ms) = u32::try_from(ms) {
                timer.add(ms, bin);
            }
        }
    }

    /// Adds another row's counts.
    pub(super) fn merge(&mut self, other: &Row) {
        self.requests += other.requests;
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes) {
            *mine += theirs;
        }
        self.bad += other.bad;
        self.aborted += other.aborted;
        self.bytes = self.bytes.saturating_add(other.bytes);
        for (mine, theirs) in self.timers.iter_mut().zip(&other.timers) {
            mine.merge(theirs);
        }
    }
}

/// Rows by name. The hash is seeded at random, because some names are the clients' choice.
#[derive(Debug)]
pub(super) struct Rows {
    index: HashMap<Box<[u8]>, usize, RandomState>,
    rows: Vec<Row>,
    others: Row,
    limit: usize,
}

impl Rows {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            index: HashMap::default(),
            rows: Vec::new(),
            others: Row::default(),
            limit,
        }
    }

    /// Counts a request under a name; `false`, and nothing is counted, if a new name is not `legal`.
    pub(super) fn record(&mut self, name: &[u8], count: &Count, legal: fn(&[u8]) -> bool) -> bool {
        if let Some(row) = self.index.get(name).and_then(|at| self.rows.get_mut(*at)) {
            row.record(count);
            return true;
        }
        if !legal(name) {
            return false;
        }
        let mut row = Row::default();
        if self.rows.len() >= self.limit {
            self.others.record(count);
        } else {
            row.record(count);
            self.index.insert(name.into(), self.rows.len());
            self.rows.push(row);
        }
        true
    }

    /// Every row with its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Row)> {
        let row = |at: &usize| self.rows.get(*at);
        self.index
            .iter()
            .filter_map(move |(name, at)| Some((&**name, row(at)?)))
    }

    /// What came when the table was full.
    pub(super) fn others(&self) -> &Row {
        &self.others
    }
}
