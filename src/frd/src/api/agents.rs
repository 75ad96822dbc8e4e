//! `/v1/agent/telemetry`: what the haproxy agent of this process has counted, for analysis in other processes.

use axum::Json;
use axum::extract::State;
use fm_telemetry::counters::Snapshot;

use super::doors::Shared;
use super::error::{Answer, ApiError};

pub(super) async fn telemetry(State(api): State<Shared>) -> Answer<Snapshot> {
    let now = api.ctx.clock.now();
    let snapshot = api.telemetry.snapshot(now).ok_or_else(|| {
        ApiError::not_found(match &api.agent {
            Some(agent) => format!("the haproxy agent {} has not started yet", agent.instance),
            None => "no haproxy agent runs in this process".to_owned(),
        })
    })?;
    Ok(Json(snapshot))
}
