//! Which keys are due when. No clock and no waiting of its own: the loop asks it.
//!
//! Its laws: each key is in here at most once; of two deadlines the earlier wins; a key in flight is held until it is
//! done, never dropped and never handed out twice.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// Nothing is put off for longer: timers cannot count to the end of time.
const MOST: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(crate) struct Queue<K> {
    /// By deadline; only keys that are not in flight.
    order: BTreeSet<(Instant, K)>,
    keys: HashMap<K, Place>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Waiting(Instant),
    /// In flight, and when it is due again, if it is.
    InFlight(Option<Instant>),
}

impl<K: Clone + Ord + std::hash::Hash> Queue<K> {
    pub(crate) fn new() -> Self {
        Self {
            order: BTreeSet::new(),
            keys: HashMap::new(),
        }
    }

    /// Makes the key due after `delay`, unless it is due earlier already.
    pub(crate) fn add(&mut self, key: K, now: Instant, delay: Duration) {
        let at = now + delay.min(MOST);
        match self.keys.get_mut(&key) {
            None => {
                self.order.insert((at, key.clone()));
                self.keys.insert(key, Place::Waiting(at));
            }
            Some(Place::Waiting(before)) if at < *before => {
                self.order.remove(&(*before, key.clone()));
                *before = at;
                self.order.insert((at, key));
            }
            Some(Place::Waiting(_)) => {}
            Some(Place::InFlight(again)) => {
                *again = Some(again.map_or(at, |before| before.min(at)));
            }
        }
    }

    /// The key that has been due the longest; it is in flight from now on.
    pub(crate) fn take(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.keys.insert(key.clone(), Place::InFlight(None));
        Some(key)
    }

    /// The key is no longer in flight.
    pub(crate) fn done(&mut self, key: &K) {
        match self.keys.remove(key) {
            Some(Place::InFlight(Some(at))) => {
                self.order.insert((at, key.clone()));
                self.keys.insert(key.clone(), Place::Waiting(at));
            }
            Some(Place::InFlight(None)) | None => {}
            // Not in flight: nothing was done.
            Some(waiting @ Place::Waiting(_)) => {
                self.keys.insert(key.clone(), waiting);
            }
        }
    }

    /// Whether the key is waiting or in flight.
    pub(crate) fn holds(&self, key: &K) -> bool {
        self.keys.contains_key(key)
    }

    /// When the next key is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earlier_deadline_wins_whatever_the_order() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("a", now, SECOND * 5);
        queue.add("a", now, SECOND);
        queue.add("a", now, SECOND * 9);
        assert_eq!(queue.next(), Some(now + SECOND));
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + SECOND), Some("a"));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_key_in_flight_is_held_and_not_dropped() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("a", now, Duration::ZERO);
        assert_eq!(queue.take(now), Some("a"));
        queue.add("a", now, SECOND);
        queue.add("a", now, Duration::ZERO);
        assert_eq!(queue.take(now + SECOND), None);
        queue.done(&"a");
        assert_eq!(queue.take(now), Some("a"));
        queue.done(&"a");
        assert!(!queue.holds(&"a"));
    }

    #[test]
    fn what_has_been_due_longest_comes_first() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("late", now, SECOND);
        queue.add("early", now, Duration::ZERO);
        assert_eq!(queue.take(now + SECOND), Some("early"));
        assert_eq!(queue.take(now + SECOND), Some("late"));
    }

    #[test]
    fn a_delay_beyond_all_timers_is_cut() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("a", now, Duration::MAX);
        assert_eq!(queue.next(), Some(now + MOST));
    }
}
