//! From HAProxy's log to cumulative counters and mergeable histograms.
//!
//! `HAProxy ring -> socket -> receiver -> line -> counters -> snapshot -> whoever compares`; [`outflow`] sends the lines on.
//!
//! Owner of all state: [`counters`], in memory, for one process. What must never happen: a panic or unbounded memory
//! from what arrives on the wire; a request counted twice; a number that shrinks within an epoch (but for a revision
//! that nobody has asked for in an hour, which begins again at nothing).

pub mod access;
pub mod backends;
pub mod bins;
pub mod counters;
pub mod endpoints;
pub mod forward;
pub mod histogram;
pub mod intake;
pub mod line;
pub mod outcomes;
pub mod outflow;
mod pairs;
pub mod peers;
pub mod proof;
mod receiver;
pub mod record;
mod repeats;
mod sequence;
mod source;
pub mod syslog;
pub mod usage;

pub use receiver::{Address, Connection, Handle, Receiver};
pub use source::{CounterSource, Pulled, Pulls, SourceError};
