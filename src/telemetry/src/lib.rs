//! From HAProxy's log to cumulative counters and mergeable histograms.

pub mod counters;
pub mod histogram;
pub mod record;
