//! A line that comes by more than one way counts once.
//!
//! HAProxy may log to a ring and to a syslog daemon that sends the same line on. Each way's lines are counted by their
//! hash, and a line counts only if its way has now brought it more often than any other: so the same text twice over *one* way is two
//! requests (two threads of HAProxy may give one number to two lines), and over two ways it is one, whichever comes first.
//!
//! Only while more than one way is configured. The memory is bounded: a line is known for the next [`KEPT`] lines at
//! least, twice as many at most. The hash is seeded at random, so that nobody can aim at a collision.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Lines that are known at least, once they have come.
pub(crate) const KEPT: usize = 1 << 18;
/// Ways that are told apart.
pub(crate) const MAX_WAYS: usize = 16;
/// Bits in which one way's count of a line is kept.
const BITS: usize = 4;
const MOST: u64 = (1 << BITS) - 1;

/// The lines of late, by the ways that brought them.
#[derive(Debug)]
pub(crate) struct Repeats {
    hash: RandomState,
    /// A line's hash -> how often each way brought it, four bits a way.
    fresh: HashMap<u64, u64, RandomState>,
    older: HashMap<u64, u64, RandomState>,
    kept: usize,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            hash: RandomState::default(),
            fresh: HashMap::default(),
            older: HashMap::default(),
            kept: KEPT,
        }
    }
}

impl Repeats {
    /// Whether another way has brought this line already. It is known from now on.
    pub(crate) fn is_repeat(&mut self, way: usize, line: &[u8]) -> bool {
        let key = self.hash.hash_one(line);
        let place = (way % MAX_WAYS) * BITS;
        if self.fresh.len() >= self.kept {
            self.older = std::mem::take(&mut self.fresh);
        }
        // Where it is known it stays, so that a second way shortens nobody's memory.
        let counts = match self.older.get_mut(&key) {
            Some(counts) => counts,
            None => self.fresh.entry(key).or_insert(0),
        };
        let mine = (*counts >> place) & MOST;
        let most = (0..MAX_WAYS).map(|way| (*counts >> (way * BITS)) & MOST);
        let most = most.max().unwrap_or(0);
        if mine == MOST {
            return false;
        }
        *counts += 1 << place;
        mine < most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_count_as_the_way_that_brought_the_most(order in proptest::collection::vec((0usize..4, 0u8..3), 0..60)) {
            let mut repeats = Repeats::default();
            let mut counted = [0u64; 3];
            let mut brought = [[0u64; 4]; 3];
            for (way, line) in order {
                let place = usize::from(line);
                brought[place][way] += 1;
                counted[place] += u64::from(!repeats.is_repeat(way, &[line]));
            }
            for (counted, brought) in counted.iter().zip(brought) {
                let most = brought.into_iter().max().unwrap();
                prop_assert!(*counted == most || most > MOST, "{counted} for {most}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_a_line_is_known_long_enough() {
        let mut repeats = Repeats {
            kept: 100,
            ..Repeats::default()
        };
        for line in 0u32..10_000 {
            assert!(!repeats.is_repeat(0, &line.to_be_bytes()));
            if let Some(earlier) = line.checked_sub(99) {
                assert!(repeats.is_repeat(1, &earlier.to_be_bytes()), "{earlier}");
            }
            assert!(repeats.fresh.len() + repeats.older.len() <= 200);
        }
    }
}
