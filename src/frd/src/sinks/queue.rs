//! What waits to be written: bounded, the oldest goes first. What was written and lost is counted.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes that wait at most.
const MOST_BYTES: usize = 16 << 20;

/// Points that are written together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// As they are sent.
    pub body: Vec<u8>,
    /// How many they are.
    pub points: u64,
}

/// What waits for one sink.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    filled: Notify,
}

/// How a sink fares, in points.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The sink took them in.
    pub written: u64,
    /// They were refused, or had to make room.
    pub lost: u64,
    /// They wait.
    pub waiting: u64,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    counts: Counts,
}

impl Queue {
    /// Adds a batch; where there is no room, the oldest go.
    pub fn put(&self, batch: Batch) {
        if batch.points == 0 {
            return;
        }
        let mut state = self.lock();
        state.bytes += batch.body.len();
        state.counts.waiting += batch.points;
        state.batches.push_back(batch);
        while state.bytes > MOST_BYTES {
            let Some(oldest) = state.batches.pop_front() else {
                break;
            };
            state.bytes -= oldest.body.len();
            state.counts.waiting -= oldest.points;
            state.counts.lost += oldest.points;
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The oldest batch, taken out. Waits for one.
    pub(super) async fn take(&self) -> Batch {
        loop {
            let taken = {
                let mut state = self.lock();
                let batch = state.batches.pop_front();
                state.bytes -= batch.as_ref().map_or(0, |batch| batch.body.len());
                batch
            };
            match taken {
                Some(batch) => return batch,
                None => self.filled.notified().await,
            }
        }
    }

    /// A batch that was taken out could not be written: it waits again, as the oldest, if there is room.
    pub(super) fn put_back(&self, batch: Batch) {
        let mut state = self.lock();
        if state.bytes + batch.body.len() > MOST_BYTES {
            state.counts.waiting -= batch.points;
            state.counts.lost += batch.points;
            return;
        }
        state.bytes += batch.body.len();
        state.batches.push_front(batch);
    }

    /// A batch that was taken out was written, or is lost.
    pub(super) fn done(&self, points: u64, written: bool) {
        let mut state = self.lock();
        state.counts.waiting -= points;
        if written {
            state.counts.written += points;
        } else {
            state.counts.lost += points;
        }
    }

    /// How the sink fares.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(points: u64, bytes: usize) -> Batch {
        Batch {
            body: vec![0; bytes],
            points,
        }
    }

    #[tokio::test]
    async fn every_point_is_written_waiting_or_lost_and_memory_is_bounded() {
        let queue = Queue::default();
        for points in 1..=20 {
            queue.put(batch(points, MOST_BYTES / 10));
        }
        queue.put(batch(0, 5));
        let lost: u64 = (1..=10).sum();
        let waiting: u64 = (11..=20).sum();
        let mut wanted = Counts {
            written: 0,
            lost,
            waiting,
        };
        assert_eq!(queue.counts(), wanted);
        let oldest = queue.take().await;
        assert_eq!(oldest.points, 11);
        queue.put_back(oldest.clone());
        assert_eq!((queue.counts(), queue.take().await.points), (wanted, 11));
        queue.put(batch(100, MOST_BYTES / 10));
        queue.put_back(oldest);
        (wanted.lost, wanted.waiting) = (lost + 11, waiting + 100 - 11);
        assert_eq!(queue.counts(), wanted, "there was no room left for it");
        let next = queue.take().await;
        queue.done(next.points, true);
        (wanted.written, wanted.waiting) = (12, wanted.waiting - 12);
        assert_eq!(queue.counts(), wanted);
    }
}
