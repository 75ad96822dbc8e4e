//! Collects, keeps and answers.
//!
//! Once a second every agent is asked; every ten seconds the file takes in what is new. The file is opened when there is
//! something to keep: a daemon without traffic pays nothing for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fm_runtime::Context;
use fm_telemetry::Pulls;
use fm_telemetry::usage::NodeUsage;
use jiff::{SignedDuration, Timestamp};
use tokio::time::MissedTickBehavior;

use crate::difference::Marks;
use crate::file::{Bounds, File};
use crate::ladder::{LADDER, bucket, choose};
use crate::model::{Sample, Series};
use crate::recent::Recent;
use crate::tasks::Tasks;

const EVERY: Duration = Duration::from_secs(1);
/// What another reader has pulled since the last look is as good.
const SHARED: SignedDuration = SignedDuration::from_millis(900);
/// Seconds between two writes of the file; a killed daemon loses so much at most.
const FLUSH: i64 = 10;
const PRUNE: i64 = 60;
/// Points of one answer at most.
const MOST_POINTS: usize = 50_000;

/// The signals that are kept. A clone is cheap and sees the same.
#[derive(Clone, Default)]
pub struct Signals {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    path: Option<PathBuf>,
    recent: Mutex<Recent>,
    /// Held while the file is written or read, and while `recent` learns of it: nothing is then read twice or missed.
    file: Mutex<Option<File>>,
    refused: AtomicU64,
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only of this release, `namespace/name`.
    pub release: Option<String>,
    /// Only of releases in this namespace.
    pub namespace: Option<String>,
    /// Each task too, not only revisions.
    pub endpoints: bool,
    /// From this second on.
    pub since: i64,
    /// Up to this second, without it.
    pub until: i64,
    /// Seconds between two points; absent: some 300 points.
    pub step: Option<i64>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Seconds between two points.
    pub step: i64,
    /// By series and by the second where the point begins.
    pub points: BTreeMap<(Series, i64), Sample>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The answer would be too long.
    #[error(
        "the answer has more than {MOST_POINTS} points: ask for a shorter time, one release, or a longer step"
    )]
    TooMany,
    /// The file cannot be read.
    #[error("the signals cannot be read: {0}")]
    File(String),
}

impl Signals {
    /// Kept in this file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let path = Some(path);
        Self {
            inner: Arc::new(Inner {
                path,
                ..Inner::default()
            }),
        }
    }

    /// Takes in what was counted in a second.
    pub fn add(&self, second: i64, new: BTreeMap<Series, Sample>) {
        lock(&self.inner.recent).add(second, new);
    }

    /// The last `seconds` whole seconds before `now`, by series.
    #[must_use]
    pub fn last(&self, now: i64, seconds: i64) -> BTreeMap<Series, Sample> {
        self.span(now - seconds, now)
    }

    /// What was counted from one second up to another, without it, by series; of the last half minute.
    #[must_use]
    pub fn span(&self, since: i64, until: i64) -> BTreeMap<Series, Sample> {
        let mut sums: BTreeMap<Series, Sample> = BTreeMap::new();
        let recent = lock(&self.inner.recent);
        for (_, samples) in recent.since(since, false).filter(|(at, _)| *at < until) {
            for (series, sample) in samples {
                sums.entry(series.clone()).or_default().merge(sample);
            }
        }
        sums
    }

    /// Samples that were not kept, as there were too many series.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::Relaxed)
    }

    /// Answers a question. It reads a file: not for the threads that must not wait.
    ///
    /// # Errors
    /// When the answer would be too long, or the file cannot be read.
    pub fn query(&self, now: i64, query: &Query) -> Result<Answer, QueryError> {
        let (rung, step) = choose(now, query.since, query.step);
        let resolution = LADDER.get(rung).map_or(1, |rung| rung.seconds);
        // Whole points only, so that the first one is no fraction.
        let since = bucket(query.since, step);
        let mut answer = Answer {
            step,
            points: BTreeMap::new(),
        };
        let mut many = false;
        let mut take = |series: &Series, at: i64, sample: &Sample| {
            let place = (series.clone(), bucket(at, step));
            answer.points.entry(place).or_default().merge(sample);
            many |= answer.points.len() > MOST_POINTS;
            !many
        };
        let mut file = lock(&self.inner.file);
        self.open(&mut file, false)
            .map_err(|error| QueryError::File(error.to_string()))?;
        if let Some(file) = file.as_ref() {
            let span = (bucket(since, resolution), query.until);
            file.read(
                rung,
                span,
                |series| query.asks_for(series),
                |series, at, sample| take(series, at, &sample),
            )
            .map_err(|error| QueryError::File(error.to_string()))?;
        }
        for (at, samples) in lock(&self.inner.recent).since(since, true) {
            for (series, sample) in samples.iter().filter(|(series, _)| query.asks_for(series)) {
                if *at < query.until {
                    take(series, *at, sample);
                }
            }
        }
        drop(file);
        if many {
            Err(QueryError::TooMany)
        } else {
            Ok(answer)
        }
    }

    /// Writes what the file does not have yet; the running second waits.
    fn flush(&self, now: i64, prune: bool) -> Result<(), redb::Error> {
        let mut file = lock(&self.inner.file);
        let waiting = lock(&self.inner.recent).waiting(now);
        self.open(&mut file, !waiting.is_empty())?;
        let Some(open) = file.as_mut() else {
            return Ok(());
        };
        let outcome = match waiting.last() {
            Some((last, _)) => open.write(&waiting).map(|written| {
                lock(&self.inner.recent).flushed(*last);
                self.inner
                    .refused
                    .fetch_add(written.refused, Ordering::Relaxed);
            }),
            None => Ok(()),
        };
        let outcome = outcome.and_then(|()| if prune { open.prune(now) } else { Ok(()) });
        if outcome.is_err() {
            // After an I/O error redb refuses everything until the file is opened again.
            *file = None;
        }
        outcome
    }

    /// Removes the file; whether there was one.
    fn remove(&self) -> std::io::Result<bool> {
        let mut file = lock(&self.inner.file);
        *file = None;
        match &self.inner.path {
            Some(path) if path.exists() => std::fs::remove_file(path).map(|()| true),
            Some(_) | None => Ok(false),
        }
    }

    /// Opens the file if it is there, or if it must be.
    fn open(&self, file: &mut Option<File>, must: bool) -> Result<(), redb::Error> {
        if let (None, Some(path)) = (&file, &self.inner.path)
            && (must || path.exists())
        {
            *file = Some(File::open(path, Bounds::default())?);
        }
        Ok(())
    }
}

