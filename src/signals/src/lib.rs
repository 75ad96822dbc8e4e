//! The golden signals of every release, revision and endpoint: latency, traffic, errors, saturation. One second apart for
//! an hour, and coarser for thirty days.
//!
//! `counters of every agent -> difference -> recent (memory) -> file, at every resolution -> query`
//!
//! Owner of all state: [`Signals`], in memory for the last seconds and in a file of its own beyond them. What must never
//! happen: a request counted twice; a file or memory without bound; a release held up because its signals cannot be kept.

mod codec;
pub mod difference;
mod file;
pub mod ladder;
pub mod model;
mod recent;
mod signals;
mod tasks;

pub use model::{Gauge, Sample, Saturation, Series, Use};
pub use signals::{Answer, Query, QueryError, Signals, run};
