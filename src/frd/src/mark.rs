//! The store's own mark: given once, so that an edge knows a store again and does not follow another one in silence.

use std::time::Duration;

use fm_runtime::Context;
use tokio_util::task::TaskTracker;

/// How long the start waits for it: a store that takes no writes must not keep HAProxy from being led.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(2);

/// Gives the store its mark where it has none; goes on trying where that takes long.
pub(crate) async fn ensure(ctx: &Context, tasks: &TaskTracker) {
    if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, fm_runtime::installation(&ctx.store)).await {
        return;
    }
    let ctx = ctx.clone();
    tasks.spawn(async move {
        while fm_runtime::installation(&ctx.store).await.is_err() {
            tokio::select! {
                () = ctx.shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use fm_api::keys;
    use fm_runtime::installation;

    #[tokio::test]
    async fn a_store_gets_one_mark_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = fm_store::embedded::open(folder.path()).unwrap();
        installation(&store).await.unwrap();
        let mark = store.get(&keys::installation()).await.unwrap();
        assert!(mark.is_some());
        installation(&store).await.unwrap();
        assert_eq!(store.get(&keys::installation()).await.unwrap(), mark);
    }
}
