//! Writes verdicts and outliers, and removes those of releases that are gone. Every write is fenced.

use fm_api::keys::ReleaseKey;
use fm_api::outlier::Outliers;
use fm_api::verdict::Verdict;
use fm_runtime::{Context, decode};
use fm_store::{Expect, Fence, StoreError, Txn};

use crate::reach::Views;

/// The verdict stored at a key, if there is a readable one, and its revision, if there is any.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn load(
    ctx: &Context,
    at: &str,
) -> Result<(Option<Verdict>, Option<u64>), StoreError> {
    let entry = ctx.store.get(at).await?;
    let verdict = entry.as_ref().and_then(|entry| decode(entry).ok());
    Ok((verdict, entry.map(|entry| entry.revision)))
}

/// Writes a verdict to a key, over the one at `revision`, as long as the release's target is there. Returns the new revision.
///
/// # Errors
/// When the store refuses, or somebody was faster.
pub(crate) async fn write(
    ctx: &Context,
    fence: Option<&Fence>,
    (key, at): (&ReleaseKey, String),
    verdict: Vec<u8>,
    revision: Option<u64>,
) -> Result<u64, StoreError> {
    let expected = match revision {
        Some(revision) => Expect::Unchanged(at.clone(), revision),
        None => Expect::Absent(at.clone()),
    };
    let txn = Txn::new()
        .expect(expected)
        .expect(Expect::Exists(key.target()))
        .fenced(fence)
        .put(at, verdict);
    ctx.store.commit(txn).await
}

/// The stored outliers, if there are readable ones.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn outliers(
    ctx: &Context,
    key: &ReleaseKey,
) -> Result<Option<Outliers>, StoreError> {
    let entry = ctx.store.get(&key.outliers()).await?;
    Ok(entry.as_ref().and_then(|entry| decode(entry).ok()))
}

/// What others see of a release's tasks. What cannot be read is not known.
pub(crate) async fn views(ctx: &Context, key: &ReleaseKey) -> Views {
    let prefix = key.observed_haproxy_prefix();
    let seen = ctx.store.list(&prefix).await;
    let entries = seen.map(|listing| listing.entries).unwrap_or_default();
    let edges = entries.iter().filter_map(|entry| {
        let instance = entry.key.strip_prefix(&prefix)?;
        Some((instance.to_owned(), decode(entry).ok()?))
    });
    let swarm = ctx.store.get(&key.observed_swarm()).await;
    let swarm = swarm.ok().flatten();
    Views {
        edges: edges.collect(),
        swarm: swarm.and_then(|entry| decode(&entry).ok()),
    }
}

/// Writes which tasks are outliers, or that none is, as long as the release's target is there.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn write_outliers(
    ctx: &Context,
    fence: Option<&Fence>,
    key: &ReleaseKey,
    outliers: &Outliers,
) -> Result<(), StoreError> {
    let at = key.outliers();
    let txn = Txn::new()
        .expect(Expect::Exists(key.target()))
        .fenced(fence);
    let txn = if outliers.tasks.is_empty() {
        txn.delete(at)
    } else {
        let value = serde_json::to_vec(outliers).map_err(|e| StoreError::Refused(e.to_string()))?;
        txn.put(at, value)
    };
    ctx.store.commit(txn).await.map(|_| ())
}

/// Removes what is stored of a release whose target is gone.
///
/// # Errors
/// When the store refuses, or the target is there again.
pub(crate) async fn remove(
    ctx: &Context,
    fence: Option<&Fence>,
    key: &ReleaseKey,
) -> Result<(), StoreError> {
    let mut txn = Txn::new()
        .expect(Expect::Absent(key.target()))
        .fenced(fence);
    for at in [key.verdict(), key.outliers()] {
        if ctx.store.get(&at).await?.is_some() {
            txn = txn.delete(at);
        }
    }
    for prefix in [key.jobs_prefix(), key.trials_prefix()] {
        for entry in ctx.store.list(&prefix).await?.entries {
            txn = txn.delete(entry.key);
        }
    }
    if txn.writes.is_empty() {
        return Ok(());
    }
    ctx.store.commit(txn).await.map(|_| ())
}

/// Removes jobs that an earlier leader or an earlier run asked for: nobody waits for their answers.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn forget_jobs(
    ctx: &Context,
    fence: Option<&Fence>,
    key: &ReleaseKey,
) -> Result<(), StoreError> {
    let listing = ctx.store.list(&key.jobs_prefix()).await?;
    if listing.entries.is_empty() {
        return Ok(());
    }
    let txn = Txn::new().fenced(fence);
    let txn = (listing.entries.into_iter()).fold(txn, |txn, entry| txn.delete(entry.key));
    ctx.store.commit(txn).await.map(|_| ())
}

/// Removes the verdicts on candidates that no experiment has now.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn forget_trials(
    ctx: &Context,
    fence: Option<&Fence>,
    key: &ReleaseKey,
    known: &[&str],
) -> Result<(), StoreError> {
    let listing = ctx.store.list(&key.trials_prefix()).await?;
    let gone = listing.entries.into_iter().filter(|entry| {
        let name = entry.key.rsplit('/').next();
        !name.is_some_and(|name| known.contains(&name))
    });
    let txn = gone.fold(Txn::new().fenced(fence), |txn, entry| txn.delete(entry.key));
    if txn.writes.is_empty() {
        return Ok(());
    }
    ctx.store.commit(txn).await.map(|_| ())
}
