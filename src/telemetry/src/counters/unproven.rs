//! Lines that do not show HAProxy's secret: counted, said once a minute, and nothing of them is shown.

use std::time::Instant;

use super::{COMPLAIN_EVERY, State};
use crate::proof::Proof;

impl State {
    /// Our own HAProxy's lines begin so, by whichever way they come.
    pub(crate) fn own(&mut self, proof: Option<Proof>) {
        self.own = proof;
    }

    /// A line that may be anybody's.
    pub(crate) fn unproven(&mut self) {
        self.log.unproven += 1;
        self.strange.count += 1;
    }

    /// How many there were since that was told last, once a minute at most.
    pub(crate) fn unproven_to_tell(&mut self, now: Instant) -> Option<u64> {
        let strange = &mut self.strange;
        let recent = |told| now.saturating_duration_since(told) < COMPLAIN_EVERY;
        if strange.count == 0 || strange.told.is_some_and(recent) {
            return None;
        }
        strange.told = Some(now);
        Some(std::mem::take(&mut strange.count))
    }
}
