//! The golden signals of a revision, or of one endpoint of it, as the API gives them. Written by `frd`, read by its clients.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outlier::Outlier;

/// Latency, traffic, errors and saturation of one span of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Golden {
    /// Requests that the split meant for it; fallbacks are among them, requests that a match rule forced are not.
    pub requests: u64,
    /// … of which bad: a 5xx, no answer, an answer too late, or a fallback.
    pub bad: u64,
    /// Requests a second.
    pub rps: f64,
    /// The share of bad ones, 0 to 1; absent: no request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Half of the good answers began within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95 % of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// 99 % of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Processor time of each task, as a share of its limit; absent: not measured, or no task has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Share>,
    /// Memory of each task, as a share of its limit; absent: not measured, or no task has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Share>,
    /// Processors that each task used; absent: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Share>,
    /// Bytes of memory that each task used; absent: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<Share>,
}

/// What was measured of several tasks at several moments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The mean; of a share, 1 being all of it.
    pub mean: f64,
    /// The largest.
    pub max: f64,
}

/// One revision or endpoint in one span of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalPoint {
    /// When the span began.
    pub at: Timestamp,
    /// The release's namespace.
    pub namespace: String,
    /// The release's name.
    pub name: String,
    /// The revision.
    pub revision: String,
    /// One task, or the address of a server whose task is not known; absent: all of the revision together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What was counted.
    pub signals: Golden,
}

/// What was kept of a span of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalList {
    /// Seconds from one point to the next. A span without requests has no point.
    pub step_seconds: i64,
    /// The points, by release, revision, endpoint and time.
    pub items: Vec<SignalPoint>,
}

/// How every revision does just now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Top {
    /// The end of the window.
    pub at: Timestamp,
    /// Seconds of the window.
    pub seconds: i64,
    /// One for each revision that has tasks.
    pub items: Vec<TopRow>,
    /// One for each task, if one release was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskRow>,
    /// Tasks of these releases that do worse than their siblings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outlier>,
}

/// How one task does just now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskRow {
    /// The task's id, or the address of a server whose task is not known.
    pub task: String,
    /// The node's host name, as far as known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Where HAProxy reaches it, by the container's port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<u16, String>,
    /// The revision.
    pub revision: String,
    /// The revision's number; absent: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Whether it does worse than its siblings.
    #[serde(default)]
    pub outlier: bool,
    /// What was counted.
    pub signals: Golden,
}

/// How one revision does just now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopRow {
    /// The release's namespace.
    pub namespace: String,
    /// The release's name.
    pub name: String,
    /// The revision.
    pub revision: String,
    /// Its number; absent: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// `stable`, `canary` or `leaving`.
    pub side: String,
    /// The share of requests that is wanted for it, 0 to 1; absent: it is not routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// What was counted.
    pub signals: Golden,
}
