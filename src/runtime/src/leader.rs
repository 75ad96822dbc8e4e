//! Leader election on one key, bound to a lease.
//!
//! Who creates the key leads while its lease lives. The revision of that creation is the fence: a write that carries it
//! fails once the key is gone. Leadership is lost at once when the key changes, or when the lease was not renewed for its
//! whole time by this machine's own clock, which ends no later than the store's. What must never happen: two that both
//! believe for longer than the fence can catch.

use std::collections::BTreeMap;
use std::time::Duration;

use fm_api::event::Severity;
use fm_api::keys;
use fm_store::{Change, Fence, LeaseId, SharedStore, StoreError, Txn, Watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::{Context, Recorder, fitness};

/// How long a leader that died keeps the others waiting.
pub(crate) const TTL: Duration = Duration::from_secs(5);
/// How often a candidate looks by itself, should it miss the change.
const LOOK: Duration = Duration::from_secs(2);
/// How long nobody may be fit before who leads says so.
const NOBODY: Duration = Duration::from_secs(10);
/// What giving the key back may take at the end.
const RELEASE: Duration = Duration::from_secs(2);

/// Leadership; it must be [held](Leadership::hold).
pub(crate) struct Leadership {
    store: SharedStore,
    ttl: Duration,
    lease: LeaseId,
    /// What every write must carry.
    pub(crate) fence: Fence,
    /// Until when the lease lives, whatever happens.
    until: Instant,
}

/// Waits until this process leads; it stands only while it is fit to, or nobody is, and was for as long as `steady`. Tries again
/// whatever the store says.
pub(crate) async fn elect(
    ctx: &Context,
    name: &'static str,
    ttl: Duration,
    steady: Duration,
) -> Leadership {
    let key = keys::lease(name);
    let mut backoff = Backoff::for_store();
    let mut said = Said::default();
    loop {
        ctx.fitness.fit(name, steady).await;
        match try_elect(ctx, &key, ttl).await {
            Ok(Some(leadership)) => {
                tracing::info!(controller = name, identity = %ctx.identity, "leading");
                return leadership;
            }
            Ok(None) => backoff.reset(),
            Err(error) => {
                let pause = backoff.next();
                if said.is_news(&error.to_string(), Instant::now()) {
                    tracing::warn!(controller = name, %error, "cannot be elected; tries on");
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// The same words are said again after so long.
const AGAIN: Duration = Duration::from_secs(300);
/// So many different words are remembered.
const MOST_WORDS: usize = 16;

/// What was said of a candidate's trouble, and when: it tries every second or so, and nobody reads that.
#[derive(Default)]
struct Said(BTreeMap<String, Instant>);

impl Said {
    fn is_news(&mut self, words: &str, now: Instant) -> bool {
        let known = self.0.get(words);
        if known.is_some_and(|at| now.duration_since(*at) < AGAIN) {
            return false;
        }
        if self.0.len() >= MOST_WORDS {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(words, _)| words.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(words.to_owned(), now);
        true
    }
}

/// One attempt; when another leads, returns after it stopped, or after a while.
async fn try_elect(
    ctx: &Context,
    key: &str,
    ttl: Duration,
) -> Result<Option<Leadership>, StoreError> {
    let store = &ctx.store;
    let listing = store.list(key).await?;
    if listing.entries.iter().any(|entry| entry.key == key) {
        let watch = store.watch(key, listing.revision + 1).await?;
        // At its end the caller looks again, and again sees who leads.
        let _ = tokio::time::timeout(LOOK, gone(watch, key, None)).await;
        return Ok(None);
    }
    let asked = Instant::now();
    let lease = store.grant(ttl).await?;
    let txn = Txn::new()
        .expect(fm_store::Expect::Absent(key.to_owned()))
        .put_leased(key, ctx.identity.clone().into_bytes(), lease);
    match store.commit(txn).await {
        Ok(revision) => Ok(Some(Leadership {
            store: SharedStore::clone(store),
            ttl,
            lease,
            fence: Fence {
                key: key.to_owned(),
                revision,
            },
            until: asked + ttl,
        })),
        Err(error) => {
            // It may have happened, unseen: without its lease the key goes again.
            if let Err(error) = store.revoke(lease).await {
                tracing::debug!(%error, "a lease is left to end by itself");
            }
            // Another was faster.
            if matches!(error, StoreError::Conflict { .. }) {
                return Ok(None);
            }
            Err(error)
        }
    }
}

/// Returns when the key is gone, or is not the one created at `ours`, or that can no longer be known.
async fn gone(mut watch: Watch, key: &str, ours: Option<u64>) {
    while let Some(Ok(batch)) = watch.next().await {
        for change in batch.iter().filter(|change| change.key() == key) {
            match change {
                Change::Deleted { .. } => return,
                Change::Put(entry) if ours.is_some_and(|ours| entry.revision != ours) => return,
                Change::Put(_) => {}
            }
        }
    }
}

impl Leadership {
    /// Keeps it; returns why it was lost.
    pub(crate) async fn hold(&mut self) -> String {
        let (store, fence) = (SharedStore::clone(&self.store), self.fence.clone());
        tokio::select! {
            why = self.renew() => why,
            () = changed(&store, &fence) => "its key was changed or removed".to_owned(),
        }
    }

    /// Keeps it for as long as it can be kept and this process is fit to. Returns how long that must be fit before it
    /// stands again.
    pub(crate) async fn term(&mut self, ctx: &Context, name: &'static str) -> Duration {
        ctx.fitness.set_leads(name, true);
        tokio::select! {
            why = self.hold() => {
                tracing::warn!(controller = name, why, "no longer leading");
                Duration::ZERO
            }
            why = ctx.fitness.yields(name) => {
                tracing::warn!(controller = name, why, "gives the lease back: another can do the work");
                fitness::PATIENCE
            }
            never = tell_nobody_is_fit(ctx, name) => match never {},
        }
    }

    async fn renew(&mut self) -> String {
        let mut pause = self.ttl / 3;
        loop {
            tokio::time::sleep_until((Instant::now() + pause).min(self.until)).await;
            let asked = Instant::now();
            let renewed =
                tokio::time::timeout_at(self.until, self.store.keep_alive(self.lease)).await;
            match renewed {
                Ok(Ok(())) => {
                    self.until = asked + self.ttl;
                    pause = self.ttl / 3;
                }
                Ok(Err(StoreError::LeaseEnded)) => return "its lease has ended".to_owned(),
                Ok(Err(error)) if Instant::now() < self.until => {
                    tracing::warn!(key = %self.fence.key, %error, "cannot renew the lease yet");
                    pause = self.ttl / 10;
                }
                Ok(Err(error)) => return format!("its lease could not be renewed: {error}"),
                Err(_) => return "its lease could not be renewed in time".to_owned(),
            }
        }
    }

    /// Gives it back, so that another need not wait.
    pub(crate) async fn release(self, ctx: &Context, name: &'static str) {
        ctx.fitness.set_leads(name, false);
        let revoked = tokio::time::timeout(RELEASE, self.store.revoke(self.lease)).await;
        if !matches!(revoked, Ok(Ok(()))) {
            tracing::debug!(key = %self.fence.key, "the lease is left to end by itself");
        }
    }
}

/// Says so when this leader cannot do the work, and nobody else can.
async fn tell_nobody_is_fit(ctx: &Context, name: &'static str) -> std::convert::Infallible {
    loop {
        let why = ctx.fitness.alone(name, NOBODY).await;
        let message = format!(
            "no daemon can do the work of the {name} controller, so it is not done: {}, which leads it, says: {why}",
            ctx.identity
        );
        tracing::warn!(controller = name, "{message}");
        let recorder = Recorder::new(ctx, name);
        recorder
            .record(None, Severity::Warning, "NobodyIsFit", message)
            .await;
        ctx.fitness.well(name).await;
    }
}

/// Returns when the fence no longer stands. Where that cannot be seen, the lease decides.
async fn changed(store: &SharedStore, fence: &Fence) {
    let mut backoff = Backoff::for_store();
    loop {
        match stands(store, fence).await {
            Ok(true) => backoff.reset(),
            Ok(false) => return,
            Err(_) => tokio::time::sleep(backoff.next()).await,
        }
    }
}

/// Watches the fence until it may have fallen, then looks; `false` when it has.
async fn stands(store: &SharedStore, fence: &Fence) -> Result<bool, StoreError> {
    let listing = store.list(&fence.key).await?;
    let standing = listing
        .entries
        .iter()
        .any(|entry| entry.key == fence.key && entry.revision == fence.revision);
    if !standing {
        return Ok(false);
    }
    let watch = store.watch(&fence.key, listing.revision + 1).await?;
    gone(watch, &fence.key, Some(fence.revision)).await;
    Ok(true)
}

/// Does this work whenever this process is elected to, until shutdown; it is dropped where it stands when leadership is lost.
pub async fn run_leading<F, W>(ctx: &Context, name: &'static str, work: F)
where
    F: Fn(Fence) -> W,
    W: Future<Output = ()>,
{
    let mut steady = Duration::ZERO;
    while !ctx.shutdown.is_cancelled() {
        let mut leadership = tokio::select! {
            biased;
            () = ctx.shutdown.cancelled() => break,
            leadership = elect(ctx, name, TTL, steady) => leadership,
        };
        let fence = leadership.fence.clone();
        let term = leadership.term(ctx, name);
        steady = tokio::select! {
            biased;
            () = ctx.shutdown.cancelled() => Duration::ZERO,
            steady = term => steady,
            () = work(fence) => Duration::ZERO,
        };
        leadership.release(ctx, name).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidates_trouble_is_said_once_and_when_it_changes_and_every_few_minutes() {
        let mut said = Said::default();
        let start = Instant::now();
        let told: Vec<u64> = (0..700)
            .filter(|second| {
                let words = if *second < 500 {
                    "no leader"
                } else {
                    "timed out"
                };
                said.is_news(words, start + Duration::from_secs(*second))
            })
            .collect();
        assert_eq!(told, [0, 300, 500]);
    }
}
