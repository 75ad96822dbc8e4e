//! How fine signals are kept for how long. Pure.

/// One rung: spans of so many seconds, kept for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Seconds of a span.
    pub seconds: i64,
    /// Seconds that a span is kept.
    pub keep: i64,
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The finest first; each divides the next, so that a span lies whole in one of the next rung.
pub const LADDER: [Resolution; 4] = [
    Resolution {
        seconds: 1,
        keep: HOUR,
    },
    Resolution {
        seconds: 10,
        keep: 6 * HOUR,
    },
    Resolution {
        seconds: 60,
        keep: 2 * DAY,
    },
    Resolution {
        seconds: 600,
        keep: 30 * DAY,
    },
];

/// Points that an answer has per series, where nobody says how far apart.
const POINTS: i64 = 300;

/// Where the span begins in which a second lies.
#[must_use]
pub const fn bucket(second: i64, seconds: i64) -> i64 {
    second - second.rem_euclid(seconds)
}

/// From which rung to read what happened since, and how far apart the points of the answer are: a multiple of the rung's
/// own span, at least `step`.
#[must_use]
pub fn choose(now: i64, since: i64, step: Option<i64>) -> (usize, i64) {
    let age = now.saturating_sub(since).max(1);
    let wanted = step.unwrap_or(age / POINTS).max(1);
    // The finest that reaches back, or a coarser one if its spans are fine enough: fewer to read.
    let (place, rung) = (LADDER.iter().enumerate())
        .rfind(|(_, rung)| rung.keep >= age && rung.seconds <= wanted)
        .or_else(|| LADDER.iter().enumerate().find(|(_, rung)| rung.keep >= age))
        .unwrap_or((LADDER.len() - 1, &LADDER[LADDER.len() - 1]));
    (place, multiple(wanted, rung.seconds))
}

/// The next multiple of `unit`.
const fn multiple(value: i64, unit: i64) -> i64 {
    value.saturating_add(unit - 1) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_divide_each_other_and_reach_further_back() {
        for pair in LADDER.windows(2) {
            assert_eq!(pair[1].seconds % pair[0].seconds, 0);
            assert!(pair[1].keep > pair[0].keep);
        }
        assert_eq!((LADDER[0].seconds, LADDER[0].keep), (1, 3600));
        assert_eq!(LADDER[3].keep, 30 * 86_400);
    }

    #[test]
    fn the_rung_is_fine_enough_and_reaches_back() {
        for (age, step, wanted) in [
            (60, None, (0, 1)),
            (3600, None, (1, 20)),
            (3600, Some(1), (0, 1)),
            (3601, Some(1), (1, 10)),
            (6 * 3600, None, (2, 120)),
            (6 * 3600, Some(15), (1, 20)),
            (86_400, Some(1), (2, 60)),
            (30 * 86_400, None, (3, 9000)),
            (90 * 86_400, Some(1), (3, 600)),
        ] {
            assert_eq!(
                choose(1_000_000_000, 1_000_000_000 - age, step),
                wanted,
                "{age} {step:?}"
            );
        }
    }

    #[test]
    fn spans_begin_at_multiples_before_1970_too() {
        assert_eq!(bucket(125, 60), 120);
        assert_eq!(bucket(-5, 60), -60);
    }
}
