//! Says in the store that this agent lives: `agents/<instance>`, bound to a lease that is kept alive.

use std::time::Duration;

use fm_api::keys;
use fm_api::observed::Agent;
use fm_runtime::Context;
use fm_store::{LeaseId, StoreError, Txn};

/// How long the agent counts as alive without a sign of life.
const TTL: Duration = Duration::from_secs(6);

/// Keeps the key until the shutdown, then takes it back.
pub(crate) async fn keep(ctx: Context, agent: tokio::sync::watch::Receiver<Agent>) {
    let mut agent = agent;
    let mut lease: Option<LeaseId> = None;
    while !ctx.shutdown.is_cancelled() {
        let say = agent.has_changed().unwrap_or(false) || lease.is_none();
        let said = step(&ctx, &mut agent, &mut lease, say).await;
        if let Err(error) = &said {
            tracing::debug!(%error, "the agent's key could not be renewed");
        }
        let pause = if said.is_ok() {
            TTL / 3
        } else {
            Duration::from_millis(500)
        };
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            changed = agent.changed() => {
                if changed.is_err() {
                    break;
                }
                agent.mark_changed();
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    if let Some(lease) = lease {
        let _ = tokio::time::timeout(Duration::from_secs(1), ctx.store.revoke(lease)).await;
    }
}

async fn step(
    ctx: &Context,
    agent: &mut tokio::sync::watch::Receiver<Agent>,
    lease: &mut Option<LeaseId>,
    say: bool,
) -> Result<(), StoreError> {
    if let Some(held) = *lease {
        match ctx.store.keep_alive(held).await {
            Ok(()) => {}
            Err(StoreError::LeaseEnded) => *lease = None,
            Err(other) => return Err(other),
        }
    }
    if say || lease.is_none() {
        let held = match *lease {
            Some(held) => held,
            None => {
                let granted = ctx.store.grant(TTL).await?;
                *lease = Some(granted);
                granted
            }
        };
        let value = agent.borrow_and_update().clone();
        let bytes = serde_json::to_vec(&value).map_err(|e| StoreError::Refused(e.to_string()))?;
        let key = keys::agent(&value.instance);
        ctx.store
            .commit(Txn::new().put_leased(key, bytes, held))
            .await?;
    }
    Ok(())
}
