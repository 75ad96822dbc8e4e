//! What the calls of this process prove about the store: since when reads, and writes, fail.
//!
//! A store that answers reads and takes no writes is lost as well: nothing that is decided reaches anybody. Owner of that
//! knowledge: [`Proven`], which every call goes through. What must never happen: a store said to take writes because it
//! was only read, or because it was asked for a lease.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{Entry, LeaseId, Listing, SharedStore, Space, Store, StoreError, Txn, Watch, Write};

/// How long calls must have failed, or gone unanswered, before the store counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The same where the store refused: one write may be refused for its own sake, and daemons write every few seconds.
const REFUSED: Duration = Duration::from_secs(10);

/// What is known of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it cannot be read; `None` while it can, or nobody asked.
    pub reads: Option<Lost>,
    /// Why it takes no writes; `None` while it does, or nobody wrote.
    pub writes: Option<Lost>,
}

/// Calls of one kind have failed for [`PATIENCE`] without one that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// When the last one succeeded, or was first tried.
    pub since: Instant,
    /// The store's own words, and the way out where it is known.
    pub words: String,
}

impl Health {
    /// When the store was last whole; `None` while it is.
    #[must_use]
    pub fn lost_since(&self) -> Option<Instant> {
        let lost = [&self.reads, &self.writes];
        lost.into_iter().flatten().map(|lost| lost.since).min()
    }

    /// What is wrong, for people; `None` while all is well.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let (lost, what) = match (&self.reads, &self.writes) {
            (Some(lost), _) => (lost, "cannot be read"),
            (None, Some(lost)) => (lost, "takes no writes"),
            (None, None) => return None,
        };
        let seconds = lost.since.elapsed().as_secs();
        Some(format!(
            "the store {what} for {seconds} s; nothing is decided or changed meanwhile: {}",
            lost.words
        ))
    }
}

/// A store that knows how its calls fare.
pub struct Proven {
    store: SharedStore,
    state: Mutex<State>,
}

struct State {
    reads: Side,
    writes: Side,
    /// Writes without an answer yet: when each was asked for.
    pending: BTreeMap<u64, Instant>,
    last: u64,
}

struct Side {
    /// When one last succeeded; at first, when it was opened.
    proven: Instant,
    failing: Option<Failing>,
}

/// None has succeeded since.
struct Failing {
    /// When the first was asked for that failed.
    first: Instant,
    /// How long that is borne.
    patience: Duration,
    /// What the last one said.
    words: String,
}

impl Side {
    fn proves(&mut self) {
        self.proven = Instant::now();
        self.failing = None;
    }

    fn fails(&mut self, asked: Instant, error: &StoreError) {
        let (patience, words) = match error {
            StoreError::Unavailable(words) => (PATIENCE, words),
            StoreError::Refused(words) => (REFUSED, words),
            StoreError::Conflict { .. }
            | StoreError::Compacted { .. }
            | StoreError::LeaseEnded
            | StoreError::TooLarge { .. }
            | StoreError::Locked(_) => return,
        };
        // A failure that is older than the last proof says nothing any more.
        if asked >= self.proven {
            self.failing = Some(Failing {
                first: self.failing.as_ref().map_or(asked, |known| known.first),
                patience,
                words: words.clone(),
            });
        }
    }

    fn lost(&self) -> Option<Lost> {
        let failing = self.failing.as_ref()?;
        (failing.first.elapsed() >= failing.patience).then(|| Lost {
            since: self.proven,
            words: failing.words.clone(),
        })
    }
}

