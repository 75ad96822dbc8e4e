//! Promotion: decides what is wanted of every release this instant.
//!
//! ```text
//! releases/ operations/ revisions/ observed/ verdicts/ agents/ ──▶ World ──plan (pure)──▶ Plan ──▶ targets/ status/ revisions/
//! ```
//!
//! Owner of `targets/`, `status/` and `revisions/`, which it writes in one fenced transaction per decision. It runs once,
//! under an elected lease. What must never happen is listed in the head of [`plan`].

mod act;
mod elapsed;
mod observe;
pub mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fm_api::freeze::Freeze;
use fm_api::keys::{self, ReleaseKey};
use fm_runtime::{Cache, Context, Next, ReconcileError, Reconciler, Recorder};
use fm_store::{Fence, StoreError};

use crate::elapsed::Elapsed;

/// The name under which it is elected.
pub const NAME: &str = "promotion";

/// How it is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Times in which no share of any release rises.
    pub freeze: Vec<Freeze>,
    /// Who has which role, for people.
    pub roles: BTreeMap<String, String>,
}

/// Runs until the context's shutdown.
///
/// # Errors
/// When the store refuses for a reason that trying again will not change.
pub async fn run(ctx: Context, options: Options) -> Result<(), StoreError> {
    let prefixes = [
        "releases",
        "operations",
        "targets",
        "observed",
        "verdicts",
        "trials",
        "revisions",
        "status",
        "agents",
        "edges",
    ];
    let cache = Cache::start(&ctx, prefixes.into_iter().map(keys::prefix).collect());
    let promotion = Arc::new(Promotion {
        recorder: Recorder::new(&ctx, NAME),
        ctx: ctx.clone(),
        cache: cache.clone(),
        options,
        elapsed: Elapsed::default(),
    });
    // Also while another leads: what was seen to begin is counted.
    let (counting, counted) = (Arc::clone(&promotion), cache.clone());
    let counting = tokio::spawn(async move { counting.elapsed.follow(&counted).await });
    let ended = fm_runtime::run_elected(&ctx, NAME, &cache, None, promotion).await;
    counting.abort();
    ended
}

struct Promotion {
    ctx: Context,
    cache: Cache,
    recorder: Recorder,
    options: Options,
    elapsed: Elapsed,
}

#[async_trait]
impl Reconciler for Promotion {
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        let now = self.elapsed.now(&self.ctx, key);
        let seen = observe::world(&self.cache, key, &self.options, fresh_seed())?;
        let plan = plan::step(&seen.world, now);
        tracing::debug!(release = %key, why = ?plan.why, changed = plan.target.is_some(), "planned");
        act::carry_out(&self.ctx, &self.recorder, key, &seen, &plan, fence).await?;
        Ok(plan.next_look.map_or(Next::OnChange, |at| {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            Next::After(wait)
        }))
    }
}

/// Four bytes that were not there before, from the part of a new id that is drawn.
fn fresh_seed() -> u32 {
    let id = uuid::Uuid::now_v7();
    let bytes = id.as_bytes();
    u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]])
}
