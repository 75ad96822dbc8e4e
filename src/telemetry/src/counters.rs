//! Cumulative counters per release and revision. They only grow within an epoch (one process and its start); a new
//! epoch is a new series, so that no restart counts anything twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// … of which fallen back to stable because no server of this revision was usable. They are among the bad.
    pub fallback: u64,
    /// Requests that a match rule forced here; in none of the other numbers.
    pub forced: u64,
    /// Requests that the client gave up; in none of the other numbers.
    pub client_aborts: u64,
    /// Answers by status class: index 0 for none, 1 to 5 for 1xx to 5xx.
    pub classes: [u64; 6],
    /// Response times of answered requests in milliseconds (HAProxy's time to the first byte).
    pub latency: Histogram,
}

/// How the log itself fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogHealth {
    /// Lines counted.
    pub lines: u64,
    /// Lines missing in the sequence that HAProxy numbers.
    pub lost: u64,
    /// Lines that could not be read.
    pub malformed: u64,
    /// Connections that HAProxy has opened to the receiver.
    pub connections: u64,
}

pub use crate::histogram::Histogram;
