//! Notifications: tells other systems what happened, as frd's configuration says.
//!
//! `events/ ──▶ plan (pure: what, to whom, how often) ──▶ HTTP POST ──▶ notifications/<channel>`
//!
//! It runs once, under an elected lease. Owner of `notifications/<channel>`: up to where a channel was told, so that
//! nothing is told twice after a restart, nor what was before. What must never happen: a rollout that waits for it;
//! memory that grows while a channel is away; a channel that holds up another; a secret in a log line.

mod act;
pub mod plan;

use std::sync::Arc;

use fm_api::keys;
use fm_runtime::{Cache, Context};
use fm_store::{Fence, StoreError};
use fm_web::Secret;
use futures_util::future::join_all;

use plan::Rule;

/// The name under which it is elected.
pub const NAME: &str = "notify";

/// Where events are told.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name, unique.
    pub name: String,
    /// Its address, which is a secret where it holds one.
    pub url: Secret,
    /// How it is spoken to.
    pub shape: Shape,
    /// Signs what is sent.
    pub signing_key: Option<Secret>,
    /// What is told, and how often.
    pub rule: Rule,
}

/// How a channel is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// JSON with every field of the event, and the text.
    Webhook,
    /// `{"text": "…"}`, as Slack, Mattermost and Rocket.Chat take it.
    Slack,
}

/// Runs until the context's shutdown.
///
/// # Errors
/// None at present: what goes wrong is logged and tried again.
pub async fn run(ctx: Context, channels: Arc<Vec<Channel>>) -> Result<(), StoreError> {
    let cache = Cache::start(&ctx, vec![keys::prefix("events")]);
    fm_runtime::run_leading(&ctx, NAME, |fence: Fence| {
        let (ctx, cache, channels) = (ctx.clone(), cache.clone(), Arc::clone(&channels));
        async move {
            cache.synced().await;
            let all = channels.iter();
            join_all(all.map(|channel| act::tell(&ctx, &cache, channel, &fence))).await;
        }
    })
    .await;
    Ok(())
}
