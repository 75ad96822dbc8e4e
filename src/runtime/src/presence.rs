//! Says in the store that an agent lives: a key of its own, bound to a lease that is kept alive.
//!
//! Owner of that key and lease. What must never happen: a lease that is kept alive beside a key that was never written.

use std::time::Duration;

use fm_store::{LeaseId, StoreError, Txn};
use serde::Serialize;
use tokio::sync::watch;

use crate::Context;

/// The longest pause after the store did not take it.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the key is tried to be taken back at the end. It ends by itself if the store does not answer.
const AT_THE_END: Duration = Duration::from_secs(1);

/// Keeps the key with the latest value until the shutdown, or until there is no sender of values any more; then takes it
/// back. `ttl`: how long the agent counts as alive without a sign of life.
pub async fn announce<T: Serialize>(
    ctx: &Context,
    key: String,
    ttl: Duration,
    value: watch::Receiver<T>,
) {
    let mut presence = Presence {
        ctx,
        key,
        ttl,
        value,
        lease: None,
        said: false,
    };
    while !ctx.shutdown.is_cancelled() {
        let kept = presence.keep().await;
        if let Err(error) = &kept {
            tracing::debug!(key = presence.key, %error, "the agent's key could not be renewed");
        }
        let pause = match kept {
            Ok(()) => ttl / 3,
            Err(_) => PAUSE.min(ttl / 12),
        };
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            changed = presence.value.changed() => {
                if changed.is_err() {
                    break;
                }
                presence.said = false;
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    if let Some(lease) = presence.lease {
        let _ = tokio::time::timeout(AT_THE_END, ctx.store.revoke(lease)).await;
    }
}

struct Presence<'a, T> {
    ctx: &'a Context,
    key: String,
    ttl: Duration,
    value: watch::Receiver<T>,
    lease: Option<LeaseId>,
    /// The latest value stands under the lease.
    said: bool,
}

impl<T: Serialize> Presence<'_, T> {
    async fn keep(&mut self) -> Result<(), StoreError> {
        let store = &self.ctx.store;
        if let Some(held) = self.lease {
            match store.keep_alive(held).await {
                Ok(()) => {}
                Err(StoreError::LeaseEnded) => self.lease = None,
                Err(other) => return Err(other),
            }
        }
        let lease = match self.lease {
            Some(held) => held,
            None => {
                self.said = false;
                *self.lease.insert(store.grant(self.ttl).await?)
            }
        };
        if !self.said {
            let bytes = serde_json::to_vec(&*self.value.borrow_and_update())
                .map_err(|error| StoreError::Refused(error.to_string()))?;
            let txn = Txn::new().put_leased(self.key.clone(), bytes, lease);
            store.commit(txn).await?;
            self.said = true;
        }
        Ok(())
    }
}
