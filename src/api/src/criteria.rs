//! The analysis section of a release: promotion criteria, with the defaults that the method's document gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Span;

pub mod bad;

pub use bad::BadRequests;

/// How a canary is judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Analysis {
    /// No evidence and no bake: holds and approvals alone decide.
    pub disabled: bool,
    /// A canary's first seconds count for harm by errors only.
    pub warmup: WarmupSpan,
    /// Least time before the last promotion. Default: the longest of 60 s, twice the longest server timeout, and the last step's hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<Span>,
    /// Evidence still missing so long after the last hold makes the analysis inconclusive; extended once.
    pub deadline: DeadlineSpan,
    /// Judging by errors.
    pub errors: ErrorCriterion,
    /// Judging by response time.
    pub latency: LatencyCriterion,
    /// Absolute limits, whatever stable does.
    pub guards: Guards,
    /// Series of other systems: thresholds, and comparisons between canary and stable.
    // Left out when empty, so that the hash of criteria without metrics, which names the run, stays as it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<Metric>,
    /// What to do when the analysis stays inconclusive.
    pub on_inconclusive: OnInconclusive,
}

macro_rules! span_with_default {
    ($(#[$doc:meta])* $name:ident, $default:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Span);
        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }
    };
}

pub mod metrics;
pub mod template;

use metrics::Metric;

span_with_default!(/// A warm-up; 10 s unless stated.
    WarmupSpan, Span::secs(10));
span_with_default!(/// A deadline; 30 minutes unless stated.
    DeadlineSpan, Span::secs(1800));
span_with_default!(/// A window; 60 s unless stated.
    WindowSpan, Span::secs(60));

span_with_default!(/// A least difference of response times; 5 ms unless stated.
    LeastDifference, Span::millis(5));

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_usual_margin(margin: &f64) -> bool {
    *margin == LatencyPromote::default().margin
}

/// A canary's first seconds do not count by response time, unless the manifest says otherwise.
const LATENCY_WARMUP: Span = Span::secs(60);

impl Analysis {
    /// How long response times count for nothing.
    #[must_use]
    pub fn latency_warmup(&self) -> Span {
        let usual = self.warmup == WarmupSpan::default();
        let own = if usual { LATENCY_WARMUP } else { self.warmup.0 };
        self.latency.warmup.unwrap_or(own)
    }
}

/// Judging by errors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ErrorCriterion {
    /// Which requests are bad.
    pub bad: BadRequests,
    /// When harm is shown.
    pub rollback: ErrorRollback,
    /// When non-inferiority is shown.
    pub promote: ErrorPromote,
    /// When a shift of clients' mistakes (4xx) is harm, although none of them is bad by itself.
    pub client_errors: ClientErrors,
    /// By how much errors come in clusters (retrying clients, bursts): evidence counts so many times less. 1: each alone.
    /// Absent: estimated from stable's own errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub design_effect: Option<f64>,
}

/// When harm by errors is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ErrorRollback {
    /// Chance of taking a harmless canary back.
    #[schemars(range(min = 1e-9, max = 0.5))]
    pub alpha: f64,
    /// Error rates up to this multiple of stable's are no harm.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub ratio: f64,
    /// … plus this much, as a fraction of requests.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f64,
    /// Least number of bad canary requests.
    pub min_bad: u64,
}

impl Default for ErrorRollback {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            ratio: 1.1,
            margin: 0.001,
            min_bad: 3,
        }
    }
}

/// When non-inferiority by errors is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ErrorPromote {
    /// Chance of promoting a canary that is worse than the margin.
    #[schemars(range(min = 1e-9, max = 0.5))]
    pub alpha: f64,
    /// How much worse than stable is still good enough, as a fraction of requests.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f64,
}

impl Default for ErrorPromote {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            margin: 0.005,
        }
    }
}