impl Query {
    fn asks_for(&self, series: &Series) -> bool {
        let namespace = series.release.split('/').next();
        self.release
            .as_ref()
            .is_none_or(|release| *release == series.release)
            && (self.endpoints || series.endpoint.is_none())
            && (self.namespace.as_deref()).is_none_or(|wanted| namespace == Some(wanted))
    }
}

/// Which measurement of each task was taken in: each counts once.
#[derive(Debug, Default)]
struct Gauged(BTreeMap<String, Timestamp>);

impl Gauged {
    fn take(&mut self, usage: &[NodeUsage], new: &mut BTreeMap<Series, Sample>) {
        let mut seen = BTreeMap::new();
        for task in usage.iter().flat_map(|node| &node.tasks) {
            let fresh = self.0.get(&task.task) != Some(&task.at);
            if seen.insert(task.task.clone(), task.at).is_some() || !fresh {
                continue;
            }
            for endpoint in [None, Some(task.task.clone())] {
                let series = Series {
                    release: task.release.clone(),
                    revision: task.revision.clone(),
                    endpoint,
                };
                new.entry(series).or_default().merge(&Sample::from(task));
            }
        }
        self.0 = seen;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects until shutdown, and writes the rest at the end.
///
/// # Errors
/// None that ends it: what cannot be written is held, and tried again.
pub async fn run(
    ctx: Context,
    pulls: Arc<Pulls>,
    signals: Signals,
) -> Result<(), std::convert::Infallible> {
    let (mut marks, mut gauged) = (Marks::default(), Gauged::default());
    let mut tasks = Tasks::follow(&ctx);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut flushed, mut pruned) = (0, 0);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ctx.shutdown.cancelled() => break,
        }
        let pulled = pulls.get(ctx.clock.now(), SHARED).await;
        tasks.refresh();
        let snapshots = pulled
            .answers
            .iter()
            .filter_map(|answer| answer.as_ref().ok());
        let mut new = marks.take(snapshots, |address| tasks.at(address));
        gauged.take(&pulled.usage, &mut new);
        let now = ctx.clock.now().as_second();
        signals.add(now, new);
        if now - flushed >= FLUSH {
            let prune = now - pruned >= PRUNE;
            flushed = now;
            if prune {
                pruned = now;
            }
            // Where room is short, what nothing is decided by yields; the last minutes stay in memory.
            let space = ctx.store.space();
            // etcd's room is not this disk's.
            match space.is_some_and(|space| space.low.is_some() && space.reserve.is_some()) {
                true => give_way(&signals).await,
                false => write(&signals, now, prune).await,
            }
        }
    }
    write(&signals, i64::MAX, false).await;
    Ok(())
}

/// Gives the file's room back: ways back are worth more than history.
async fn give_way(signals: &Signals) {
    let signals = signals.clone();
    let gone = tokio::task::spawn_blocking(move || signals.remove()).await;
    match gone {
        Ok(Ok(true)) => tracing::warn!(
            "room is short: the kept signals are removed, and kept again once there is room"
        ),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => tracing::warn!("the signals' file cannot be removed: {error}"),
        Err(error) => tracing::warn!("the signals' file cannot be removed: {error}"),
    }
}

async fn write(signals: &Signals, now: i64, prune: bool) {
    let signals = signals.clone();
    let written = tokio::task::spawn_blocking(move || signals.flush(now, prune)).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("signals cannot be kept now: {error}; trying again"),
        Err(error) => tracing::warn!("signals cannot be kept now: {error}; trying again"),
    }
}

#[cfg(test)]
mod tests;
