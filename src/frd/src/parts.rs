//! Starting the haproxy agent with the daemon's settings.

use anyhow::{Result, bail};
use fm_runtime::Context;

use crate::settings::Settings;
use crate::source::LocalTelemetry;

/// The agent's options.
#[derive(Debug, Clone)]
pub(crate) struct Options {}

/// The agent's options, from the settings.
pub(crate) fn haproxy_options(_settings: &Settings, _telemetry_address: &str) -> Options {
    Options {}
}

/// One life of the agent: its counters are served as long as it runs.
pub(crate) async fn haproxy(ctx: Context, _options: Options, _telemetry: LocalTelemetry) -> Result<()> {
    ctx.shutdown.cancelled().await;
    bail!("not here yet")
}
