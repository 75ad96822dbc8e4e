//! Rows of counts by name, bounded in number: what comes when the table is full is folded into one row.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Request;
use super::timer::Timer;
use crate::line::{Line, Outcome, Side};

/// What is counted of many requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// All of them.
    pub requests: u64,
    /// By status class; first those without an answer.
    pub classes: [u64; 6],
    /// Bad, by the analysis' own rule: see [`Line::outcome`].
    pub bad: u64,
    /// The client went away, or was too slow.
    pub aborted: u64,
    /// Bytes sent to clients.
    pub bytes: u64,
    /// By [`super::TIMERS`].
    pub timers: [Timer; 5],
}

impl Row {
    /// Counts a request.
    pub(super) fn record(&mut self, request: &Request<'_>) {
        let line = Line {
            record: "",
            side: Side::Stable,
            status: request.status,
            termination: request.termination,
            time_to_first_byte: None,
            total_time: None,
            endpoint: "",
            grpc: None,
            sequence: None,
        };
        self.requests += 1;
        if let Some(class) = self.classes.get_mut(line.class()) {
            *class += 1;
        }
        match line.outcome() {
            Outcome::Good => {}
            Outcome::Bad => self.bad += 1,
            Outcome::ClientAbort => self.aborted += 1,
        }
        self.bytes = self.bytes.saturating_add(request.bytes);
        for (timer, ms) in self.timers.iter_mut().zip(request.timers) {
            if let Ok(ms) = u32::try_from(ms) {
                timer.record(ms);
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
    pub(super) fn record(
        &mut self,
        name: &[u8],
        request: &Request<'_>,
        legal: fn(&[u8]) -> bool,
    ) -> bool {
        if let Some(row) = self.index.get(name).and_then(|at| self.rows.get_mut(*at)) {
            row.record(request);
            return true;
        }
        if !legal(name) {
            return false;
        }
        let mut row = Row::default();
        if self.rows.len() >= self.limit {
            self.others.record(request);
        } else {
            row.record(request);
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
