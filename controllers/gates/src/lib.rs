//! Gates: asks webhooks, and has jobs run, where a rollout waits for them.
//!
//! ```text
//! targets/ (due) ──▶ plan (pure) ──▶ HTTP POST, jobs/…/_beforeTraffic/NAME ──▶ observed/…/gates ──▶ promotion
//! ```
//!
//! It runs once, under an elected lease. Owner of `observed/…/gates` and of `jobs/…/_beforeTraffic/`. What must never
//! happen: a yes that nobody said; a rollout of one release held up by another one's server; a call after the question
//! was withdrawn. A call may be made twice after a crash: its id says that it is the same.

mod act;
mod observe;
pub mod plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fm_api::keys::{self, ReleaseKey};
use fm_runtime::{Cache, Context, Next, ReconcileError, Reconciler, Said};
use fm_store::{Fence, StoreError};
use fm_web::{Access, Client};
use tokio::sync::mpsc;

use act::Calls;

/// The name under which it is elected.
pub const NAME: &str = "gates";

/// How many wake-ups may wait: one that finds no room is made up for by the next look.
const WAKES: usize = 1024;

/// How it is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whom webhooks may be sent to, and with which logins and keys.
    pub access: Access,
    /// Nobody is called and nothing is run: it says so instead.
    pub observe_only: bool,
}

/// Runs until the context's shutdown.
///
/// # Errors
/// When the store refuses for a reason that trying again will not change.
pub async fn run(ctx: Context, options: Options) -> Result<(), StoreError> {
    let prefixes = ["targets", "observed", "revisions", "jobs"];
    let cache = Cache::start(&ctx, prefixes.into_iter().map(keys::prefix).collect());
    let (wake, woken) = mpsc::channel(WAKES);
    let client = Client::new(options.access, "webhookAddresses");
    let gates = Arc::new(Gates {
        calls: Calls::new(client, wake),
        ctx: ctx.clone(),
        cache: cache.clone(),
        observe_only: options.observe_only,
        said: Said::default(),
    });
    fm_runtime::run_elected(&ctx, NAME, &cache, Some(woken), gates).await
}

struct Gates {
    ctx: Context,
    cache: Cache,
    calls: Calls,
    observe_only: bool,
    said: Said,
}

#[async_trait]
impl Reconciler for Gates {
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        let now = self.ctx.clock.now();
        let mut seen = observe::seen(&self.ctx, &self.cache, key).await?;
        seen.ended = self.calls.ended(key);
        seen.calling = self.calls.calling(key);
        let plan = plan::plan(&seen, now);
        if self.observe_only && !plan.asks.is_empty() {
            let asks = format!("{:?}", plan.asks);
            if self.said.is_news(&key.to_string(), &asks) {
                tracing::info!(release = %key, asks, "would ask; frd only observes");
            }
            return Ok(Next::OnChange);
        }
        act::carry_out(&self.ctx, &self.calls, key, &seen, plan, fence, now).await
    }
}

/// Until then, as a time to wait.
fn wait(until: Option<jiff::Timestamp>, now: jiff::Timestamp) -> Next {
    until.map_or(Next::OnChange, |at| {
        Next::After(Duration::try_from(at.duration_since(now)).unwrap_or_default())
    })
}
