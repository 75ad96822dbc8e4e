//! `/v1/agent/…`: what the agents of this process have counted and measured, for readers in other processes.

use axum::Json;
use axum::extract::State;
use fm_telemetry::counters::Snapshot;
use fm_telemetry::usage::NodeUsage;

use super::doors::Shared;
use super::error::{Answer, ApiError};

pub(super) async fn telemetry(State(api): State<Shared>) -> Answer<Snapshot> {
    let now = api.ctx.clock.now();
    let snapshot = api.sources.telemetry.snapshot(now).ok_or_else(|| {
        ApiError::not_found(match &api.here.agent {
            Some(agent) => format!("the haproxy agent {} has not started yet", agent.instance),
            None => "no haproxy agent runs in this process".to_owned(),
        })
    })?;
    Ok(Json(snapshot))
}

pub(super) async fn usage(State(api): State<Shared>) -> Answer<NodeUsage> {
    let usage = api.sources.usage.get();
    Ok(Json(usage.ok_or_else(|| {
        ApiError::not_found("no node agent measures tasks in this process")
    })?))
}
