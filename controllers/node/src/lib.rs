//! The node agent: measures what the tasks of its node use of their limits.
//!
//! ```text
//! control groups, or Docker's stats, of this node's containers ─▶ observe ─▶ plan ─▶ what is served to whoever decides and shows
//! ```
//!
//! One runs on each node, as Docker tells of its own containers only. It decides nothing and changes nothing. Owner of
//! `nodes/<instance>`, by which the others find it. What must never happen: Docker held up by our questions; a task of
//! somebody else measured; a share of a limit that is none.

mod control_groups;
mod observe;
pub mod plan;

use std::time::Duration;

use fm_api::keys;
use fm_api::observed::NodeAgent;
use fm_runtime::{Context, announce};
use fm_telemetry::usage::LocalUsage;
use tokio::sync::watch;

use crate::observe::Docker;

/// Time between two measurements of what can be read without Docker.
const EVERY: Duration = Duration::from_secs(1);

/// At one of so many, Docker is asked what has come and gone, and for what only it can read.
const LOOK: u32 = 5;

/// How long the agent counts as alive without a sign of life.
const ALIVE: Duration = Duration::from_secs(30);

/// How the agent is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where Docker listens: `unix:///var/run/docker.sock` or `tcp://host:port`.
    pub docker: String,
    /// The agent's name.
    pub instance: String,
    /// Where others read what was measured: `unix:/path` or `http://host:port`.
    pub telemetry_address: String,
}

/// The address of Docker cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Measures until shutdown. That Docker does not answer is no reason to end.
///
/// # Errors
/// When the address of Docker cannot be read.
pub async fn run(ctx: Context, options: Options, local: LocalUsage) -> Result<(), Error> {
    let docker = Docker::new(&options.docker, ctx.store.clone())
        .map_err(|error| Error(error.to_string()))?;
    let (_sender, agent) = watch::channel(NodeAgent {
        instance: options.instance.clone(),
        telemetry: options.telemetry_address.clone(),
    });
    tokio::join!(
        announce(&ctx, keys::node(&options.instance), ALIVE, agent),
        measure(&ctx, docker, &options.instance, &local)
    );
    Ok(())
}

async fn measure(ctx: &Context, mut docker: Docker, instance: &str, local: &LocalUsage) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut away: Option<String> = None;
    let mut since = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ctx.shutdown.cancelled() => return,
        }
        let now = ctx.clock.now();
        if since % LOOK != 0 {
            since += 1;
            local.set(docker.again(instance, now).await);
            continue;
        }
        since = 1;
        let usage = docker.look(instance, now).await;
        match (&usage.problem, &away) {
            (Some(problem), None) => {
                tracing::warn!(
                    problem,
                    "what tasks use cannot be measured now; trying again"
                );
            }
            (None, Some(_)) => tracing::info!("what tasks use is measured again"),
            _ => {}
        }
        away.clone_from(&usage.problem);
        local.set(usage);
    }
}
