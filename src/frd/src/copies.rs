//! A copy of the embedded store each day, beside it.
//!
//! With etcd there is nothing to do here: `etcdctl snapshot save` is etcd's own. What must never happen: a day without a
//! copy that nobody is told of.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fm_runtime::Context;
use fm_store::{StoreError, embedded};
use jiff::Timestamp;

/// So old is the newest copy at most.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether one is due, and how long after the start at the earliest: a start has other work.
const LOOK: Duration = Duration::from_secs(60);

/// A copy's name: it sorts by time.
pub(crate) fn name(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%S%3fZ").to_string()
}

/// Sees that there is a copy of each day, until shutdown.
///
/// # Errors
/// None that ends it: a copy that fails is told, and made later.
pub(crate) async fn run(ctx: Context, directory: PathBuf) -> Result<(), StoreError> {
    let work = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if is_due(directory.clone(), SystemTime::now()).await {
                match ctx.store.copy(&name(ctx.clock.now())).await {
                    Ok(copy) => {
                        tracing::info!(path = %copy.path.display(), bytes = copy.bytes, "the store is copied");
                    }
                    Err(error) => tracing::warn!(%error, "the store is not copied"),
                }
            }
        }
    };
    let _: Option<std::convert::Infallible> = ctx.shutdown.run_until_cancelled(work).await;
    Ok(())
}

async fn is_due(directory: PathBuf, now: SystemTime) -> bool {
    let newest = tokio::task::spawn_blocking(move || {
        let copies = embedded::copies(&directory).unwrap_or_default();
        copies.last().map(|copy| copy.at)
    });
    match newest.await.ok().flatten() {
        Some(at) => now.duration_since(at).is_ok_and(|age| age >= DAY),
        None => true,
    }
}
