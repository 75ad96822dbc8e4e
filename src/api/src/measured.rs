//! What was measured of the metrics of other systems, inside the verdict. Writer: analysis.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One metric: where it stands, its counters, and what was measured lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub standing: Standing,
    /// One sentence for people, with the numbers.
    pub sentence: String,
    /// Measurements that were successes.
    pub successes: u32,
    /// Measurements that were failures.
    pub failures: u32,
    /// Measurements that were inconclusive.
    pub inconclusives: u32,
    /// Measurements without a value.
    pub no_data: u32,
    /// Measurements that could not be made.
    pub errors: u32,
    /// Of these, how many in a row up to now.
    pub consecutive_errors: u32,
    /// When the next measurement is due; absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// The last measurements, the newest last.
    pub measurements: Vec<Measurement>,
    /// The comparison of both sides, where that is asked for and there was a first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// Where a metric stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Nothing can be said yet.
    #[default]
    Pending,
    /// It has passed, or, if it is measured as long as the rollout runs, its last measurement was a success.
    Passing,
    /// It has failed; that is final.
    Failed,
    /// It is neither: too many inconclusive measurements, or too many errors in a row.
    Inconclusive,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// When it began.
    pub at: Timestamp,
    /// What it came to.
    pub outcome: Outcome,
    /// The value, if it is a finite number; of the canary in a comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Stable's value in a comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<f64>,
    /// What was answered instead of a number, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a measurement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Within the bounds.
    Success,
    /// Beyond them.
    Failure,
    /// Neither; in a comparison: a value of each side was taken in.
    Inconclusive,
    /// There is no value, or no finite one.
    NoData,
    /// It could not be made, or the answer is not one number.
    Error,
    /// It was cut short; it counts for nothing.
    Terminated,
}

/// A comparison of both sides' values by the Mann-Whitney test, at the last look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The look, from 1.
    pub look: u32,
    /// Values of each side.
    pub samples: u32,
    /// How probable such values are if the canary is not worse than the tolerance: small means harm.
    pub p_harm: f64,
    /// How probable such values are if the canary is worse than the tolerance: small means that it is good enough.
    pub p_good: f64,
    /// What each must be at most, at this look.
    pub alpha: f64,
    /// Whether the probabilities are exact; otherwise a normal approximation with corrections for ties and continuity.
    pub exact: bool,
    /// By how much the canary's values lie above stable's (Hodges and Lehmann's estimate), in the series' unit.
    pub shift: f64,
    /// Cliff's delta beyond the tolerance, in the direction of worse: -1 to 1.
    pub effect: f64,
}