/// When a shift of clients' mistakes is harm: answers of 4xx, or of a gRPC status other than OK, that are not bad by
/// themselves. A canary that answers 404 to everything shows nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientErrors {
    /// Clients' mistakes are not judged.
    pub disabled: bool,
    /// Chance of taking a harmless canary back.
    #[schemars(range(min = 1e-9, max = 0.5))]
    pub alpha: f64,
    /// Rates up to this multiple of stable's are no harm.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub ratio: f64,
    /// … plus this much, as a fraction of requests.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f64,
    /// Least number of such canary answers.
    pub min_bad: u64,
}

impl Default for ClientErrors {
    fn default() -> Self {
        Self {
            disabled: false,
            alpha: 0.001,
            ratio: 1.5,
            margin: 0.01,
            min_bad: 10,
        }
    }
}

/// Judging by response time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LatencyCriterion {
    /// Response times are not judged.
    pub disabled: bool,
    /// When harm is shown.
    pub rollback: LatencyRollback,
    /// When non-inferiority is shown.
    pub promote: LatencyPromote,
    /// A difference below this is none: nobody feels it.
    // Fields that came later are left out at their default, so that the hash of the criteria, which names the run, stays as it was.
    #[serde(skip_serializing_if = "is_default")]
    pub least_difference: LeastDifference,
    /// A canary's first seconds count for nothing by response time: its caches are cold. Absent: 60 s, or `analysis.warmup`
    /// where that is set to other than its 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Span>,
    /// By how much slow answers come in clusters: evidence counts so many times less. 1: each alone. Absent: estimated from
    /// stable's own response times.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub design_effect: Option<f64>,
}

/// When harm by response time is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LatencyRollback {
    /// Chance of taking a harmless canary back.
    #[schemars(range(min = 1e-9, max = 0.5))]
    pub alpha: f64,
    /// The quantiles that are compared.
    #[schemars(length(min = 1, max = 8))]
    pub quantiles: Vec<f64>,
    /// How much slower is no harm, as a fraction.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub shift: f64,
}

impl Default for LatencyRollback {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            quantiles: vec![0.75, 0.95, 0.99],
            shift: 0.05,
        }
    }
}

/// When non-inferiority by response time is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LatencyPromote {
    /// Chance of promoting a canary that is slower than the shift.
    #[schemars(range(min = 1e-9, max = 0.5))]
    pub alpha: f64,
    /// The quantile that is compared.
    #[schemars(range(min = 0.01, max = 0.999))]
    pub quantile: f64,
    /// How much slower is still good enough, as a fraction.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub shift: f64,
    /// … and how many more of its requests may be slower than that, as a fraction of requests.
    #[serde(skip_serializing_if = "is_usual_margin")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f64,
}

impl Default for LatencyPromote {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            quantile: 0.95,
            shift: 0.25,
            margin: 0.01,
        }
    }
}

/// Absolute limits on the canary. A limit below 100 % holds only while stable itself is within it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Guards {
    /// Highest share of bad requests in the window; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_error_rate: Option<f64>,
    /// Highest share of its CPU limit that a task may use in the window, such as `0.9`; needs `workload.resources.limits.cpus`; absent: no guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub max_cpu: Option<f64>,
    /// Highest share of its memory limit that a task may use in the window; needs `workload.resources.limits.memory`; absent: no guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub max_memory: Option<f64>,
    /// Fewer requests than this in the window decide nothing.
    #[schemars(range(min = 1))]
    pub min_requests: u64,
    /// Nothing is promoted while more than this share of HAProxy's log lines was lost in the window.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_lost_lines: f64,
    /// How far back the guards look.
    pub window: WindowSpan,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            max_error_rate: None,
            max_cpu: None,
            max_memory: None,
            min_requests: 100,
            max_lost_lines: 0.01,
            window: WindowSpan::default(),
        }
    }
}

/// What to do when the analysis stays inconclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnInconclusive {
    /// A person decides.
    #[default]
    Pause,
    /// Go on as if the evidence were there.
    Promote,
    /// Take the canary back.
    Rollback,
}
