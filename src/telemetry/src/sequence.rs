//! How many of HAProxy's lines are missing.
//!
//! HAProxy numbers the lines of a frontend as it writes them (`%lc`). Two of its threads may write one number twice and
//! then leave one out, and lines may overtake one another a little, so it is the *count* of lines that is held against
//! the numbers passed, and it counts as lost when it has been missing for [`GRACE`]. Numbers before the first one seen
//! of a process are nobody's business: counting begins anywhere. (`%rt` would not do: sessions of the runtime socket
//! are numbered with the requests.) What must never happen: memory that grows with what is missing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a line may be missing before it counts as lost.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// Lines overtake one another by less than this.
const MAX_BACK: u64 = 10_000;
/// A jump this wide is no loss but another counter.
const MAX_JUMP: u64 = 1_000_000;
/// HAProxy processes kept; old workers live on for a while after a reload.
const MAX_PROCESSES: usize = 64;

/// The numbering of every HAProxy process that logs here.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    processes: HashMap<u64, Process>,
    retired: u64,
}

#[derive(Debug)]
struct Process {
    first: u64,
    last: u64,
    /// Lines counted from `first` to `last`.
    lines: u64,
    /// Lost before the numbering began anew.
    before: u64,
    lost: u64,
    /// The fewest missing since then.
    fewest: (u64, Instant),
    seen: Instant,
}

impl Sequences {
    /// A line of `process` with its number.
    pub(crate) fn observe(&mut self, process: u64, number: u64, now: Instant) {
        if !self.processes.contains_key(&process) {
            self.make_room();
        }
        match self.processes.get_mut(&process) {
            Some(known) => known.observe(number, now),
            None => {
                self.processes.insert(process, Process::begin(number, now));
            }
        }
    }

    /// Counts what has been missing for too long.
    pub(crate) fn settle(&mut self, now: Instant) {
        for process in self.processes.values_mut() {
            process.settle(now);
        }
    }

    /// Lines lost, as far as is settled.
    pub(crate) fn lost(&self) -> u64 {
        self.processes.values().fold(self.retired, |sum, process| {
            sum.saturating_add(process.before)
                .saturating_add(process.lost)
        })
    }

    fn make_room(&mut self) {
        if self.processes.len() < MAX_PROCESSES {
            return;
        }
        let oldest = self.processes.iter().min_by_key(|(_, p)| p.seen);
        if let Some(pid) = oldest.map(|(pid, _)| *pid)
            && let Some(process) = self.processes.remove(&pid)
        {
            self.retired = self.retired.saturating_add(process.before + process.lost);
        }
    }
}

impl Process {
    fn begin(number: u64, now: Instant) -> Self {
        Self {
            first: number,
            last: number,
            lines: 1,
            before: 0,
            lost: 0,
            fewest: (0, now),
            seen: now,
        }
    }

    fn observe(&mut self, number: u64, now: Instant) {
        self.seen = now;
        if number.abs_diff(self.last) > MAX_JUMP {
            *self = Self {
                before: self.before.saturating_add(self.lost),
                ..Self::begin(number, now)
            };
            return;
        }
        if number < self.first {
            if self.first - number > MAX_BACK {
                return;
            }
            self.first = number;
        }
        self.last = self.last.max(number);
        self.lines = self.lines.saturating_add(1);
    }

    fn missing(&self) -> u64 {
        (self.last - self.first)
            .saturating_add(1)
            .saturating_sub(self.lines)
    }

    fn settle(&mut self, now: Instant) {
        let missing = self.missing();
        self.fewest.0 = self.fewest.0.min(missing);
        if now.saturating_duration_since(self.fewest.1) >= GRACE {
            self.lost = self.fewest.0;
            self.fewest = (missing, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lost(numbers: &[u64]) -> u64 {
        let start = Instant::now();
        let mut sequences = Sequences::default();
        for number in numbers {
            sequences.observe(1, *number, start);
        }
        for round in 0..3 {
            assert_eq!(
                sequences.lost(),
                0,
                "nothing is lost before the grace is over"
            );
            sequences.settle(start + GRACE * round / 2);
        }
        sequences.settle(start + GRACE * 2);
        sequences.lost()
    }

    #[test]
    fn gaps_count_as_lost_and_late_lines_do_not() {
        assert_eq!(lost(&[]), 0);
        assert_eq!(lost(&[500, 501, 502]), 0);
        assert_eq!(lost(&[500, 503, 501, 502]), 0);
        assert_eq!(lost(&[500, 510]), 9);
        assert_eq!(lost(&[500, 510, 505]), 8);
        assert_eq!(lost(&[500, 499, 501]), 0);
        assert_eq!(lost(&[500, 9_000_000, 9_000_001]), 0);
        assert_eq!(lost(&[u64::MAX, 0, u64::MAX]), 0);
    }

    #[test]
    fn a_number_written_twice_makes_up_for_the_one_left_out() {
        assert_eq!(lost(&[500, 501, 501, 503, 504]), 0);
    }

    #[test]
    fn a_line_that_comes_after_all_is_taken_off_again() {
        let start = Instant::now();
        let mut sequences = Sequences::default();
        sequences.observe(1, 1, start);
        sequences.observe(1, 3, start);
        sequences.settle(start + GRACE);
        sequences.settle(start + GRACE * 2);
        assert_eq!(sequences.lost(), 1);
        sequences.observe(1, 2, start + GRACE * 9);
        sequences.settle(start + GRACE * 10);
        assert_eq!(sequences.lost(), 0);
    }

    #[test]
    fn processes_are_counted_apart_and_bounded() {
        let start = Instant::now();
        let mut sequences = Sequences::default();
        for pid in 0..1000 {
            sequences.observe(pid, 7, start);
            sequences.observe(pid, 9, start);
            sequences.settle(start + GRACE);
            sequences.settle(start + GRACE * 2);
        }
        assert_eq!(sequences.lost(), 1000);
        assert_eq!(sequences.processes.len(), MAX_PROCESSES);
    }

    proptest! {
        #[test]
        fn what_is_missing_is_what_is_counted(kept in proptest::collection::btree_set(0u64..200, 1..200), shift in 0usize..5) {
            let first = *kept.first().unwrap();
            let all: Vec<u64> = kept.iter().copied().collect();
            // The first stays first; the others come in a rotated order within small groups.
            let mut order = vec![first];
            for group in all[1..].chunks(5) {
                let mut group = group.to_vec();
                let by = shift % group.len();
                group.rotate_left(by);
                order.extend(group);
            }
            let missing = (kept.last().unwrap() - first + 1) - kept.len() as u64;
            prop_assert_eq!(lost(&order), missing);
        }
    }
}
