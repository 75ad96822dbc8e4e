//! The store: where the spec, targets, observations and verdicts meet.
//!
//! One trait, two implementations: [`embedded`] (one file on one machine, one process) and [`etcd`]. Both pass the same
//! contract tests. A write that was acknowledged survives `kill -9`. What must never happen: a write whose condition or
//! fence does not hold; an event missed between a list and the watch that follows it without an error that says so.

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
mod health;
#[cfg(any(feature = "embedded", feature = "etcd"))]
mod limits;
mod space;

pub use health::{Health, Lost, PATIENCE, Proven};
pub use space::Space;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// A key and what is stored under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The store's revision of the last change of this key.
    pub revision: u64,
}

/// All keys below a prefix at one revision of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision at which all entries were read. Watch from here plus one to miss nothing.
    pub revision: u64,
    /// The entries, in the order of their keys.
    pub entries: Vec<Entry>,
}

/// What must hold of a key for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last changed at this revision.
    Unchanged(String, u64),
    /// The key exists.
    Exists(String),
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Store a value; with a lease it goes when the lease does.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease it is bound to.
        lease: Option<LeaseId>,
    },
    /// Remove a key; one that is not there is no error.
    Delete {
        /// The key.
        key: String,
    },
}

/// A transaction: all expectations hold and all writes happen, or nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold. A fence is an `Unchanged` on the key that the leader holds.
    pub expect: Vec<Expect>,
    /// What is written then. Each key at most once.
    pub writes: Vec<Write>,
}

impl Txn {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds an expectation.
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect.push(expect);
        self
    }
    /// Adds the fence of a leader, if there is one.
    #[must_use]
    pub fn fenced(mut self, fence: Option<&Fence>) -> Self {
        if let Some(fence) = fence {
            self.expect
                .push(Expect::Unchanged(fence.key.clone(), fence.revision));
        }
        self
    }
    /// Adds a put without a lease.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: Vec<u8>) -> Self {
        self.writes.push(Write::Put {
            key: key.into(),
            value,
            lease: None,
        });
        self
    }
    /// Adds a put bound to a lease.
    #[must_use]
    pub fn put_leased(mut self, key: impl Into<String>, value: Vec<u8>, lease: LeaseId) -> Self {
        self.writes.push(Write::Put {
            key: key.into(),
            value,
            lease: Some(lease),
        });
        self
    }
    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }
}

/// Proof of leadership: a write that carries it happens only while the leader still holds its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The key that the leader created, bound to its lease.
    pub key: String,
    /// The revision at which it was created.
    pub revision: u64,
}

/// A lease: keys bound to it go when it is not kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A key was stored.
    Put(Entry),
    /// A key was removed, or its lease ended.
    Deleted {
        /// The key.
        key: String,
        /// The store's revision of the removal.
        revision: u64,
    },
}

impl Change {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Change::Put(entry) => &entry.key,
            Change::Deleted { key, .. } => key,
        }
    }
    /// The store's revision of the change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Change::Put(entry) => entry.revision,
            Change::Deleted { revision, .. } => *revision,
        }
    }
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation did not hold: read again and decide again.
    #[error("{key} was changed by someone else")]
    Conflict {
        /// The first key whose expectation did not hold, or a list of candidates where the store does not say.
        key: String,
    },
    /// The changes since that revision are no longer kept: list again.
    #[error("changes since revision {from} are no longer kept")]
    Compacted {
        /// The revision asked for.
        from: u64,
    },
    /// The lease has ended.
    #[error("the lease has ended")]
    LeaseEnded,
    /// The value is too large for the store.
    #[error("{key} would be {size} bytes; the most is {limit}")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Another process has the store open.
    #[error("{0}")]
    Locked(String),
    /// The store cannot be reached or read; trying again may help.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The store refused for a reason that trying again will not change.
    #[error("the store refused: {0}")]
    Refused(String),
}

/// A stream of changes. It ends with an error when changes may have been missed; the reader lists again then.
pub struct Watch {
    receiver: tokio::sync::mpsc::Receiver<Result<Vec<Change>, StoreError>>,
}

impl Watch {
    /// A watch fed from this channel.
    #[must_use]
    pub fn new(receiver: tokio::sync::mpsc::Receiver<Result<Vec<Change>, StoreError>>) -> Self {
        Self { receiver }
    }
    /// The next changes, in order: all of one revision together. `None` when the store was closed.
    pub async fn next(&mut self) -> Option<Result<Vec<Change>, StoreError>> {
        self.receiver.recv().await
    }
}

/// Values larger than this are refused by every store (etcd's own limit is 1.5 MiB a request).
pub const MAX_VALUE: usize = 1 << 20;

/// Where everything is kept.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One key; `None` when it does not exist.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// All keys below a prefix, at one revision.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;
    /// At most so many keys from `from` (inclusive) to `to` (exclusive), and the store's revision: one page of a long list.
    async fn range(&self, from: &str, to: &str, most: usize) -> Result<Listing, StoreError> {
        let same = from.bytes().zip(to.bytes()).take_while(|(a, b)| a == b);
        // Keys are ASCII; where one is not, everything is read.
        let prefix = from.get(..same.count()).unwrap_or_default();
        let mut listing = self.list(prefix).await?;
        listing
            .entries
            .retain(|entry| (from..to).contains(&entry.key.as_str()));
        listing.entries.truncate(most);
        Ok(listing)
    }
    /// Does a transaction and returns the store's new revision. After [`StoreError::Unavailable`] it may have happened.
    async fn commit(&self, txn: Txn) -> Result<u64, StoreError>;
    /// Changes below a prefix, from this revision on (inclusive). It resumes by itself after a disconnect. That the
    /// changes are no longer kept is said by the watch itself, as its last word.
    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError>;
    /// A new lease that ends `ttl` after it was last kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    /// Keeps a lease alive for another `ttl`.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Ends a lease now, and removes the keys bound to it.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// What the calls so far prove of it; only [`Proven`] knows.
    fn health(&self) -> Health {
        Health::default()
    }
    /// Writes a whole copy of this name beside the store while it is used, and removes the oldest copies.
    async fn copy(&self, name: &str) -> Result<embedded::Copy, StoreError> {
        let _ = name;
        Err(StoreError::Refused(format!(
            "{} is not copied from here: `etcdctl snapshot save FILE` does that",
            self.describe()
        )))
    }
    /// The room it has; `None` where that is not known.
    fn space(&self) -> Option<Space> {
        None
    }
    /// What it is, for people: `embedded /path` or `etcd host:port,…`. Never a password.
    fn describe(&self) -> String;
}

/// A store that many parts share.
pub type SharedStore = Arc<dyn Store>;