impl Proven {
    /// This store, with its calls watched.
    #[must_use]
    pub fn over(store: SharedStore) -> SharedStore {
        let side = || Side {
            proven: Instant::now(),
            failing: None,
        };
        Arc::new(Self {
            store,
            state: Mutex::new(State {
                reads: side(),
                writes: side(),
                pending: BTreeMap::new(),
                last: 0,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, asked: Instant, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Err(error @ StoreError::Unavailable(_)) => self.state().reads.fails(asked, error),
            // What it refuses to tell us, it still answers.
            Ok(_) | Err(_) => self.state().reads.proves(),
        }
        result
    }
}

/// A write that is under way; one that is given up is no longer.
struct Pending<'a> {
    store: &'a Proven,
    number: u64,
    asked: Instant,
}

impl<'a> Pending<'a> {
    fn new(store: &'a Proven) -> Self {
        let asked = Instant::now();
        let mut state = store.state();
        state.last += 1;
        let number = state.last;
        state.pending.insert(number, asked);
        Self {
            store,
            number,
            asked,
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut state = self.store.state();
        let unanswered = state.pending.remove(&self.number).is_some();
        if unanswered && self.asked.elapsed() >= PATIENCE {
            let silent = StoreError::Unavailable(SILENT.to_owned());
            state.writes.fails(self.asked, &silent);
        }
    }
}

const SILENT: &str = "a write is not answered";

#[async_trait]
impl Store for Proven {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let asked = Instant::now();
        self.read(asked, self.store.get(key).await)
    }
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let asked = Instant::now();
        self.read(asked, self.store.list(prefix).await)
    }
    async fn range(&self, from: &str, to: &str, most: usize) -> Result<Listing, StoreError> {
        let asked = Instant::now();
        self.read(asked, self.store.range(from, to, most).await)
    }
    async fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        // A full store still takes a transaction that only deletes.
        let puts = |write: &Write| matches!(write, Write::Put { .. });
        let proves = txn.writes.iter().any(puts);
        let pending = Pending::new(self);
        let result = self.store.commit(txn).await;
        let mut state = self.state();
        state.pending.remove(&pending.number);
        match &result {
            Ok(_) if proves => state.writes.proves(),
            Ok(_) => {}
            Err(error) => state.writes.fails(pending.asked, error),
        }
        drop(state);
        result
    }
    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        self.store.watch(prefix, from).await
    }
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let asked = Instant::now();
        let result = self.store.grant(ttl).await;
        if let Err(error) = &result {
            self.state().writes.fails(asked, error);
        }
        result
    }
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.keep_alive(lease).await
    }
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
    fn health(&self) -> Health {
        let own = self.store.health();
        let state = self.state();
        let silent = state.pending.values().min().copied();
        let silent = silent.filter(|asked| asked.elapsed() >= PATIENCE);
        Health {
            reads: own.reads.or_else(|| state.reads.lost()),
            writes: state.writes.lost().or_else(|| {
                silent.map(|_| Lost {
                    since: state.writes.proven,
                    words: SILENT.to_owned(),
                })
            }),
        }
    }
    async fn copy(&self, name: &str) -> Result<crate::embedded::Copy, StoreError> {
        self.store.copy(name).await
    }
    fn space(&self) -> Option<Space> {
        self.store.space()
    }
    fn describe(&self) -> String {
        self.store.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refuses_every_write_is_lost_and_one_refusal_among_others_is_none() {
        let made = Arc::new(Made::default());
        let store = Proven::over(Arc::clone(&made) as SharedStore);
        let put = || store.commit(Txn::new().put("/a", vec![]));
        made.refuses.store(true, Ordering::SeqCst);
        put().await.unwrap_err();
        seconds(5).await;
        assert_eq!(store.health().problem(), None);
        made.refuses.store(false, Ordering::SeqCst);
        put().await.unwrap();
        made.refuses.store(true, Ordering::SeqCst);
        put().await.unwrap_err();
        seconds(10).await;
        let words = store.health().problem().unwrap();
        assert!(words.contains("permission denied"), "{words}");
    }

    /// Answers every call, or hangs, or fails each put.
    #[derive(Default)]
    struct Made {
        full: AtomicBool,
        hangs: AtomicBool,
        refuses: AtomicBool,
    }

    #[async_trait]
    impl Store for Made {
        async fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
            Ok(None)
        }
        async fn list(&self, _: &str) -> Result<Listing, StoreError> {
            Err(StoreError::Refused("no list".to_owned()))
        }
        async fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.refuses.load(Ordering::SeqCst) {
                return Err(StoreError::Refused("permission denied".to_owned()));
            }
            let put = |write: &Write| matches!(write, Write::Put { .. });
            if self.full.load(Ordering::SeqCst) && txn.writes.iter().any(put) {
                return Err(StoreError::Unavailable("it is full".to_owned()));
            }
            Ok(1)
        }
        async fn watch(&self, _: &str, _: u64) -> Result<Watch, StoreError> {
            Err(StoreError::Refused("no watch".to_owned()))
        }
        async fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
            Ok(LeaseId(1))
        }
        async fn keep_alive(&self, _: LeaseId) -> Result<(), StoreError> {
            Ok(())
        }
        async fn revoke(&self, _: LeaseId) -> Result<(), StoreError> {
            Ok(())
        }
        fn describe(&self) -> String {
            "made".to_owned()
        }
    }

    async fn seconds(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_fail_for_seconds_are_a_loss_since_the_last_that_was_taken() {
        let made = Arc::new(Made::default());
        let store = Proven::over(Arc::clone(&made) as SharedStore);
        let put = || store.commit(Txn::new().put("/a", vec![]));
        put().await.unwrap();
        let proven = Instant::now();
        seconds(2).await;
        made.full.store(true, Ordering::SeqCst);
        put().await.unwrap_err();
        seconds(2).await;
        assert_eq!(store.health(), Health::default(), "one failure is no loss");
        // Neither of these shows that it takes writes.
        store.get("/a").await.unwrap();
        store.grant(Duration::from_secs(5)).await.unwrap();
        store.commit(Txn::new().delete("/a")).await.unwrap();
        seconds(1).await;
        put().await.unwrap_err();
        let health = store.health();
        assert_eq!(health.lost_since(), Some(proven));
        assert_eq!(health.reads, None);
        let words = health.problem().unwrap();
        assert!(words.contains("takes no writes for 5 s"), "{words}");
        assert!(words.contains("it is full"), "{words}");
        made.full.store(false, Ordering::SeqCst);
        put().await.unwrap();
        assert_eq!(store.health().problem(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_answers_is_a_loss_also_after_it_was_given_up() {
        let made = Arc::new(Made::default());
        let store = Proven::over(Arc::clone(&made) as SharedStore);
        made.hangs.store(true, Ordering::SeqCst);
        let waiting = tokio::spawn({
            let store = SharedStore::clone(&store);
            async move {
                let put = store.commit(Txn::new().put("/a", vec![]));
                tokio::time::timeout(Duration::from_secs(5), put).await
            }
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(store.health().problem(), None);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(store.health().writes.is_some());
        waiting.await.unwrap().unwrap_err();
        assert!(store.health().writes.is_some());
        made.hangs.store(false, Ordering::SeqCst);
        store.commit(Txn::new().put("/a", vec![])).await.unwrap();
        assert_eq!(store.health().problem(), None);
    }
}
