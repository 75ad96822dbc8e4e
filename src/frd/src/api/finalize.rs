//! The end of a deleted release: when its target has gone, what is left of it goes, and the spec last.
//!
//! It runs once, under the lease `api`, and so does the bound on events. What must never happen: a spec that goes while its target, and with it traffic or
//! services, still stands; a namesake that is swept away with the leftovers of the one before.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fm_api::edge::Deleted;
use fm_api::event::Severity;
use fm_api::keys::{self, ReleaseKey};
use fm_runtime::{Bounds, Cache, Context, Next, ReconcileError, Reconciler, Recorder};
use fm_store::{Entry, Expect, Fence, StoreError, Txn};

use super::stored::Stored;

/// The name under which it is elected.
const NAME: &str = "api";
/// What may be left of a release.
const LEFTOVERS: [&str; 6] = [
    "operations",
    "verdicts",
    "outliers",
    "observed",
    "status",
    "revisions",
];
/// How long it is known that a release was deleted: an edge that was away for longer asks a person.
const TRACE: Duration = Duration::from_secs(30 * 86_400);
/// Writes of one transaction; etcd takes 128 by default.
const MOST_WRITES: usize = 100;

/// Runs it until shutdown.
///
/// # Errors
/// When the store refuses.
pub async fn run(ctx: Context) -> Result<(), StoreError> {
    let prefixes = ["releases", "targets", "status", "observed"]
        .map(keys::prefix)
        .to_vec();
    let cache = Cache::start(&ctx, prefixes);
    let finalizer = Finalizer {
        recorder: Recorder::new(&ctx, "api"),
        ctx: ctx.clone(),
        cache: cache.clone(),
    };
    let (ended, ()) = tokio::join!(
        fm_runtime::run_elected(&ctx, NAME, &cache, None, Arc::new(finalizer)),
        fm_runtime::keep_bounds(&ctx, NAME, Bounds::default()),
    );
    ended
}

struct Finalizer {
    ctx: Context,
    cache: Cache,
    recorder: Recorder,
}

#[async_trait]
impl Reconciler for Finalizer {
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        if self.cache.get(&key.target()).is_some() {
            return Ok(Next::OnChange);
        }
        let stored = self.cache.get(&key.release());
        match stored {
            Some(entry) => {
                if Stored::read(&entry).deleted_at.is_some() {
                    self.remove(key, &entry, fence).await?;
                }
            }
            None => {
                self.sweep(key, Expect::Absent(key.release()), fence)
                    .await?;
            }
        }
        Ok(Next::OnChange)
    }
}

impl Finalizer {
    async fn remove(
        &self,
        key: &ReleaseKey,
        entry: &Entry,
        fence: Option<&Fence>,
    ) -> Result<(), StoreError> {
        let unchanged = Expect::Unchanged(key.release(), entry.revision);
        let stored = Stored::read(entry);
        let trace = Deleted {
            uid: stored.uid.unwrap_or_default(),
            at: self.ctx.clock.now(),
        };
        let trace = serde_json::json!(trace).to_string().into_bytes();
        let lease = self.ctx.store.grant(TRACE).await?;
        self.sweep(key, unchanged.clone(), fence).await?;
        let txn = Txn::new()
            .expect(unchanged)
            .expect(Expect::Absent(key.target()))
            .fenced(fence)
            .put_leased(key.deleted(), trace, lease)
            .delete(key.release());
        self.ctx.store.commit(txn).await?;
        let message = "everything it made is gone".to_owned();
        self.recorder
            .record(Some(key), Severity::Normal, "Deleted", message)
            .await;
        Ok(())
    }

    /// Removes what is left of the release, while the spec is as expected and there is no target.
    async fn sweep(
        &self,
        key: &ReleaseKey,
        spec: Expect,
        fence: Option<&Fence>,
    ) -> Result<(), StoreError> {
        let mut leftovers = Vec::new();
        for kind in LEFTOVERS {
            let listing = self
                .ctx
                .store
                .list(&format!("{}{key}", keys::prefix(kind)))
                .await?;
            let entries = listing.entries.into_iter().map(|entry| entry.key);
            leftovers.extend(entries.filter(|path| ReleaseKey::of(path).as_ref() == Some(key)));
        }
        for chunk in leftovers.chunks(MOST_WRITES) {
            let mut txn = Txn::new()
                .expect(spec.clone())
                .expect(Expect::Absent(key.target()))
                .fenced(fence);
            for path in chunk {
                txn = txn.delete(path.clone());
            }
            self.ctx.store.commit(txn).await?;
        }
        Ok(())
    }
}
