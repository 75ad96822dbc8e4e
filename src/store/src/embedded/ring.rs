//! The recent changes, in memory, and the watches that read them.
//!
//! Owner: the writer appends, after the fsync. A watch has only a position in here, so a slow reader costs nothing: it
//! falls off the end and is told to list again. What must never happen: a gap that the reader is not told of.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, watch};

use super::Shared;
use crate::{Change, StoreError};

/// The most changes kept.
const CHANGES: usize = 10_000;
/// The most bytes kept, so that an idle daemon stays small.
const BYTES: usize = 4 << 20;
/// How many revisions a watch takes at a time, so that it never holds the lock for long.
const AT_ONCE: usize = 64;

pub(super) struct Ring {
    /// Changes up to this revision are no longer kept.
    floor: u64,
    revisions: VecDeque<Revision>,
    changes: usize,
    bytes: usize,
}

struct Revision {
    number: u64,
    changes: Vec<Change>,
    bytes: usize,
}

/// What a watch took: the batches, and the revision to go on from.
struct Taken {
    batches: Vec<Vec<Change>>,
    next: u64,
    more: bool,
}

impl Ring {
    pub(super) fn new(floor: u64) -> Self {
        Self {
            floor,
            revisions: VecDeque::new(),
            changes: 0,
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, number: u64, changes: Vec<Change>) {
        let bytes = changes
            .iter()
            .map(|change| match change {
                Change::Put(entry) => entry.key.len() + entry.value.len() + 64,
                Change::Deleted { key, .. } => key.len() + 64,
            })
            .sum();
        self.changes += changes.len();
        self.bytes += bytes;
        self.revisions.push_back(Revision {
            number,
            changes,
            bytes,
        });
        while self.changes > CHANGES || self.bytes > BYTES {
            let Some(oldest) = self.revisions.pop_front() else {
                return;
            };
            self.changes -= oldest.changes.len();
            self.bytes -= oldest.bytes;
            self.floor = oldest.number;
        }
    }

    fn take(&self, prefix: &str, from: u64) -> Result<Taken, StoreError> {
        if from <= self.floor {
            return Err(StoreError::Compacted { from });
        }
        let start = self
            .revisions
            .partition_point(|revision| revision.number < from);
        let mut taken = Taken {
            batches: Vec::new(),
            next: from,
            more: false,
        };
        for revision in self.revisions.range(start..) {
            if taken.batches.len() == AT_ONCE {
                taken.more = true;
                break;
            }
            let batch: Vec<Change> = revision
                .changes
                .iter()
                .filter(|change| change.key().starts_with(prefix))
                .cloned()
                .collect();
            if !batch.is_empty() {
                taken.batches.push(batch);
            }
            taken.next = revision.number + 1;
        }
        Ok(taken)
    }
}

/// Feeds one watch until its reader or the store is gone, or changes were lost.
pub(super) async fn follow(
    shared: Arc<Shared>,
    mut latest: watch::Receiver<u64>,
    prefix: String,
    mut next: u64,
    sender: mpsc::Sender<Result<Vec<Change>, StoreError>>,
) {
    loop {
        latest.borrow_and_update();
        let taken = shared
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&prefix, next);
        let more = match taken {
            Ok(taken) => {
                for batch in taken.batches {
                    if sender.send(Ok(batch)).await.is_err() {
                        return;
                    }
                }
                next = taken.next;
                taken.more
            }
            Err(error) => {
                // The reader may be gone; there is nobody else to tell.
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        if more {
            continue;
        }
        tokio::select! {
            changed = latest.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(revision: u64, size: usize) -> Vec<Change> {
        vec![Change::Put(crate::Entry {
            key: format!("k{}", revision % 2),
            value: vec![0; size],
            revision,
        })]
    }

    #[test]
    fn what_is_older_than_the_ring_is_compacted_and_the_rest_is_complete() {
        let mut ring = Ring::new(1);
        for revision in 2..20_000 {
            ring.push(revision, put(revision, 1));
        }
        assert!(matches!(
            ring.take("k", ring.floor),
            Err(StoreError::Compacted { .. })
        ));
        let (mut next, mut seen) = (ring.floor + 1, 0);
        loop {
            let taken = ring.take("k", next).unwrap();
            seen += taken.batches.len();
            next = taken.next;
            if !taken.more {
                break;
            }
        }
        assert_eq!((seen, next), (CHANGES, 20_000));
    }

    #[test]
    fn it_never_holds_more_bytes_than_told() {
        let mut ring = Ring::new(1);
        for revision in 2..200 {
            ring.push(revision, put(revision, 1 << 20));
            assert!(ring.bytes <= BYTES);
        }
        assert!(ring.changes >= 3);
    }
}
