//! Requests that HAProxy dropped without an answer and without a line: only its own counters tell of them.
//!
//! Who reads those counters says how many there were. What must never happen: one of them counted that a line tells of.

use std::time::Instant;

use super::State;
use crate::outcomes::{End, Kind};

/// A request that nobody answered and no line tells of.
const SILENT: Kind = Kind {
    status: 0,
    end: End::Server,
    grpc: None,
    state: None,
};

impl State {
    /// Counts requests that the revision was given and that were dropped in silence: as failed requests, or, where they
    /// were copies, as failed answers to mirrored ones.
    pub(crate) fn silent(
        &mut self,
        (release, revision): (&str, &str),
        more: u64,
        copies: bool,
        now: Instant,
    ) {
        let place = self.place(release, revision, now);
        let Some(series) = self.series.get_mut(place) else {
            return;
        };
        series.seen = now;
        let counters = &mut series.counters;
        if copies {
            counters.mirrored.add(SILENT, more);
            return;
        }
        counters.requests += more;
        counters.bad += more;
        counters.classes[0] += more;
        counters.outcomes.add(SILENT, more);
    }
}
