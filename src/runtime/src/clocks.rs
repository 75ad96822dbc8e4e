//! The daemons' clocks, compared.
//!
//! Each daemon's time arrives with its sign of life; what it differs by from ours on arrival is its difference less the
//! way, so the largest of the last few counts. The clock that most agree on is the middle one; where two halves disagree,
//! the earlier half counts, because a clock that is ahead cuts holds short and one that is behind only makes them longer.
//! Pure: no clock of its own.

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;

/// How many arrivals of each daemon count.
const KEPT: usize = 5;
/// From which difference on people are warned, and from which it is well again.
const WARN: (SignedDuration, SignedDuration) = (
    SignedDuration::from_secs(2),
    SignedDuration::from_millis(1500),
);
/// From which difference on a daemon does not lead, and from which it may again.
const LEAD: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_secs(20));

/// What the others' clocks show beside ours.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// Of each other daemon, how far its clock was ahead of ours when its time arrived.
    others: BTreeMap<String, VecDeque<SignedDuration>>,
    level: Level,
}

/// What to do about our own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    Well,
    /// Tell people.
    Warn,
    /// Lead nothing.
    Unfit,
}

/// What the comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compared {
    /// How far our clock is ahead of the one that most agree on; negative when it is behind.
    pub(crate) ahead: SignedDuration,
    /// How many clocks were compared, ours too.
    pub(crate) clocks: usize,
    /// What to do.
    pub(crate) level: Level,
}

impl Clocks {
    /// Another daemon's time arrived, so far ahead of ours.
    pub(crate) fn arrived(&mut self, identity: &str, ahead: SignedDuration) {
        let arrivals = self.others.entry(identity.to_owned()).or_default();
        arrivals.push_back(ahead);
        while arrivals.len() > KEPT {
            arrivals.pop_front();
        }
    }

    /// Another daemon is gone.
    pub(crate) fn gone(&mut self, identity: &str) {
        self.others.remove(identity);
    }

    /// Our own clock was set by so much: what was measured by the old one is corrected.
    pub(crate) fn jumped(&mut self, by: SignedDuration) {
        for ahead in self.others.values_mut().flatten() {
            *ahead = ahead.saturating_sub(by);
        }
    }

    /// Our clock beside the others'; `None` while there is no other.
    pub(crate) fn compare(&mut self) -> Option<Compared> {
        let newest = self.others.values().filter_map(|seen| seen.iter().max());
        let mut all: Vec<SignedDuration> = newest.copied().collect();
        if all.is_empty() {
            self.level = Level::Well;
            return None;
        }
        // A single arrival may have been long on its way: it shows no small difference.
        let settled = self.others.values().all(|seen| seen.len() > 1);
        all.push(SignedDuration::ZERO);
        all.sort_unstable();
        let middle = all.get((all.len() - 1) / 2).copied().unwrap_or_default();
        let off = middle.abs();
        let least = |limit: (SignedDuration, SignedDuration), level| {
            off >= if self.level >= level {
                limit.1
            } else {
                limit.0
            }
        };
        self.level = if least(LEAD, Level::Unfit) {
            Level::Unfit
        } else if least(WARN, Level::Warn) && settled {
            Level::Warn
        } else {
            Level::Well
        };
        Some(Compared {
            ahead: -middle,
            clocks: all.len(),
            level: self.level,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a daemon makes of others that are so many milliseconds ahead of it.
    fn compared(others: &[i64]) -> Compared {
        let mut clocks = Clocks::default();
        for (number, ahead) in others.iter().enumerate() {
            for _ in 0..2 {
                clocks.arrived(&number.to_string(), SignedDuration::from_millis(*ahead));
            }
        }
        clocks.compare().unwrap()
    }

    #[test]
    fn the_clock_that_differs_from_most_is_the_one_that_does_not_lead() {
        const AHEAD: i64 = 600_000;
        for (others, level, seconds) in [
            // One of three is ahead: the two that agree lead, that one does not.
            (&[0, AHEAD][..], Level::Well, 0),
            (&[-AHEAD, -AHEAD], Level::Unfit, 600),
            // One of three is behind.
            (&[0, -AHEAD], Level::Well, 0),
            (&[AHEAD, AHEAD], Level::Unfit, -600),
            // Of two, nobody can know: the earlier leads, and holds are not cut short.
            (&[AHEAD], Level::Well, 0),
            (&[-AHEAD], Level::Unfit, 600),
            // Two and two: the same.
            (&[0, AHEAD, AHEAD], Level::Well, 0),
            (&[0, -AHEAD, -AHEAD], Level::Unfit, 600),
            // Seconds are told of.
            (&[-5_000, -5_000], Level::Warn, 5),
            (&[-29_000, -29_000], Level::Warn, 29),
            (&[-1_000, -900], Level::Well, 0),
        ] {
            let seen = compared(others);
            assert_eq!(
                (seen.level, seen.ahead.as_secs()),
                (level, seconds),
                "{others:?}"
            );
        }
    }

    #[test]
    fn the_way_of_a_sign_of_life_is_no_difference() {
        let mut clocks = Clocks::default();
        let late = |millis: i64| SignedDuration::from_millis(-millis);
        clocks.arrived("b", late(4_000));
        assert_eq!(
            clocks.compare().unwrap().level,
            Level::Well,
            "one may be late"
        );
        clocks.arrived("b", late(20));
        clocks.arrived("b", late(4_000));
        assert_eq!(clocks.compare().unwrap().level, Level::Well);
        assert_eq!(
            clocks.compare().unwrap().ahead,
            SignedDuration::from_millis(20)
        );
        clocks.gone("b");
        assert_eq!(clocks.compare(), None);
    }

    #[test]
    fn a_clock_that_is_set_right_leads_again_and_one_at_the_limit_does_not_flap() {
        let mut clocks = Clocks::default();
        for _ in 0..2 {
            clocks.arrived("b", SignedDuration::from_secs(-600));
            clocks.arrived("c", SignedDuration::from_secs(-600));
        }
        assert_eq!(clocks.compare().unwrap().level, Level::Unfit);
        clocks.jumped(SignedDuration::from_secs(-575));
        assert_eq!(
            clocks.compare().unwrap().level,
            Level::Unfit,
            "25 s are left"
        );
        clocks.jumped(SignedDuration::from_secs(-15));
        assert_eq!(clocks.compare().unwrap().level, Level::Warn);
        clocks.jumped(SignedDuration::from_secs(-10));
        assert_eq!(clocks.compare().unwrap().level, Level::Well);
    }
}
