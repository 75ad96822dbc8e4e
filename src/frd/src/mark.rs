//! The store's own mark: given once, so that an edge knows a store again and does not follow another one in silence.

use std::time::Duration;

use fm_api::keys;
use fm_runtime::Context;
use fm_store::{Expect, SharedStore, StoreError, Txn};
use tokio_util::task::TaskTracker;

/// How long the start waits for it: a store that takes no writes must not keep HAProxy from being led.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(2);

/// Gives the store its mark where it has none; goes on trying where that takes long.
pub(crate) async fn ensure(ctx: &Context, tasks: &TaskTracker) {
    if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, give(&ctx.store)).await {
        return;
    }
    let ctx = ctx.clone();
    tasks.spawn(async move {
        while give(&ctx.store).await.is_err() {
            tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    });
}

/// Gives the store its mark where it has none.
pub(crate) async fn give(store: &SharedStore) -> Result<(), StoreError> {
    let key = keys::installation();
    if store.get(&key).await?.is_some() {
        return Ok(());
    }
    let mark = uuid::Uuid::now_v7().simple().to_string();
    let txn = Txn::new().expect(Expect::Absent(key.clone()));
    match store.commit(txn.put(key, mark.into_bytes())).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_gets_one_mark_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = fm_store::embedded::open(folder.path()).unwrap();
        give(&store).await.unwrap();
        let mark = store.get(&keys::installation()).await.unwrap();
        assert!(mark.is_some());
        give(&store).await.unwrap();
        assert_eq!(store.get(&keys::installation()).await.unwrap(), mark);
    }
}
