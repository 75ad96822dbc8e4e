//! The runtime on the real embedded store, with faults put between.

mod cache;
mod controller;
mod daemon;
mod election;
mod events;
mod presence;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fm_api::keys::ReleaseKey;
use fm_store::{
    Entry, LeaseId, Listing, SharedStore, Space, Store, StoreError, Txn, Watch, embedded,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{Context, Fitness, SystemClock};

/// A real store that can be cut off.
struct Cuttable {
    store: SharedStore,
    away: AtomicBool,
    /// Reads are never answered.
    hangs: AtomicBool,
    /// Leases are given and kept, and nothing is written.
    refuses: AtomicBool,
    /// Its room is short.
    low: AtomicBool,
    /// Ends all watches as if their changes had been compacted.
    compact: watch::Sender<u64>,
}

impl Cuttable {
    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn there(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("cut off".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Cuttable {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.there()?;
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.store.get(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.there()?;
        self.store.list(prefix).await
    }
    async fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        self.there()?;
        if self.refuses.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("refused".to_owned()));
        }
        self.store.commit(txn).await
    }
    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        self.there()?;
        let mut inner = self.store.watch(prefix, from).await?;
        let mut compact = self.compact.subscribe();
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let batch = tokio::select! {
                    biased;
                    _ = compact.changed() => Some(Err(StoreError::Compacted { from })),
                    batch = inner.next() => batch,
                };
                let Some(batch) = batch else { return };
                let last = batch.is_err();
                if sender.send(batch).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Watch::new(receiver))
    }
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.there()?;
        self.store.grant(ttl).await
    }
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.there()?;
        self.store.keep_alive(lease).await
    }
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.there()?;
        self.store.revoke(lease).await
    }
    fn space(&self) -> Option<Space> {
        let low = self.low.load(Ordering::SeqCst);
        Some(Space {
            free: 0,
            total: 0,
            reserve: None,
            low: low.then(|| "the disk is nearly full".to_owned()),
        })
    }
    fn describe(&self) -> String {
        self.store.describe()
    }
}

/// A store in a folder of its own.
struct World {
    _folder: TempDir,
    store: Arc<Cuttable>,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Arc::new(Cuttable {
            store: embedded::open(folder.path()).unwrap(),
            away: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            low: AtomicBool::new(false),
            compact: watch::Sender::new(0),
        });
        Self {
            _folder: folder,
            store,
        }
    }

    /// A process of its own on the same store.
    fn process(&self, identity: &str) -> Context {
        Context {
            store: Arc::clone(&self.store) as SharedStore,
            clock: Arc::new(SystemClock),
            identity: identity.to_owned(),
            fitness: Fitness::default(),
            shutdown: CancellationToken::new(),
            resync: Duration::from_secs(10),
        }
    }

    async fn put(&self, key: &str, value: &str) -> u64 {
        let txn = Txn::new().put(key, value.as_bytes().to_vec());
        self.store.store.commit(txn).await.unwrap()
    }

    async fn delete(&self, key: &str) -> u64 {
        self.store
            .store
            .commit(Txn::new().delete(key))
            .await
            .unwrap()
    }
}

fn key(name: &str) -> ReleaseKey {
    ReleaseKey::new("default", name)
}

fn prefixes() -> Vec<String> {
    vec![
        fm_api::keys::releases_prefix(),
        fm_api::keys::prefix("targets"),
        fm_api::keys::prefix("agents"),
    ]
}

/// Waits for a level, not an edge; gives up loudly.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < limit, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
