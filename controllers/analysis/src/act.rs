//! Writes verdicts and outliers, and removes those of releases that are gone. Every write is fenced.

use fm_api::keys::ReleaseKey;
use fm_api::outlier::Outliers;
use fm_api::verdict::Verdict;
use fm_runtime::{Context, decode};
use fm_store::{Expect, Fence, StoreError, Txn};

/// The stored verdict, if there is a readable one, and its revision, if there is any.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn load(
    ctx: &Context,
    key: &ReleaseKey,
) -> Result<(Option<Verdict>, Option<u64>), StoreError> {
    let entry = ctx.store.get(&key.verdict()).await?;
    let verdict = entry.as_ref().and_then(|entry| decode(entry).ok());
    Ok((verdict, entry.map(|entry| entry.revision)))
}

/// Writes a verdict over the one at `revision`, as long as the release's target is there. Returns the new revision.
///
/// # Errors
/// When the store refuses, or somebody was faster.
pub(crate) async fn write(
    ctx: &Context,
    fence: Option<&Fence>,
    key: &ReleaseKey,
    verdict: &Verdict,
    revision: Option<u64>,
) -> Result<u64, StoreError> {
    let at = key.verdict();
    let value = serde_json::to_vec(verdict).map_err(|e| StoreError::Refused(e.to_string()))?;
    let expected = match revision {
        Some(revision) => Expect::Unchanged(at.clone(), revision),
        None => Expect::Absent(at.clone()),
    };
    let txn = Txn::new()
        .expect(expected)
        .expect(Expect::Exists(key.target()))
        .fenced(fence)
        .put(at, value);
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
    let mut any = false;
    for at in [key.verdict(), key.outliers()] {
        if ctx.store.get(&at).await?.is_some() {
            txn = txn.delete(at);
            any = true;
        }
    }
    if !any {
        return Ok(());
    }
    ctx.store.commit(txn).await.map(|_| ())
}
