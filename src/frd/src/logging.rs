//! The daemon's own log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::settings::{Log, SettingsError};

/// Starts the log. Called once.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(log: &Log) -> Result<(), SettingsError> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| {
        SettingsError::new(format!(
            "the log level `{}` cannot be read ({error}); allowed: error, warn, info, debug, trace, or a filter such as \
             `info,frd_daemon=debug`",
            log.level
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| SettingsError::new(format!("the log does not start: {error}")))
}
