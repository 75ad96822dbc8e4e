//! Which of HAProxy's lines are missing.
//!
//! HAProxy numbers requests when they begin and logs them when they end, so a missing number is first of all a request
//! that still runs. It counts as lost when it has been missing for [`GRACE`]; should its line come after all (a
//! tunnel, say), it is taken off again. Numbers before the first one seen of a process are nobody's business: counting begins
//! anywhere. What must never happen: memory that grows with what is missing.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// How long a number may be missing before it counts as lost; longer than nearly every request takes.
pub(crate) const GRACE: Duration = Duration::from_secs(60);
/// Runs of missing numbers kept per process; beyond it the lowest counts as lost at once.
const MAX_HOLES: usize = 8192;
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
    next: u64,
    /// First missing number -> first number after them, and when they were found missing.
    holes: BTreeMap<u64, (u64, Instant)>,
    lost: u64,
    seen: Instant,
}

impl Sequences {
    /// A line of `process` with its running number.
    pub(crate) fn observe(&mut self, process: u64, number: u64, now: Instant) {
        if !self.processes.contains_key(&process) {
            self.make_room();
        }
        self.processes
            .entry(process)
            .or_insert_with(|| Process::begin(number, now))
            .observe(number, now);
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
            sum.saturating_add(process.lost)
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
            self.retired = self.retired.saturating_add(process.lost);
        }
    }
}

impl Process {
    fn begin(number: u64, now: Instant) -> Self {
        Self {
            first: number,
            next: number,
            holes: BTreeMap::new(),
            lost: 0,
            seen: now,
        }
    }

    fn observe(&mut self, number: u64, now: Instant) {
        self.seen = now;
        if number < self.next {
            self.fill(number);
            return;
        }
        if number - self.next > MAX_JUMP {
            *self = Self {
                lost: self.lost,
                ..Self::begin(number, now)
            };
        }
        if number > self.next {
            self.holes.insert(self.next, (number, now));
        }
        self.next = number.saturating_add(1);
        if self.holes.len() > MAX_HOLES
            && let Some((start, (end, _))) = self.holes.pop_first()
        {
            self.lost += end - start;
        }
    }

    /// A number that was missing, or one that was settled as lost.
    fn fill(&mut self, number: u64) {
        let hole = self.holes.range(..=number).next_back();
        match hole.map(|(start, (end, since))| (*start, *end, *since)) {
            Some((start, end, since)) if number < end => {
                self.holes.remove(&start);
                if start < number {
                    self.holes.insert(start, (number, since));
                }
                if number + 1 < end {
                    self.holes.insert(number + 1, (end, since));
                }
            }
            _ if number >= self.first => self.lost = self.lost.saturating_sub(1),
            _ => {}
        }
    }

    fn settle(&mut self, now: Instant) {
        let lost = &mut self.lost;
        self.holes.retain(|start, (end, since)| {
            let missing = now.saturating_duration_since(*since) < GRACE;
            if !missing {
                *lost += *end - *start;
            }
            missing
        });
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
        sequences.settle(start);
        assert_eq!(
            sequences.lost(),
            0,
            "nothing is lost before the grace is over"
        );
        sequences.settle(start + GRACE);
        sequences.lost()
    }

    #[test]
    fn gaps_count_as_lost_and_late_lines_do_not() {
        assert_eq!(lost(&[]), 0);
        assert_eq!(lost(&[500, 501, 502]), 0);
        assert_eq!(lost(&[500, 503, 501, 502]), 0);
        assert_eq!(lost(&[500, 510]), 9);
        assert_eq!(lost(&[500, 510, 505]), 8);
        assert_eq!(lost(&[500, 499, 3, 501]), 0);
        assert_eq!(lost(&[500, 9_000_000, 9_000_001]), 0);
        assert_eq!(lost(&[u64::MAX, 0, u64::MAX]), 0);
    }

    #[test]
    fn a_line_that_comes_after_all_is_taken_off_again() {
        let start = Instant::now();
        let mut sequences = Sequences::default();
        sequences.observe(1, 1, start);
        sequences.observe(1, 3, start);
        sequences.settle(start + GRACE);
        assert_eq!(sequences.lost(), 1);
        sequences.observe(1, 2, start + GRACE * 9);
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
