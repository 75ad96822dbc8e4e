//! The last seconds, in memory: what `top` shows, and what the file has not taken in yet. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Sample, Series};

/// Seconds that stay here although the file has them.
const SHOWN: i64 = 30;
/// Samples held at most: while the file cannot be written, the oldest seconds go.
const MOST: usize = 100_000;

/// What was counted in a second.
pub(crate) type Second = (i64, BTreeMap<Series, Sample>);

/// The last seconds.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    seconds: VecDeque<Second>,
    /// The file has every second up to this one.
    flushed: i64,
    held: usize,
}

impl Recent {
    /// Takes in what was counted. A second never comes before one that was taken in: a clock put back waits.
    pub(crate) fn add(&mut self, second: i64, new: BTreeMap<Series, Sample>) {
        let last = self.seconds.back().map_or(self.flushed, |(last, _)| *last);
        let second = second.max(last).max(self.flushed + 1);
        if !new.is_empty() {
            match self.seconds.back_mut().filter(|(at, _)| *at == second) {
                Some((_, samples)) => {
                    for (series, sample) in new {
                        samples.entry(series).or_default().merge(&sample);
                    }
                }
                None => {
                    self.held += new.len();
                    self.seconds.push_back((second, new));
                }
            }
        }
        while let Some((at, samples)) = self.seconds.front() {
            let shown = second - *at < SHOWN;
            if self.held <= MOST && (shown || *at > self.flushed) {
                break;
            }
            self.held -= samples.len().min(self.held);
            self.seconds.pop_front();
        }
    }

    /// What the file has not taken in yet, but for the second that is still counted.
    pub(crate) fn waiting(&self, now: i64) -> Vec<Second> {
        let waits = |at: i64| at > self.flushed && at < now;
        self.seconds
            .iter()
            .filter(|(at, _)| waits(*at))
            .cloned()
            .collect()
    }

    /// The file has taken in every second up to this one.
    pub(crate) fn flushed(&mut self, until: i64) {
        self.flushed = self.flushed.max(until);
    }

    /// Seconds from `since` on; only those that the file does not have, if asked so.
    pub(crate) fn since(&self, since: i64, unflushed: bool) -> impl Iterator<Item = &Second> {
        let from = if unflushed {
            since.max(self.flushed + 1)
        } else {
            since
        };
        self.seconds.iter().filter(move |(at, _)| *at >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(requests: u64) -> BTreeMap<Series, Sample> {
        let series = Series {
            release: "default/shop".into(),
            revision: "r1".into(),
            endpoint: None,
        };
        BTreeMap::from([(
            series,
            Sample {
                requests,
                ..Sample::default()
            },
        )])
    }

    fn seconds(recent: &Recent, unflushed: bool) -> Vec<i64> {
        recent.since(0, unflushed).map(|(at, _)| *at).collect()
    }

    #[test]
    fn what_the_file_has_is_not_given_twice_and_goes_in_time() {
        let mut recent = Recent::default();
        for second in 100..110 {
            recent.add(second, new(1));
        }
        assert_eq!(recent.waiting(109).len(), 9, "the running second waits");
        recent.flushed(108);
        assert_eq!(seconds(&recent, true), [109]);
        assert_eq!(seconds(&recent, false).len(), 10);
        recent.add(138, new(1));
        assert_eq!(seconds(&recent, false), [109, 138]);
    }

    #[test]
    fn a_clock_that_is_put_back_loses_nothing() {
        let mut recent = Recent::default();
        recent.add(100, new(1));
        recent.flushed(100);
        recent.add(50, new(1));
        assert_eq!(seconds(&recent, true), [101]);
    }

    #[test]
    fn memory_is_bounded_while_nothing_can_be_written() {
        let mut recent = Recent::default();
        for second in 0..(MOST as i64 + 50) {
            recent.add(second + 1, new(1));
        }
        assert_eq!(recent.seconds.len(), MOST);
    }
}
