//! The form of recorded traffic: one JSON object a line, one line a second.
//!
//! `{"canary":{"requests":10,"errors":0},"stable":{"requests":190,"errors":1}}` is a whole line. Response times may stand on
//! each side, as they are (`latencyMs`) or counted in bins (`latencyBins`, as the daemon counts them: bin `i` holds those from
//! `1.025^i` up to `1.025^(i+1)` milliseconds). `weight` is the canary's share then, in percent: a batch ends when it changes, as
//! online. `unseen` says why the counters could not be read in that second.
//!
//! Pure. What must never happen: a line that is read otherwise than it was meant, or an error that repeats a whole line.

use fm_api::quantity::Weight;
use fm_api::verdict::Counted;
use fm_telemetry::histogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::evidence::Tally;

/// What a line of traffic looks like, for people.
pub const ALLOWED: &str = r#"allowed: {"canary":{"requests":10,"errors":0},"stable":{"requests":190,"errors":1}}, with "clientErrors":2 (answers of 4xx), "latencyMs":[…] or "latencyBins":{…} on each side if wanted"#;

/// More requests than this in a second are a mistake.
const MOST_REQUESTS: u64 = 1 << 40;
/// So much of a reader's error is repeated, which itself repeats what was written.
const LONGEST_MESSAGE: usize = 300;

/// One second of traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Second {
    /// What the canary did.
    pub canary: SideSecond,
    /// What stable did meanwhile.
    pub stable: SideSecond,
    /// The canary's share; absent: what came stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// Why the counters could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

/// One side of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SideSecond {
    /// All requests.
    pub requests: u64,
    /// The bad ones.
    pub errors: u64,
    /// Clients' mistakes (4xx) among those that are no errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_errors: Option<u64>,
    /// Response times of good requests, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Vec<f64>>,
    /// The same, counted in bins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_bins: Option<Histogram>,
}

impl Second {
    /// Reads a line.
    ///
    /// # Errors
    /// With what is wrong, and what is allowed.
    pub fn read(text: &str) -> Result<Self, String> {
        let second: Self = serde_json::from_str(text).map_err(|error| {
            let kind = if error.is_data() { "" } else { "no JSON: " };
            format!("{kind}{}; {ALLOWED}", cut(&error.to_string()))
        })?;
        second.canary.check("canary")?;
        second.stable.check("stable")?;
        Ok(second)
    }
}

impl SideSecond {
    fn check(&self, side: &str) -> Result<(), String> {
        if self.errors > self.requests {
            return Err(format!(
                "{side}: {} errors among {} requests; allowed: at most as many errors as requests",
                self.errors, self.requests
            ));
        }
        let good = self.requests - self.errors;
        if self.client_errors.is_some_and(|refused| refused > good) {
            return Err(format!(
                "{side}: more clientErrors than the {good} requests that are no errors; allowed: at most as many"
            ));
        }
        if self.requests > MOST_REQUESTS {
            return Err(format!(
                "{side}: {} requests in a second; allowed: at most {MOST_REQUESTS}",
                self.requests
            ));
        }
        let wrong = |ms: &&f64| !ms.is_finite() || **ms < 0.0;
        if let Some(ms) = self.latency_ms.iter().flatten().find(wrong) {
            return Err(format!(
                "{side}: {ms} is no response time; allowed: milliseconds, 0 or more"
            ));
        }
        if let Some(bins) = &self.latency_bins
            && bins.count() > self.requests
        {
            return Err(format!(
                "{side}: {} response times of {} requests; allowed: at most one of each",
                bins.count(),
                self.requests
            ));
        }
        Ok(())
    }
}

impl From<&SideSecond> for Tally {
    fn from(side: &SideSecond) -> Self {
        let mut latency = side.latency_bins.clone();
        if let Some(times) = &side.latency_ms {
            let histogram = latency.get_or_insert_default();
            times.iter().for_each(|ms| histogram.record(*ms));
        }
        Self {
            counted: Counted {
                requests: side.requests,
                bad: side.errors,
            },
            client_errors: side.client_errors,
            latency,
        }
    }
}

impl From<Tally> for SideSecond {
    fn from(tally: Tally) -> Self {
        Self {
            requests: tally.counted.requests,
            errors: tally.counted.bad,
            client_errors: tally.client_errors,
            latency_ms: None,
            latency_bins: tally.latency,
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
