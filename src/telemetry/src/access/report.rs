//! The tables that people and programs get. Sorted, named, with percentiles.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde::Serialize;

use super::TIMERS;
use super::rows::Row;
use super::stats::{Lines, Stats};

/// What rows are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// A frontend.
    Frontend,
    /// A backend.
    Backend,
    /// A server of a backend.
    Server,
    /// A route.
    Route,
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The most requests first.
    Requests,
    /// The most bad ones first.
    Bad,
    /// The slowest 99th percentile of the whole time (`Ta`, or `Tr` where a log has no `Ta`) first.
    Slow,
    /// By name.
    Name,
}

/// Everything that was counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What became of the lines.
    pub lines: Lines,
    /// When the first request was accepted, on the log's own clock.
    pub first: Option<DateTime>,
    /// When the last one was.
    pub last: Option<DateTime>,
    /// All requests.
    pub total: Entry,
    /// One table each.
    pub tables: Vec<Table>,
}

/// Rows of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Of which kind.
    pub by: By,
    /// The rows.
    pub rows: Vec<Entry>,
    /// How many more there are than were asked for.
    pub more: usize,
    /// Requests of names that no row was free for; they are in the row `(others)`.
    pub folded: u64,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Requests a second over the whole time of the log; absent when the log tells no time.
    pub rate: Option<f64>,
    /// By class.
    pub status: Classes,
    /// Bad, by the rule of the analysis.
    pub bad: u64,
    /// The client went away, or was too slow.
    pub aborted: u64,
    /// Bytes sent to clients.
    pub bytes: u64,
    /// Milliseconds by timer, for those that the log has.
    pub timers: BTreeMap<&'static str, Percentiles>,
}

/// Requests by status class.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Classes {
    #[serde(rename = "none")]
    pub none: u64,
    #[serde(rename = "1xx")]
    pub c1: u64,
    #[serde(rename = "2xx")]
    pub c2: u64,
    #[serde(rename = "3xx")]
    pub c3: u64,
    #[serde(rename = "4xx")]
    pub c4: u64,
    #[serde(rename = "5xx")]
    pub c5: u64,
    #[serde(rename = "other")]
    pub other: u64,
}

/// Percentiles of a timer, in milliseconds; within 0.8 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub count: u64,
    pub p50: u32,
    pub p90: u32,
    pub p95: u32,
    pub p99: u32,
    pub p999: u32,
    pub max: u32,
}

impl Stats {
    /// The tables; of each at most `top` rows.
    #[must_use]
    pub fn report(&self, by: &[By], sort: Sort, top: usize) -> Report {
        let span = self.clock.span;
        let seconds = span
            .map(|(first, last)| (last - first) as f64 / 1000.0)
            .filter(|seconds| *seconds > 0.0);
        let mut total = Row::default();
        for (_, row) in self.places.iter() {
            total.merge(row);
        }
        total.merge(self.places.others());
        Report {
            lines: self.lines.clone(),
            first: span.and_then(|(first, _)| civil(first)),
            last: span.and_then(|(_, last)| civil(last)),
            total: entry("(all)".to_owned(), &total, seconds),
            tables: by
                .iter()
                .map(|by| self.table(*by, sort, top, seconds))
                .collect(),
        }
    }

    fn table(&self, by: By, sort: Sort, top: usize, seconds: Option<f64>) -> Table {
        let source = match by {
            By::Frontend | By::Backend | By::Server => &self.places,
            By::Route => &self.routes,
        };
        let mut merged: BTreeMap<String, Row> = BTreeMap::new();
        for (name, row) in source.iter() {
            merged.entry(short(by, name)).or_default().merge(row);
        }
        let mut rows: Vec<(String, Row)> = merged.into_iter().collect();
        match sort {
            Sort::Name => {}
            Sort::Requests => rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.requests)),
            Sort::Bad => rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.bad)),
            Sort::Slow => rows.sort_by_cached_key(|(_, row)| std::cmp::Reverse(slowness(row))),
        }
        let more = rows.len().saturating_sub(top);
        let mut rows: Vec<Entry> = rows
            .into_iter()
            .take(top)
            .map(|(name, row)| entry(name, &row, seconds))
            .collect();
        let folded = source.others().requests;
        if folded > 0 {
            rows.push(entry("(others)".to_owned(), source.others(), seconds));
        }
        Table {
            by,
            rows,
            more,
            folded,
        }
    }
}

/// The part of a place's `frontend backend/server` that makes the row; a route is itself.
fn short(by: By, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name).into_owned();
    let (frontend, place) = name.split_once(' ').unwrap_or(("-", &name));
    match by {
        // `~` says that it was TLS.
        By::Frontend => frontend.trim_end_matches('~').to_owned(),
        By::Backend => place.split('/').next().unwrap_or(place).to_owned(),
        By::Server => place.to_owned(),
        By::Route => name,
    }
}

fn slowness(row: &Row) -> Option<u32> {
    let [_, _, _, first_byte, whole] = &row.timers;
    whole.quantile(0.99).or_else(|| first_byte.quantile(0.99))
}

fn entry(name: String, row: &Row, seconds: Option<f64>) -> Entry {
    let [none, c1, c2, c3, c4, c5, other] = row.classes;
    let timers = TIMERS.iter().zip(&row.timers).filter_map(|(name, timer)| {
        let at = |q| timer.quantile(q);
        let percentiles = Percentiles {
            count: timer.count(),
            p50: at(0.5)?,
            p90: at(0.9)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            max: timer.greatest(),
        };
        Some((*name, percentiles))
    });
    Entry {
        name,
        requests: row.requests,
        rate: seconds.map(|seconds| row.requests as f64 / seconds),
        status: Classes {
            none,
            c1,
            c2,
            c3,
            c4,
            c5,
            other,
        },
        bad: row.bad,
        aborted: row.aborted,
        bytes: row.bytes,
        timers: timers.collect(),
    }
}

fn civil(ms: i64) -> Option<DateTime> {
    let zero = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    zero.checked_add(jiff::SignedDuration::from_millis(ms)).ok()
}
