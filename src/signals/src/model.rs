//! What is known of one revision, or one endpoint of it, in one span of time. Pure: samples merge in any order to the same.

use fm_telemetry::counters::{Counters, Histogram};
use fm_telemetry::endpoints::Endpoint;
use fm_telemetry::usage::{Amount, TaskUsage};

/// Whose sample it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// `namespace/name`.
    pub release: String,
    /// The revision.
    pub revision: String,
    /// One task of it, or the address of a server whose task is not known; absent: all of them together.
    pub endpoint: Option<String>,
}

/// The golden signals of one span of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Requests that the split meant for it.
    pub requests: u64,
    /// … of which bad.
    pub bad: u64,
    /// Response times in milliseconds of those that were answered and not bad.
    pub latency: Histogram,
    /// How full its tasks are; absent: not known.
    pub saturation: Option<Saturation>,
}

/// What a revision's tasks use of what they may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Saturation {
    /// Processors.
    pub cpu: Use,
    /// Bytes of memory.
    pub memory: Use,
}

/// What was used, by itself and of the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// What was used.
    pub used: Gauge,
    /// … as a share of the limit, of the tasks that have one.
    pub share: Gauge,
}

/// Measured values, in millionths: whole numbers, so that merging is exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    /// How many were measured.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The largest.
    pub max: u64,
}

impl Gauge {
    /// One measured value.
    #[must_use]
    pub fn of(value: f64) -> Self {
        // The cast cuts what is no number to 0, and what is too large to the largest: some 18 TB.
        let millionths = (value.max(0.0) * 1e6).round() as u64;
        Self {
            count: 1,
            sum: millionths,
            max: millionths,
        }
    }

    /// The mean; `None` when nothing was measured.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64 / 1e6)
    }

    /// The largest; `None` when nothing was measured.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then(|| self.max as f64 / 1e6)
    }

    fn merge(&mut self, other: Gauge) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }
}

impl Sample {
    /// Adds another's: counts and histograms add up, gauges keep mean and maximum.
    pub fn merge(&mut self, other: &Sample) {
        self.requests = self.requests.saturating_add(other.requests);
        self.bad = self.bad.saturating_add(other.bad);
        self.latency.merge(&other.latency);
        if let Some(theirs) = other.saturation {
            let mine = self.saturation.get_or_insert_default();
            for (mine, theirs) in [
                (&mut mine.cpu, theirs.cpu),
                (&mut mine.memory, theirs.memory),
            ] {
                mine.used.merge(theirs.used);
                mine.share.merge(theirs.share);
            }
        }
    }

    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.saturation.is_none()
    }

    /// The share of bad requests; `None` without any request.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.bad as f64 / self.requests as f64)
    }
}

impl From<Counters> for Sample {
    fn from(counted: Counters) -> Self {
        Self {
            requests: counted.requests,
            bad: counted.bad,
            latency: counted.latency,
            saturation: None,
        }
    }
}

impl From<Endpoint> for Sample {
    fn from(counted: Endpoint) -> Self {
        Self {
            requests: counted.requests,
            bad: counted.bad,
            latency: counted.latency,
            saturation: None,
        }
    }
}

impl From<Amount> for Use {
    fn from(amount: Amount) -> Self {
        Self {
            used: Gauge::of(amount.used),
            share: amount.share().map_or_else(Gauge::default, Gauge::of),
        }
    }
}

impl From<&TaskUsage> for Sample {
    fn from(task: &TaskUsage) -> Self {
        Self {
            saturation: Some(Saturation {
                cpu: task.cpu.into(),
                memory: task.memory.into(),
            }),
            ..Self::default()
        }
    }
}
