//! Says in the store that this agent lives: `nodes/<instance>`, bound to a lease that is kept alive.

use std::time::Duration;

use fm_api::keys;
use fm_api::observed::NodeAgent;
use fm_runtime::Context;
use fm_store::{LeaseId, StoreError, Txn};

use crate::Options;

/// How long the agent counts as alive without a sign of life. Nobody waits for it, so that it need not be short.
const TTL: Duration = Duration::from_secs(30);

/// Keeps the key until the shutdown, then takes it back.
pub(crate) async fn keep(ctx: &Context, options: &Options) {
    let mut lease = None;
    while !ctx.shutdown.is_cancelled() {
        let said = say(ctx, options, &mut lease).await;
        if let Err(error) = &said {
            tracing::debug!(%error, "the node agent's key could not be renewed");
        }
        let pause = if said.is_ok() {
            TTL / 3
        } else {
            Duration::from_secs(1)
        };
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    if let Some(lease) = lease {
        // It ends by itself if the store does not answer now.
        let _ = tokio::time::timeout(Duration::from_secs(1), ctx.store.revoke(lease)).await;
    }
}

async fn say(
    ctx: &Context,
    options: &Options,
    lease: &mut Option<LeaseId>,
) -> Result<(), StoreError> {
    if let Some(held) = *lease {
        match ctx.store.keep_alive(held).await {
            Ok(()) => return Ok(()),
            Err(StoreError::LeaseEnded) => *lease = None,
            Err(other) => return Err(other),
        }
    }
    let granted = ctx.store.grant(TTL).await?;
    let agent = NodeAgent {
        instance: options.instance.clone(),
        telemetry: options.telemetry_address.clone(),
    };
    let bytes = serde_json::to_vec(&agent).map_err(|e| StoreError::Refused(e.to_string()))?;
    let key = keys::node(&options.instance);
    ctx.store
        .commit(Txn::new().put_leased(key, bytes, granted))
        .await?;
    *lease = Some(granted);
    Ok(())
}
