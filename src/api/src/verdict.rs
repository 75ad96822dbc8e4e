//! The verdict: what analysis concludes of a canary, with the evidence. Writer: analysis, once per closed batch.

use std::collections::BTreeMap;

pub use crate::measured::{Comparison, Measured, Measurement, Outcome, Standing};
use crate::outlier::Outlier;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What analysis concludes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The target's uid.
    pub uid: String,
    /// The run it speaks of (`AnalysisTarget::run`); an older run's verdict says nothing of a newer one.
    pub run: String,
    /// The hash of the criteria it used.
    pub criteria_hash: String,
    /// The conclusion.
    pub decision: Decision,
    /// The stable, documented word for why.
    pub reason: Reason,
    /// One sentence for people, with the numbers.
    pub sentence: String,
    /// Closed batches so far.
    pub batch: u64,
    /// When the last batch closed.
    pub at: Timestamp,
    /// When the canary first answered badly, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad_at: Option<Timestamp>,
    /// Each criterion.
    pub metrics: Vec<MetricVerdict>,
    /// Each metric of `analysis.metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
    /// Tasks of both sides that do worse than their siblings: one bad replica among good ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outlier>,
    /// Edges whose HAProxy does not reach tasks that others reach, each with a sentence: what no task answered there counts
    /// against nobody.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cut_off: BTreeMap<String, String>,
    /// What people should know of how it decides now: what makes evidence count less, and what holds promotion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Both sides lately, for people.
    pub canary: Side,
    /// Both sides lately, for people.
    pub stable: Side,
    /// How many log lines were lost in this run, as far as known.
    #[serde(default)]
    pub lost_lines: u64,
    /// Analysis' own state, from which it resumes exactly. Only analysis reads it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub state: serde_json::Value,
}

/// A conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// Not enough evidence for anything.
    Wait,
    /// As good as stable, by every criterion, and the bake is over.
    Promote,
    /// Harm is shown.
    Rollback,
    /// The deadline has passed, twice, without enough evidence.
    Inconclusive,
}

/// The stable, documented word for why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The canary has had no request yet.
    NoTraffic,
    /// Stable has had no request to compare with.
    NoBaseline,
    /// Evidence is being gathered.
    Gathering,
    /// The evidence suffices; the bake time does not yet.
    Baking,
    /// The evidence suffices; the step's hold is not over yet.
    Holding,
    /// Non-inferior by every criterion.
    NonInferior,
    /// Harm by errors.
    ErrorsHarm,
    /// Harm by a shift of clients' mistakes (4xx).
    ClientErrorsHarm,
    /// Harm by response time.
    LatencyHarm,
    /// The absolute limit on errors is broken.
    ErrorGuard,
    /// Stable itself is beyond the limit: promotion is held.
    StableUnhealthy,
    /// The deadline has passed without enough evidence.
    DeadlinePassed,
    /// Counters cannot be read now.
    TelemetryUnavailable,
    /// A metric of another system failed.
    MetricFailed,
    /// A metric of another system has not passed yet.
    MetricPending,
    /// A metric of another system is inconclusive: too many errors in a row, or too many inconclusive measurements.
    MetricInconclusive,
    /// Too many log lines were lost lately: nothing is promoted meanwhile.
    LinesLost,
    /// A task of the canary uses more of its CPU or memory limit than the guard allows.
    SaturationGuard,
    /// What the canary's tasks use of their limits is not measured yet, or stable is beyond the guard itself.
    SaturationPending,
    /// The last minutes look like harm, although it is not shown yet: promotion waits until they no longer do.
    HarmSuspected,
}

/// One criterion: evidence, thresholds, bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricVerdict {
    /// `errors`, `clientErrors`, `latency`, `guard`, `cpu` or `memory`.
    pub name: String,
    /// What this criterion alone concludes.
    pub decision: Decision,
    /// Natural logarithm of the evidence for harm.
    pub log_e_harm: f64,
    /// Harm is shown at this value: `ln(1/alpha)`.
    pub harm_threshold: f64,
    /// Natural logarithm of the evidence for non-inferiority.
    pub log_e_ni: f64,
    /// Non-inferiority is shown at this value: `ln(1/alpha)`.
    pub ni_threshold: f64,
    /// Lower end of the 95 % confidence sequence for canary minus stable, -1 to 1.
    pub lower: f64,
    /// Upper end of it.
    pub upper: f64,
    /// Requests of the canary compared so far, and how many were bad.
    pub canary: Counted,
    /// Requests of stable meanwhile, and how many were bad.
    pub stable: Counted,
    /// How many times less the newest evidence counts, because stable's own bad or slow requests come in clusters.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub design_effect: f64,
    /// Start times of harm that the evidence for it is a mixture over: a new one each half minute.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub starts: u64,
    /// How much the last minutes look like harm, as a natural logarithm …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<f64>,
    /// … at which promotion waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
}

fn one() -> f64 {
    1.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_one(value: &f64) -> bool {
    *value == 1.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Requests, and how many of them were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// All.
    pub requests: u64,
    /// The bad ones.
    pub bad: u64,
}

/// One side over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Requests per second.
    pub rps: f64,
    /// Share of bad ones, 0 to 1.
    pub error_rate: f64,
    /// Median response time in milliseconds; absent: none answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99th percentile of the response time in milliseconds; absent: none answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// The share of its CPU limit that its fullest task used in the guards' window; absent: not measured, or no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// The same of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}
